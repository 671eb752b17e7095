"""What the steps write and read back, row by row, without a step."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import lifecycle
from db.engine import Database, now
from db.lifecycle import Claim, StaleStudyError
from db.states import StudyState
from db.tables import GenerationMemberRow, GenerationRow, OutboxRow, StudyRow
from tests.builders import dx, spooled
from triage import record
from triage.decide import not_analysed
from triage.errors import Reason
from triage.ingest import ingest_all
from triage.record.loads import has_newcomers
from triage.settings import Completeness
from triage.spool import Spool

NO_WAIT = Completeness(quiet_s=0.001, quiet_s_by_modality={})


def received(database: Database, root: Path, *instances: int) -> int:
    spool = Spool(root)
    spooled(spool, *(dx(study="one", instance=number) for number in instances))
    ingest_all(database, spool, NO_WAIT)
    with database.reading() as session:
        return session.scalars(select(StudyRow.id)).one()


def claimed(session: Session, number: int) -> Claim:
    session.get_one(StudyRow, number).due_at = now(session)
    claim = lifecycle.claim(
        session, number, list(StudyState), owner="me", lease=timedelta(seconds=30), max_attempts=9
    )
    assert claim is not None
    return claim


def closed(database: Database, number: int, root: Path) -> str:
    """Close the next generation; gives its digest."""
    with database.begin() as session:
        claim = claimed(session, number)
        record.save_generation(session, claim, record.load_arrivals(session, number, root))
    with database.reading() as session:
        return (
            session.scalars(select(GenerationRow).order_by(GenerationRow.id.desc())).all()[0].digest
        )


def outbox(session: Session, number: int, generation: int, uid: str, destination: str) -> None:
    session.add(
        OutboxRow(
            study_id=number, generation=generation, destination=destination,
            kind="structured_report", sop_class_uid="1.2", sop_instance_uid=uid, content=b"",
            sha256="0" * 64, built_at=now(session),
        )
    )  # fmt: skip


def test_a_generation_holds_what_had_arrived_and_nothing_that_came_later(
    database: Database, tmp_path: Path
) -> None:
    number = received(database, tmp_path, 1, 2)
    first = closed(database, number, tmp_path)
    with database.reading() as session:
        assert not has_newcomers(session, number)
    received(database, tmp_path, 3)  # reopens it
    with database.reading() as session:
        assert has_newcomers(session, number)
        assert len(record.load_generation(session, number, tmp_path).instances) == 2
        assert len(record.load_arrivals(session, number, tmp_path).instances) == 3
    assert closed(database, number, tmp_path) != first
    with database.reading() as session:
        assert len(session.scalars(select(GenerationMemberRow)).all()) == 5
        assert len(record.load_generation(session, number, tmp_path).instances) == 3


def test_a_report_of_our_own_that_came_back_is_no_newcomer(
    database: Database, tmp_path: Path
) -> None:
    number = received(database, tmp_path, 1)
    closed(database, number, tmp_path)
    ours = dx(study="one", instance=2)
    with database.begin() as session:
        outbox(session, number, 1, str(ours.SOPInstanceUID), "pacs")
    received(database, tmp_path, 2)
    with database.reading() as session:
        assert not has_newcomers(session, number)


def test_former_reports_are_those_of_the_latest_generation_once_a_document(
    database: Database, tmp_path: Path
) -> None:
    number = received(database, tmp_path, 1)
    with database.begin() as session:
        for generation, uid in ((1, "1.1"), (2, "1.2")):
            for name in ("a", "b"):
                outbox(session, number, generation, uid, name)
        session.get_one(StudyRow, number).generation = 3
    with database.reading() as session:
        former = record.load_former_reports(session, number)
    assert [one.sop_instance_uid for one in former] == ["1.2"]


def test_a_claim_that_was_overtaken_writes_no_row(database: Database, tmp_path: Path) -> None:
    number = received(database, tmp_path, 1)
    with database.begin() as session:
        stale = claimed(session, number)
        ref = record.load_arrivals(session, number, tmp_path)
    received(database, tmp_path, 2)
    decision = not_analysed(Reason("no-route"))
    with pytest.raises(StaleStudyError), database.begin() as session:
        record.save_not_analysed(session, stale, ref, decision, mode="triage")
    with pytest.raises(StaleStudyError), database.begin() as session:
        record.save_stop(session, stale, StudyState.HELD, Reason("pixel-data"))
    with database.reading() as session:
        assert session.scalars(select(GenerationRow)).all() == []
        assert session.get_one(StudyRow, number).state == StudyState.RECEIVING
