"""Break-glass by DICOMweb: the one study that was opened, by every road to it, and no other."""

import json
import re
from html import unescape

import pytest
from sqlalchemy import select, update

from db.accounts import BreakGlassRow
from db.engine import Database, now
from db.tables import StudyRow
from tests.triage.worklist.client import NAME, Client
from tests.triage.worklist.conftest import audited
from tests.triage.worklist.imaged import ct, receive
from tests.triage.worklist.test_access import become
from tests.triage.worklist.test_emergencies import open_it
from triage.settings import Settings

ROADS = (
    "/dicomweb/studies?StudyInstanceUID={}", "/dicomweb/studies?0020000D={}&limit=5",
    "/dicomweb/studies/{}/series", "/dicomweb/studies/{}/instances",
    "/dicomweb/studies/{}/metadata", "/dicomweb/studies/{}",
)  # fmt: skip
"""Searches for a study, in it, and its retrieval."""


@pytest.fixture
def studies(rows: Database, settings: Settings, client: Client) -> tuple[str, str]:
    """Two studies, and an auditor who broke the glass of the first; gives their UIDs."""
    numbers = [receive(settings, rows, ct(1)) for _ in range(2)]
    become(rows, client, "auditor")
    with rows.reading() as session:
        first, second = (session.get_one(StudyRow, one).study_instance_uid for one in numbers)
    assert status(client, ROADS[0].format(first)) == 403
    assert open_it(client, numbers[0]) == 303
    return first, second


def status(client: Client, path: str) -> int:
    return client.get(path).status_code


def test_the_study_is_found_and_given_and_each_look_names_the_opening(
    client: Client, rows: Database, studies: tuple[str, str]
) -> None:
    opened, other = studies
    for road in ROADS:
        answer = client.get(road.format(opened))
        assert answer.status_code == 200, road
        assert other not in answer.text
    [found] = client.get(ROADS[0].format(opened)).json()
    assert found["0020000D"]["Value"] == [opened]
    with rows.reading() as session:
        number = session.scalars(select(BreakGlassRow.id)).one()
    looks = [*audited(rows, "dicomweb.query"), *audited(rows, "dicomweb.retrieve")]
    assert len(looks) == len(ROADS) + 1
    assert {one.actor for one in looks} == {NAME}
    assert {json.loads(one.detail)["emergency"] for one in looks} == {number}


def test_no_other_study_and_no_wider_search_is_opened(
    client: Client, studies: tuple[str, str], rows: Database
) -> None:
    opened, other = studies
    refused = [road.format(other) for road in ROADS]
    refused += [
        "/dicomweb/studies", "/dicomweb/series", "/dicomweb/instances",
        "/dicomweb/studies?PatientName=DOE*", "/dicomweb/studies?StudyInstanceUID=",
        f"/dicomweb/studies?StudyInstanceUID={opened},{other}",
        f"/dicomweb/studies?StudyInstanceUID={opened}%5C{other}",
        f"/dicomweb/studies?StudyInstanceUID={opened}&StudyInstanceUID={other}",
        f"/dicomweb/studies?StudyInstanceUID={opened}&0020000D={other}",
        f"/dicomweb/series?StudyInstanceUID={opened}",
    ]  # fmt: skip
    assert {path: status(client, path) for path in refused} == dict.fromkeys(refused, 403)
    assert len(audited(rows, "dicomweb.denied")) == len(refused) + 1


def test_it_ends_with_its_time_and_is_nobody_elses(
    client: Client, rows: Database, studies: tuple[str, str]
) -> None:
    path = ROADS[0].format(studies[0])
    assert status(client, path) == 200
    with rows.begin() as session:
        session.execute(update(BreakGlassRow).values(until=now(session)))
    assert status(client, path) == 403
    client.cookies.clear()
    assert status(client, path) == 401


def test_no_page_of_an_emergency_offers_what_the_role_may_not_open(
    client: Client, rows: Database, settings: Settings, studies: tuple[str, str]
) -> None:
    """An auditor's: every link of the study's pages is followed, and none is refused."""
    ohif = settings.state / "ohif"
    ohif.mkdir()
    (ohif / "index.html").write_text("<!doctype html>")
    refused = len(audited(rows, "access.refused"))
    pages = ("/studies/1", "/studies/1/evidence", "/studies/1/view", "/emergencies")
    for path in pages:
        text = client.get(path).text
        named = re.findall(r'(?:href|data-(?:back|before|behind|images|view))="(/[^"]*)"', text)
        links = {unescape(one) for one in named if not one.startswith("/static")}
        assert links, path
        for link in links - {"/studies/1/view"}:
            answer = client.request("GET", link, follow_redirects=True)
            assert answer.status_code == 200, (path, link)
        assert "Next unread" not in text
    assert len(audited(rows, "access.refused")) == refused


def test_the_key_to_the_next_study_leads_back_to_the_one_that_was_opened(
    client: Client, rows: Database, studies: tuple[str, str]
) -> None:
    refused = len(audited(rows, "access.refused"))
    answer = client.get("/studies/1/view/next")
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/1")
    assert len(audited(rows, "access.refused")) == refused
