"""``triage study`` and ``triage queue``: what happened to a study, what waits, try again."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.carried import CarriedRow
from db.engine import Database
from db.remarks import ReadingRow, WarningRow
from db.states import StudyState
from db.tables import (
    DecisionRow,
    DetectionRow,
    GenerationRow,
    InstanceRow,
    OutboxRow,
    StudyRow,
    TransitionRow,
)
from triage import evidence
from triage.errors import TriageError
from triage.record import retries
from triage.record.withdrawals import Who

LONGEST_NUMBER = 18
"""Digits that surely fit a database's BIGINT."""


class NoSuchStudy(TriageError):
    """No study with that id is known."""


def find(session: Session, key: str) -> StudyRow:
    """Give the study with this Study Instance UID or internal number.

    Raises:
        NoSuchStudy: there is none.
    """
    condition = StudyRow.study_instance_uid == key
    if key.isdecimal() and len(key) <= LONGEST_NUMBER:
        condition = condition | (StudyRow.id == int(key))
    row = session.scalar(select(StudyRow).where(condition))
    if row is None:
        msg = f"no study {key}; `triage queue ls --all` lists them"
        raise NoSuchStudy(msg)
    return row


def describe(database: Database, key: str) -> dict[str, Any]:
    """Give all that is known of one study, without patient data."""
    with database.reading() as session:
        study = find(session, key)
        copies = session.scalar(
            select(func.coalesce(func.sum(InstanceRow.copies), 0)).where(
                InstanceRow.study_id == study.id
            )
        )
        return {
            **_columns(
                study, "id", "study_instance_uid", "state", "outcome", "priority_name", "sentence",
                "reason_code", "reason_detail", "rank", "score", "generation", "instance_count",
                "received_at", "last_instance_at", "settled_at", "due_at", "leased_by", "attempts",
            ),
            "arrivals": copies,
            "generations": _rows(session, GenerationRow, study.id, "number", "evidence", "digest",
                                 "closed_at"),
            **_evidence(session, study),
            "decisions": _rows(session, DecisionRow, study.id, "generation", "outcome",
                               "priority_name", "sentence", "reason_code", "mode", "thresholds",
                               "at"),
            "detections": _rows(session, DetectionRow, study.id, "generation", "detector",
                                "version", "score", "p_value", "stratum", "calibration_n",
                                "weights_sha256", "artifact_sha256"),
            "readings": _readings(session, study.id),
            "carried": _carried(session, study.id),
            "warnings": _rows(session, WarningRow, study.id, "generation", "code", "sentence",
                              "detector", "series_instance_uid", "at"),
            "reports": _rows(session, OutboxRow, study.id, "generation", "destination", "kind",
                             "sop_instance_uid", "state", "attempts", "last_status", "last_error",
                             "sent_at"),
            "history": _rows(session, TransitionRow, study.id, "at", "old", "new", "reason",
                             "actor"),
        }  # fmt: skip


def _evidence(session: Session, study: StudyRow) -> dict[str, Any]:
    """Give what says that the study is complete, and what closed each generation."""
    known = evidence.shown(session, study)
    count = [known.count] if known.count is not None else []
    return {
        "closings": [
            _columns(one, "generation", "kind", "sentence", "held", "expected", "closed_at")
            for one in known.closings
        ],
        "announcements": [
            _columns(one, "kind", "state", "reason_code", "ae_title", "listed", "missing",
                     "last_at", "sop_instance_uid")
            for one in known.announced
        ],
        "counts": [
            _columns(one, "source", "answer", "held", "agreed", "asked_at", "last_error")
            for one in count
        ],
        "arrivals_by_series": [
            _columns(one, "series_instance_uid", "modality", "instances", "longest_gap_ms",
                     "first_at", "last_at")
            for one in known.series
        ],
    }  # fmt: skip


def waiting(database: Database, *, every: bool) -> list[dict[str, Any]]:
    """Give the studies that wait for a step or for a person; all of them with ``every``."""
    shown = [state for state in StudyState if every or state not in _AT_REST]
    with database.reading() as session:
        rows = session.scalars(
            select(StudyRow)
            .where(StudyRow.state.in_(shown))
            .order_by(StudyRow.priority.desc(), StudyRow.received_at, StudyRow.id)
        )
        return [
            _columns(
                row,
                "id",
                "state",
                "outcome",
                "priority_name",
                "instance_count",
                "attempts",
                "tries",
                "due_at",
                "leased_by",
                "reason_code",
                "study_instance_uid",
            )
            for row in rows
        ]


def retry(database: Database, keys: list[str], *, actor: str) -> list[int]:
    """Give failed studies another try where they failed, audited; gives their numbers.

    With no keys, every failed study.

    Raises:
        NoSuchStudy: a key names no study.
        TriageError: a named study has not failed.
    """
    with database.begin() as session:
        if keys:
            chosen = select(StudyRow).where(
                StudyRow.id.in_([find(session, key).id for key in keys])
            )
        else:
            chosen = select(StudyRow).where(StudyRow.state == StudyState.FAILED)
        rows = list(session.scalars(chosen.with_for_update()))
        for row in rows:
            retries.retry(session, row, Who(actor))
        return [row.id for row in rows]


_AT_REST = (StudyState.DELIVERED, StudyState.REJECTED)


def _readings(session: Session, study_id: int) -> list[dict[str, Any]]:
    """Give what the detectors said beside their scores."""
    names = ("kind", "word", "value", "header", "header_value")
    rows = session.execute(
        select(DetectionRow, ReadingRow)
        .join(ReadingRow, ReadingRow.detection_id == DetectionRow.id)
        .where(DetectionRow.study_id == study_id)
        .order_by(ReadingRow.id)
    )
    return [
        _columns(said, "generation", "detector", "series_instance_uid") | _columns(reading, *names)
        for said, reading in rows
    ]


def _carried(session: Session, study_id: int) -> list[dict[str, Any]]:
    """Give the slices and regions that carried the scores, of generations in research mode."""
    names = ("place", "sop_instance_uid", "score", "p_value", "top_px", "left_px", "bottom_px",
             "right_px")  # fmt: skip
    rows = session.execute(
        select(DetectionRow, CarriedRow)
        .join(CarriedRow, CarriedRow.detection_id == DetectionRow.id)
        .join(
            DecisionRow,
            (DecisionRow.study_id == DetectionRow.study_id)
            & (DecisionRow.generation == DetectionRow.generation),
        )
        .where(DetectionRow.study_id == study_id, DecisionRow.mode == "research")
        .order_by(DetectionRow.id, CarriedRow.place)
    )
    return [
        _columns(found, "generation", "detector") | _columns(one, *names) for found, one in rows
    ]


def _columns(row: Any, *names: str) -> dict[str, Any]:  # noqa: ANN401 - any table's row
    return {name: getattr(row, name) for name in names}


def _rows(session: Session, table: Any, study_id: int, *names: str) -> list[dict[str, Any]]:  # noqa: ANN401 - any table with a study_id
    rows = session.scalars(select(table).where(table.study_id == study_id).order_by(table.id))
    return [_columns(row, *names) for row in rows]
