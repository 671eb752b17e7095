"""How the run went beside its results: detectors that gave none, maps that are kept."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.carried import CarriedRow
from db.engine import now
from db.lifecycle import Claim
from db.runs import MapRow, RefusalRow
from db.tables import DetectionRow
from triage.errors import Reason
from triage.finding import Assessment, Carried, Refusal


def save_run(
    session: Session, claim: Claim, assessment: Assessment, detections: Sequence[DetectionRow]
) -> None:
    """Write the detectors that gave no result, and which map belongs to which detection.

    ``detections`` are the rows of ``assessment.detections`` in order, flushed.
    """
    for row, found in zip(detections, assessment.detections, strict=True):
        if found.map_sha256:
            session.add(MapRow(detection_id=row.id, sha256=found.map_sha256))
        session.add_all(_carried(row.id, found.carried))
    for one in assessment.refusals:
        session.add(
            RefusalRow(
                study_id=claim.study_id,
                generation=assessment.study.ref.generation,
                detector=one.detector,
                series_instance_uid=one.series_instance_uid,
                code=one.reason.code,
                sentence=one.reason.sentence,
                at=now(session),
            )
        )
    session.flush()


def _carried(detection_id: int, slices: Sequence[Carried]) -> Iterator[CarriedRow]:
    for place, one in enumerate(slices):
        top, left, bottom, right = one.region_px or (None, None, None, None)
        yield CarriedRow(
            detection_id=detection_id,
            place=place,
            sop_instance_uid=one.sop_instance_uid,
            score=one.score,
            p_value=one.p_value,
            top_px=top,
            left_px=left,
            bottom_px=bottom,
            right_px=right,
        )


def load_refusals(session: Session, study_id: int, generation: int) -> tuple[Refusal, ...]:
    """Give the detectors that gave no result for a generation."""
    rows = session.scalars(
        select(RefusalRow)
        .where(RefusalRow.study_id == study_id, RefusalRow.generation == generation)
        .order_by(RefusalRow.id)
    )
    return tuple(
        Refusal(row.detector, row.series_instance_uid, Reason(row.code, row.sentence))
        for row in rows
    )
