"""A file that changed on disk is whole again once its instance is sent again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, StudyRow
from tests.builders import dx
from tests.triage.record.test_custody import stored
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE
from triage.record import retries
from triage.record.withdrawals import Who
from triage.spool import digest


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[House]:
    with house(database, tmp_path / "a", routes=NOWHERE) as one:
        yield one


def rot(site: House) -> Path:
    [path] = stored(site)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.unlink()
    path.write_bytes(content)
    return path


def test_a_study_that_failed_by_it_goes_on(site: House) -> None:
    image = dx()
    site.receive(image)
    path = rot(site)
    study = site.work()
    assert (study.state, study.reason_code) == (StudyState.FAILED, "corrupt")
    site.receive(image)
    assert digest(path) == path.stem
    study = site.work()
    assert (study.state, study.reason_code) == (StudyState.REJECTED, "no-route")
    kinds = [one.event_type for one in site.rows(AuditRow) if one.event_type[:9] == "instance."]
    assert kinds == ["instance.received", "instance.mended", "instance.again"]
    [mended] = [one for one in site.rows(AuditRow) if one.event_type == "instance.mended"]
    assert json.loads(mended.detail)["sha256"] == path.stem


def test_a_study_at_rest_stays_as_it_is(site: House) -> None:
    image = dx()
    site.receive(image)
    assert site.work().state == StudyState.REJECTED
    path = rot(site)
    site.receive(image)
    assert digest(path) == path.stem
    study = site.work()
    assert (study.state, study.generation) == (StudyState.REJECTED, 1)


def test_a_study_that_failed_otherwise_waits_for_a_person(site: House) -> None:
    image = dx()
    site.receive(image)
    rot(site)
    assert site.work().reason_code == "corrupt"
    with site.database.begin() as session:
        session.scalars(select(StudyRow)).one().reason_code = "crashed"
    site.receive(image)
    assert site.work().state == StudyState.FAILED
    with site.database.begin() as session:
        retries.retry(session, session.scalars(select(StudyRow)).one(), Who("ada"))
    assert site.work().state == StudyState.REJECTED
