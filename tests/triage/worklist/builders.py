"""Studies in every state, as the steps leave them."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy.orm import Session

from db.engine import now
from db.remarks import ReadingRow, WarningRow
from db.states import StudyState
from db.tables import (
    DecisionRow,
    DetectionRow,
    GenerationRow,
    InstanceRow,
    OutboxRow,
    StudyRow,
)
from triage.reading import Reading
from triage.settings import Settings

NUMBERS = count(1)
SHA = "ab" * 32
RESTS = {
    "pending": StudyState.READY,
    "prioritised": StudyState.DELIVERED,
    "not prioritised": StudyState.DELIVERED,
    "not analysed": StudyState.REJECTED,
    "held": StudyState.HELD,
    "failed": StudyState.FAILED,
}


def add_study(
    session: Session, outcome: str = "not prioritised", *, minutes: float = 5.0, **given: object
) -> StudyRow:
    """Add a study that arrived ``minutes`` ago."""
    at = now(session)
    arrived = at - timedelta(minutes=minutes)
    values: dict[str, Any] = {
        "study_instance_uid": f"2.25.{next(NUMBERS)}",
        "state": RESTS[outcome],
        "outcome": outcome,
        "due_at": at,
        "received_at": arrived,
        "last_instance_at": arrived,
        "generation": 1,
        "instance_count": 1,
        "patient_id": "P1",
        "patient_name": "DOE^JANE",
        "modality": "DX",
    }
    study = StudyRow(**(values | given))
    session.add(study)
    session.flush()
    return study


def add_instance(session: Session, study: StudyRow, **given: object) -> InstanceRow:
    values: dict[str, Any] = {
        "study_id": study.id,
        "sop_instance_uid": f"2.25.{next(NUMBERS)}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "series_instance_uid": "2.25.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "DX",
        "sha256": f"{next(NUMBERS):064x}",
        "size_bytes": 1,
        "source_ae_title": "ROOM_1",
        "received_at": now(session),
    }
    row = InstanceRow(**(values | given))
    session.add(row)
    session.flush()
    return row


def add_result(session: Session, study: StudyRow, **given: object) -> DetectionRow:
    """Add what one analysis writes: generation, detection, decision, one report."""
    at = now(session)
    said = detection(study, at=at, **given)
    session.add_all((
        said,
        GenerationRow(
            study_id=study.id, number=study.generation, digest=SHA, evidence="quiet period 5 s",
            closed_at=at,
        ),
        DecisionRow(
            study_id=study.id, generation=study.generation, fence=1, outcome=study.outcome,
            priority=study.priority, priority_name=study.priority_name, sentence="A sentence.",
            mode="triage", thresholds='{"high": 0.02, "raised": 0.05}', at=at,
        ),
        add_report(study, at),
    ))  # fmt: skip
    session.flush()
    return said


def add_report(study: StudyRow, at: datetime, **given: object) -> OutboxRow:
    values: dict[str, Any] = {
        "study_id": study.id,
        "generation": study.generation,
        "destination": "pacs",
        "kind": "structured_report",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.33",
        "sop_instance_uid": f"2.25.{next(NUMBERS)}",
        "content": b"bytes",
        "sha256": SHA,
        "state": "sent",
        "attempts": 1,
        "last_status": 0,
        "built_at": at,
        "sent_at": at,
    }
    return OutboxRow(**(values | given))


def detection(study: StudyRow, **given: object) -> DetectionRow:
    values: dict[str, Any] = {
        "study_id": study.id,
        "generation": study.generation,
        "fence": 1,
        "detector": "chest-radiograph-memae",
        "family": "memae",
        "version": "1.2.3",
        "weights_sha256": "cd" * 32,
        "artifact_sha256": SHA,
        "series_instance_uid": "2.25.1",
        "key_sop_instance_uid": "2.25.2",
        "analysed_count": 1,
        "score": 0.25,
        "p_value": 0.0132,
        "stratum": "DX/CHEST/adult",
        "calibration_n": 500,
        "calibration_sha256": SHA,
        "at": study.received_at,
    }
    return DetectionRow(**(values | given))


def add_warning(session: Session, study: StudyRow, **given: object) -> WarningRow:
    """Add what is written where a study's header and image disagree."""
    values: dict[str, Any] = {
        "study_id": study.id,
        "generation": study.generation,
        "fence": 1,
        "code": "header-image",
        "sentence": "Header and image disagree: the organ is CHEST in the header.",
        "detector": "maddr-memae",
        "series_instance_uid": "2.25.1",
        "at": now(session),
    }
    row = WarningRow(**(values | given))
    session.add(row)
    session.flush()
    return row


def add_reading(session: Session, said: DetectionRow, **given: object) -> ReadingRow:
    """Add what a detector said beside its score."""
    values: dict[str, Any] = {
        "detection_id": said.id, "kind": "organ", "word": "HEAD", "value": 0.97,
        "header": "CHEST", "header_value": 0.01,
    }  # fmt: skip
    row = ReadingRow(**(values | given))
    session.add(row)
    session.flush()
    return row


def shown_by(settings: Settings, address: str) -> Settings:
    """Give settings whose PACS shows a study at this address."""
    reading = Reading.model_validate(settings.site.reading.model_dump() | {"pacs_viewer": address})
    site = settings.site.model_copy(update={"reading": reading})
    return settings.model_copy(update={"site": site})
