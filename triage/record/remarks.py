"""What detectors said beside their score, and what a person is warned of: rows and audit."""

from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from db.audit import MINOR, Entry, Event, record
from db.engine import now
from db.lifecycle import Claim
from db.remarks import ReadingRow, WarningRow
from db.tables import DetectionRow
from triage.finding import Assessment, Detection


def save_remarks(
    session: Session, claim: Claim, assessment: Assessment, detections: Sequence[DetectionRow]
) -> None:
    """Write the readings of each detection and the warnings, each warning with its audit row.

    ``detections`` are the rows of ``assessment.detections`` in order, flushed.
    """
    ref = assessment.study.ref
    for row, one in zip(detections, assessment.detections, strict=True):
        session.add_all(_readings(row, one))
    for warning in assessment.warnings:
        session.add(
            WarningRow(
                study_id=claim.study_id,
                generation=ref.generation,
                fence=claim.fence,
                code=warning.code,
                sentence=warning.sentence,
                detector=warning.detector,
                series_instance_uid=warning.series_instance_uid,
                at=now(session),
            )
        )
        entry = Entry(
            event=Event.PROCEDURE_RECORD,
            kind="study.warned",
            action="U",
            outcome=MINOR,
            actor=claim.owner,
            object_type="study",
            object_id=ref.study_instance_uid,
            detail={
                "generation": ref.generation,
                "warning": warning.code,
                "detector": warning.detector,
                "series_instance_uid": warning.series_instance_uid,
            },
        )
        record(session, entry)
    session.flush()


def _readings(row: DetectionRow, one: Detection) -> Iterator[ReadingRow]:
    for name, score in one.others.items():
        yield ReadingRow(detection_id=row.id, kind="score", word=name, value=score, header="")
    for look in one.looks:
        yield ReadingRow(
            detection_id=row.id,
            kind=look.kind,
            word=look.word,
            value=look.probability,
            header=look.header,
            header_value=look.header_probability,
        )
