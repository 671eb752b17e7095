import re
from html import unescape
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import delete

from db.engine import Database, now
from db.tables import QuarantineRow, StudyRow, TransitionRow
from tests.triage.worklist.builders import (
    RESTS,
    add_reading,
    add_result,
    add_study,
    add_warning,
)
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.worklist.context import DISCLAIMER

EVIL = "<img src=x onerror=alert(1)>"
JUDGING = re.compile(r"\b(normal|negative|clear(ed)?|no findings?|unremarkable)\b", re.IGNORECASE)
ROW = re.compile(r'<tr id="study-(\d+)"')


def listed(client: Client) -> list[int]:
    """Give the studies of every page of the default list, by following the links."""
    found: list[int] = []
    url: str | None = "/studies"
    while url is not None:
        text = client.get(url).text
        found += map(int, ROW.findall(text))
        following = re.search(r'rel="next" href="([^"]+)"', text)
        url = unescape(following[1]) if following else None
    return found


@given(
    studies=st.lists(
        st.tuples(st.sampled_from(list(RESTS)), st.floats(0, 600), st.integers(0, 2)),
        min_size=1, max_size=130,
    )
)  # fmt: skip
@effort(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_received_study_is_listed_once_whatever_came_of_it(
    client: Client, rows: Database, studies: list[tuple[str, float, int]]
) -> None:
    with rows.begin() as session:
        session.execute(delete(StudyRow))
        received = [
            add_study(session, outcome, minutes=minutes, priority=priority).id
            for outcome, minutes, priority in studies
        ]
    assert sorted(listed(client)) == received


def test_the_states_are_told_apart_by_word_shape_and_class(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        numbers = {outcome: add_study(session, outcome).id for outcome in RESTS}
    text = client.get("/studies").text
    cells = {
        outcome: text.split(f'<tr id="study-{number}"')[1].split("<th")[0]
        for outcome, number in numbers.items()
    }
    words = {outcome: re.findall(r'class="word">([^<]+)<', cell) for outcome, cell in cells.items()}
    assert words == {outcome: [outcome.capitalize()] for outcome in RESTS}
    shapes = {re.findall(r"<svg.*?</svg>", cell, re.DOTALL)[0] for cell in cells.values()}
    assert len(shapes) == len(RESTS)
    assert len({re.findall(r'class="state (is-[a-z-]+)"', cell)[0] for cell in cells.values()}) == 6


def test_a_study_whose_header_and_image_disagree_has_a_mark_of_its_own(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study, other = add_study(session), add_study(session)
        add_reading(session, add_result(session, study))
        add_warning(session, study, sentence=f"Header and image disagree: {EVIL}.")
    flag = '<span class="flag is-warning">Header and image disagree</span>'
    text = client.get("/studies").text
    cells = {
        number: text.split(f'<tr id="study-{number}"')[1].split("<th")[0]
        for number in (study.id, other.id)
    }
    assert flag in cells[study.id]
    assert flag not in cells[other.id]
    assert 'class="word">Not prioritised<' in cells[study.id]  # the state stays as it is
    page = client.get(f"/studies/{study.id}").text
    assert flag in page
    assert EVIL not in page
    assert "organ looks like HEAD, 0.97; header CHEST, 0.01" in page
    found = client.get("/api/studies").json()["studies"]
    assert {one["id"]: one["warnings"] for one in found} == {
        study.id: ["header-image"], other.id: []
    }  # fmt: skip


def test_no_template_and_no_script_calls_a_study_well() -> None:
    folder = files("triage.worklist")
    sources = [
        *(folder / "templates").iterdir(),
        *(folder / "static" / f"{name}.js" for name in ("triage", "worklist", "claims", "filters")),
        folder / "view.py", folder / "words.py",
        folder / "lines.py", folder / "claims.py", folder / "export.py",
    ]  # fmt: skip
    assert len(sources) > 8
    for source in sources:
        assert not JUDGING.search(source.read_text(encoding="utf-8")), source.name


@pytest.mark.parametrize("place", ["/studies", "/studies/1", "/quarantine", "/login", "/nowhere"])
def test_every_page_says_what_it_is_not_for(client: Client, rows: Database, place: str) -> None:
    with rows.begin() as session:
        add_study(session)
    assert DISCLAIMER in client.get(place).text


@pytest.mark.parametrize("place", ["/studies", "/studies/1"])
def test_a_name_from_a_data_set_stays_text(client: Client, rows: Database, place: str) -> None:
    evil: dict[str, Any] = {"patient_name": EVIL, "patient_id": EVIL, "study_description": EVIL,
            "accession_number": EVIL, "sentence": EVIL, "body_part": EVIL}  # fmt: skip
    with rows.begin() as session:
        add_study(session, **evil)
    text = client.get(place).text
    assert EVIL not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_a_page_title_holds_no_patient(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        add_study(session)
    assert "<title>Study 1 &ndash; Triage</title>" in client.get("/studies/1").text


class TestTheList:
    def test_shows_a_promoted_study_with_its_mark(self, client: Client, rows: Database) -> None:
        with rows.begin() as session:
            young = add_study(session, minutes=10).id
            aged = add_study(session, minutes=241).id
        text = client.get("/studies").text
        assert "promoted: waited &gt; 4 h" in text
        assert listed(client) == [aged, young]

    def test_says_how_to_send_a_first_study(self, client: Client) -> None:
        text = client.get("/studies").text
        assert "No study has been received yet" in text
        assert "storescu -aec TRIAGE 127.0.0.1 11112" in text

    def test_of_one_kind_can_be_empty_and_leads_to_all(
        self, client: Client, rows: Database
    ) -> None:
        with rows.begin() as session:
            add_study(session)
        text = client.get("/studies?list=held").text
        assert "No study is in this list now" in text
        assert ROW.findall(text) == []

    def test_is_given_again_to_the_open_page_without_another_audit_row(
        self, client: Client, rows: Database
    ) -> None:
        with rows.begin() as session:
            number = add_study(session).id
        client.get("/studies")
        text = client.get("/studies/rows").text
        assert ROW.findall(text) == [str(number)]
        assert "<html" not in text
        assert len(audited(rows, "worklist.list")) == 1

    def test_is_audited_when_a_person_opens_it(self, client: Client, rows: Database) -> None:
        client.get("/studies?list=held&sort=rank")
        (entry,) = audited(rows, "worklist.list")
        assert (entry.event_id, entry.actor) == ("110112", "dr.reader")
        assert entry.detail == '{"count": 0, "list": "held", "sort": "rank"}'

    def test_has_a_tab_with_a_count_for_each_list(self, client: Client, rows: Database) -> None:
        with rows.begin() as session:
            for outcome in RESTS:
                add_study(session, outcome)
        text = client.get("/studies").text
        tabs = dict(re.findall(r'>([A-Z][a-z ]+) <span class="count">(\d+)<', text))
        assert tabs == {
            "All": "6", "Unread": "6", "Mine": "0", "Prioritised": "1",
            "Not prioritised": "1", "Pending": "1",
            "Not analysed": "1", "Held": "1",
            "Failed": "1", "Overdue": "0",
        }  # fmt: skip


class TestAStudy:
    def test_tells_all_that_is_known_of_it(self, client: Client, rows: Database) -> None:
        with rows.begin() as session:
            study = add_study(
                session, "prioritised", priority=2, priority_name="high", sentence="Unusual."
            )
            add_result(session, study)
            session.add(
                TransitionRow(
                    study_id=study.id, old="ready", new="analysed", reason="prioritised",
                    actor="worker-1", at=now(session),
                )
            )  # fmt: skip
        text = client.get(f"/studies/{study.id}").text
        for told in (
            "DOE, JANE", "Unusual.", "0.0132", "98.68 %", "0.25", "DX/CHEST/adult", "n = 500",
            "chest-radiograph-memae 1.2.3", "cdcdcdcdcdcd", "high", "pacs", "sent", "0x0000",
            "quiet period 5 s", "worker-1", "compressed preview, not for diagnosis",
        ):  # fmt: skip
            assert told in text, told

    @pytest.mark.parametrize(
        ("outcome", "command"),
        [("held", "triage conflict ls"), ("failed", "triage queue retry 1")],
    )
    def test_that_needs_a_person_says_why_and_what_to_do(
        self, client: Client, rows: Database, outcome: str, command: str
    ) -> None:
        with rows.begin() as session:
            add_study(session, outcome, reason_code="identity-conflict", sentence="Two patients.")
        text = client.get("/studies/1").text
        assert "One study with two patients" in text
        assert command in text

    def test_is_audited_each_time_in_the_transaction_that_reads_it(
        self, client: Client, rows: Database
    ) -> None:
        with rows.begin() as session:
            study = add_study(session)
        client.get(f"/studies/{study.id}")
        client.get(f"/studies/{study.id}")
        entries = audited(rows, "study.seen")
        assert [one.object_id for one in entries] == [study.study_instance_uid] * 2
        assert {(one.event_id, one.actor, one.network_address) for one in entries} == {
            ("110103", "dr.reader", "10.0.0.7")
        }

    def test_that_cannot_be_audited_is_not_shown(self, client: Client, rows: Database) -> None:
        with rows.begin() as session:
            add_study(session)
            session.connection().exec_driver_sql(
                "CREATE TRIGGER no_audit BEFORE INSERT ON audit "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        answer = client.get("/studies/1")
        assert answer.status_code == 500
        assert "DOE" not in answer.text

    def test_leads_to_its_neighbours_in_the_list_it_came_from(
        self, client: Client, rows: Database
    ) -> None:
        with rows.begin() as session:
            ids = [add_study(session, "pending", minutes=90 - one).id for one in range(3)]
            add_study(session, "held", minutes=88.5)
        text = client.get(f"/studies/{ids[1]}?list=pending").text
        assert f'rel="prev" href="/studies/{ids[0]}?list=pending"' in text
        assert f'rel="next" href="/studies/{ids[2]}?list=pending"' in text

    @pytest.mark.parametrize("number", ["999", "0", "-1", "99999999999999999999", "x"])
    def test_that_does_not_exist_is_not_found(self, client: Client, number: str) -> None:
        assert client.get(f"/studies/{number}").status_code in {404, 422}


class TestASearch:
    def test_finds_a_patient_and_is_audited_without_what_was_typed(
        self, client: Client, rows: Database
    ) -> None:
        with rows.begin() as session:
            found = add_study(session, patient_name="SECRETNAME^X").id
            add_study(session)
        form = {"text": "secretname", "csrf_token": client.csrf()}
        text = client.post("/studies/search", form).text
        assert ROW.findall(text) == [str(found)]
        (entry,) = audited(rows, "worklist.search")
        assert "secret" not in f"{entry.detail}{entry.object_id}".lower()

    @pytest.mark.parametrize("typed", ["", "   ", "\0", "nobody of this name"])
    def test_for_nothing_finds_nothing(self, client: Client, rows: Database, typed: str) -> None:
        with rows.begin() as session:
            add_study(session)
        answer = client.post("/studies/search", {"text": typed, "csrf_token": client.csrf()})
        assert "No study was found" in answer.text

    def test_cannot_be_asked_by_url(self, client: Client) -> None:
        assert client.get("/studies/search?text=doe").status_code in {404, 405, 422}


def test_the_quarantine_shows_what_was_kept_and_why(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        session.add(
            QuarantineRow(
                sha256="fe" * 32, size_bytes=12_345, received_at=now(session),
                reason_code="unparsable", reason_detail="missing: StudyInstanceUID",
            )
        )  # fmt: skip
    text = client.get("/quarantine").text
    for told in ("12,345", "missing: StudyInstanceUID", "not a readable DICOM", "fefefefefefe"):
        assert told in text
