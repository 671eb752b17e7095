"""Rows for the tests of this folder."""

from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import lifecycle
from db.audit import Entry, Event, record
from db.engine import Database, now
from db.lifecycle import Claim
from db.states import StudyState
from db.tables import DecisionRow, DetectionRow, OutboxRow, StudyRow, TransitionRow

NUMBERS = count(1)
MINUTE = timedelta(minutes=1)
NO_TIME = timedelta(0)
SHA = "0" * 64


def add_study(session: Session, state: StudyState = StudyState.READY, **given: object) -> StudyRow:
    """Add a study that is due now."""
    at = now(session)
    values: dict[str, Any] = {"study_instance_uid": f"2.25.{next(NUMBERS)}", "state": state}
    values |= {"due_at": at, "received_at": at, "last_instance_at": at, **given}
    study = StudyRow(**values)
    session.add(study)
    session.flush()
    return study


def new_study(database: Database, state: StudyState = StudyState.READY, **given: object) -> int:
    with database.begin() as session:
        return add_study(session, state, **given).id


def claim(
    session: Session,
    study_id: int,
    owner: str = "worker",
    lease: timedelta = MINUTE,
    max_attempts: int = 3,
) -> Claim | None:
    states = frozenset(StudyState)
    return lifecycle.claim(
        session, study_id, states, owner=owner, lease=lease, max_attempts=max_attempts
    )


def claimed(
    database: Database, study_id: int, owner: str = "worker", lease: timedelta = MINUTE
) -> Claim:
    with database.begin() as session:
        held = claim(session, study_id, owner, lease)
    assert held is not None
    return held


def get(database: Database, study_id: int) -> StudyRow:
    with database.reading() as session:
        return session.get_one(StudyRow, study_id)


def arrows(database: Database, study_id: int) -> list[tuple[str, str]]:
    with database.reading() as session:
        query = select(TransitionRow.old, TransitionRow.new).where(
            TransitionRow.study_id == study_id
        )
        return [(old, new) for old, new in session.execute(query.order_by(TransitionRow.id))]


def result_rows(session: Session, held: Claim) -> list[DetectionRow | DecisionRow | OutboxRow]:
    """Give what an analysis writes about generation 1."""
    at = now(session)
    same: dict[str, Any] = {"study_id": held.study_id, "generation": 1}
    fenced: dict[str, Any] = {**same, "fence": held.fence, "at": at}
    detection = DetectionRow(
        **fenced, detector="d", family="f", version="1", weights_sha256=SHA, artifact_sha256=SHA,
        series_instance_uid="1.2", key_sop_instance_uid="1.3", analysed_count=1, score=1.5,
        p_value=0.01, stratum="all", calibration_n=100, calibration_sha256=SHA,
    )  # fmt: skip
    decision = DecisionRow(
        **fenced, outcome="prioritised", priority=2, priority_name="high", sentence="...",
        mode="triage",
    )  # fmt: skip
    report = OutboxRow(
        **same, destination="pacs", kind="structured_report", sop_class_uid="1.4",
        sop_instance_uid=f"2.25.9{held.study_id}", content=b"bytes", sha256=SHA, built_at=at,
    )  # fmt: skip
    return [detection, decision, report]


def finish(database: Database, held: Claim) -> None:
    """Write a result and move the study, as a step's save does."""
    with database.begin() as session:
        lifecycle.hold(session, held)
        session.add_all(result_rows(session, held))
        record(session, entry(object_id=str(held.study_id)))
        lifecycle.advance(session, held, StudyState.ANALYSED, reason="prioritised")


def entry(**given: object) -> Entry:
    values: dict[str, Any] = {"event": Event.PROCEDURE_RECORD, "kind": "study.analysed"}
    values |= {"actor": "worker", "object_type": "study", "object_id": "2.25.1", **given}
    return Entry(**values)
