"""What the worklist reads beside its lists: reports, warnings, one study with all that is known."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Select, distinct, func, select
from sqlalchemy.orm import Session, defer

from db.among import among
from db.delivery import WithdrawalRow
from db.remarks import ReadingRow, WarningRow
from db.tables import (
    DecisionRow,
    DetectionRow,
    GenerationRow,
    InstanceRow,
    OutboxRow,
    QuarantineRow,
    StudyRow,
    TransitionRow,
)

Row = TypeVar("Row")
NOT_IMAGES: Final = frozenset(
    {"SR", "PR", "KO", "DOC", "SEG", "REG", "FID", "RWV", "PLAN", "RTSTRUCT", "RTPLAN", "RTRECORD",
     "RTDOSE", "ECG", "HD", "AU", "EPS", "RESP", "STAIN", "SMR"}
)  # fmt: skip
"""Modalities (PS3.3 C.7.3.1.1.1) whose instances hold nothing to show as a preview."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One study with everything that is known about it."""

    study: StudyRow
    series_count: int
    generations: tuple[GenerationRow, ...]
    decisions: tuple[DecisionRow, ...]
    """Latest generation first, as everything here."""
    detections: tuple[DetectionRow, ...]
    reports: tuple[OutboxRow, ...]
    transitions: tuple[TransitionRow, ...]
    warnings: tuple[WarningRow, ...]
    """Of the study's current generation."""
    withdrawals: tuple[WithdrawalRow, ...]
    readings: Mapping[int, tuple[ReadingRow, ...]]
    """By detection: what it said beside its score."""

    @property
    def decisive(self) -> DetectionRow | None:
        """Give the detection the latest decision rests on."""
        return decisive(self.study, self.detections)


def decisive(study: StudyRow, detections: Collection[DetectionRow]) -> DetectionRow | None:
    """Give the strongest detection of the study's generation: lowest p, then highest score."""
    latest = [one for one in detections if one.generation == study.generation]
    return min(latest, key=lambda one: (one.p_value, -one.score), default=None)


# Statements that every list asks are built once: building one takes longer than running it.
REPORTS: Final = (
    select(OutboxRow)
    .join(StudyRow, StudyRow.id == OutboxRow.study_id)
    .where(among(OutboxRow.study_id, "studies"), OutboxRow.generation == StudyRow.generation)
    .order_by(OutboxRow.id)
    .options(defer(OutboxRow.content, raiseload=True))
)
REMARKS: Final = (
    select(WarningRow)
    .join(StudyRow, StudyRow.id == WarningRow.study_id)
    .where(among(WarningRow.study_id, "studies"), WarningRow.generation == StudyRow.generation)
    .order_by(WarningRow.id)
)


def reports(session: Session, study_ids: Collection[int]) -> Mapping[int, tuple[OutboxRow, ...]]:
    """Give the reports of each study's current generation, without their bytes."""
    rows = session.scalars(REPORTS, {"studies": study_ids})
    return _grouped((row.study_id, row) for row in rows)


def warnings(session: Session, study_ids: Collection[int]) -> Mapping[int, tuple[WarningRow, ...]]:
    """Give the warnings of each study's current generation."""
    rows = session.scalars(REMARKS, {"studies": study_ids})
    return _grouped((row.study_id, row) for row in rows)


def readings(session: Session, study_id: int) -> Mapping[int, tuple[ReadingRow, ...]]:
    """Give, by detection, what a study's detectors said beside their scores."""
    rows = session.scalars(
        select(ReadingRow)
        .join(DetectionRow, DetectionRow.id == ReadingRow.detection_id)
        .where(DetectionRow.study_id == study_id)
        .order_by(ReadingRow.id)
    )
    return _grouped((row.detection_id, row) for row in rows)


def _grouped(pairs: Iterable[tuple[int, Row]]) -> dict[int, tuple[Row, ...]]:
    found: dict[int, tuple[Row, ...]] = {}
    for key, row in pairs:
        found[key] = (*found.get(key, ()), row)
    return found


def detail(session: Session, study_id: int) -> Detail | None:
    """Give one study with all its rows but the reports' bytes; None when there is none."""
    study = session.get(StudyRow, study_id)
    if study is None:
        return None
    series = select(func.count(distinct(InstanceRow.series_instance_uid)))
    return Detail(
        study=study,
        series_count=session.scalar(series.where(InstanceRow.study_id == study_id)) or 0,
        generations=tuple(
            session.scalars(
                select(GenerationRow)
                .where(GenerationRow.study_id == study_id)
                .order_by(GenerationRow.number.desc())
            )
        ),
        decisions=tuple(
            session.scalars(
                select(DecisionRow)
                .where(DecisionRow.study_id == study_id)
                .order_by(DecisionRow.generation.desc())
            )
        ),
        detections=detections(session, study_id),
        reports=tuple(
            session.scalars(
                select(OutboxRow)
                .where(OutboxRow.study_id == study_id)
                .order_by(OutboxRow.generation.desc(), OutboxRow.id)
                .options(defer(OutboxRow.content, raiseload=True))
            )
        ),
        transitions=tuple(
            session.scalars(
                select(TransitionRow)
                .where(TransitionRow.study_id == study_id)
                .order_by(TransitionRow.id.desc())
            )
        ),
        withdrawals=tuple(
            session.scalars(
                select(WithdrawalRow)
                .where(WithdrawalRow.study_id == study_id)
                .order_by(WithdrawalRow.id.desc())
            )
        ),
        warnings=warnings(session, [study_id]).get(study_id, ()),
        readings=readings(session, study_id),
    )


def detections(session: Session, study_id: int) -> tuple[DetectionRow, ...]:
    """Give a study's detections, latest generation first, strongest first."""
    return tuple(
        session.scalars(
            select(DetectionRow)
            .where(DetectionRow.study_id == study_id)
            .order_by(DetectionRow.generation.desc(), DetectionRow.p_value, DetectionRow.id)
        )
    )


def preview(session: Session, study: StudyRow, *, may_point: bool) -> InstanceRow | None:
    """Give the instance to show beside the result; None when the study holds no image.

    With ``may_point`` that is the one with the highest score. Without, choosing it would point at
    a location, so it is the middle one of the series.
    """
    strongest = decisive(study, detections(session, study.id))
    images = (
        select(InstanceRow)
        .where(InstanceRow.study_id == study.id, InstanceRow.modality.not_in(NOT_IMAGES))
        .order_by(InstanceRow.id)
    )
    if strongest is None:
        first = session.scalar(images.limit(1))
        if first is None:
            return None
        return _middle(session, images, first.series_instance_uid)
    if may_point:
        uid = strongest.key_sop_instance_uid
        return session.scalar(images.where(InstanceRow.sop_instance_uid == uid).limit(1))
    return _middle(session, images, strongest.series_instance_uid)


def quarantined(session: Session, *, limit: int) -> tuple[QuarantineRow, ...]:
    """Give the latest files that were acknowledged and are no part of a study."""
    return tuple(
        session.scalars(select(QuarantineRow).order_by(QuarantineRow.id.desc()).limit(limit))
    )


def _middle(
    session: Session, images: Select[InstanceRow], series_instance_uid: str
) -> InstanceRow | None:
    series = images.where(InstanceRow.series_instance_uid == series_instance_uid)
    count = session.scalar(select(func.count()).select_from(series.subquery())) or 0
    return session.scalar(series.offset(max(count - 1, 0) // 2).limit(1))
