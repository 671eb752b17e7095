"""One study's chain of custody: every content it was sent, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from db.custody import CustodyRow
from db.outbox import SENT
from db.states import StudyState
from db.tables import GenerationMemberRow, GenerationRow, InstanceRow, OutboxRow, StudyRow
from triage.record.rows import ABOUT_REPORTS

OPEN_WORDS: Final = {
    StudyState.HELD: "open: its study is held",
    StudyState.FAILED: "open: its study failed",
}


@dataclass(frozen=True, slots=True)
class Custody:
    """One content of one SOP instance, from its association to "committed at the PACS"."""

    sop_instance_uid: str
    sha256: str
    size_bytes: int
    source_ae_title: str
    source_address: str
    called_ae_title: str
    association_id: str
    association_opened_at: datetime | None
    received_at: datetime | None
    """When its bytes were whole, by the listener's clock; empty where the file does not tell."""
    indexed_at: datetime
    copies: int
    """How often the same bytes came."""
    fate: str
    """analysed, excluded, unrecorded, or open with the reason why nothing has become of it."""
    reason: str
    """Of the exclusion, code and sentence."""
    fate_at: datetime | None
    generation: int | None
    reported_at: datetime | None
    """When the first destination stored a report about it."""
    committed_at: datetime | None
    """When the last PACS that was asked had promised to keep every report about it."""
    purged_at: datetime | None


def of_study(session: Session, study: StudyRow, *, limit: int | None = None) -> list[Custody]:
    """Give what a study was sent, in the order of arrival."""
    rows = session.execute(
        select(InstanceRow, CustodyRow)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study.id)
        .order_by(InstanceRow.id)
        .limit(limit)
    ).all()
    generations = _latest_generations(session, study.id)
    told = _reported(session, study.id)
    return [_custody(row, study, generations, told) for row in rows]


def _custody(
    row: Row[InstanceRow, CustodyRow],
    study: StudyRow,
    generations: dict[int, int],
    told: dict[int, tuple[datetime | None, datetime | None]],
) -> Custody:
    instance, custody = row
    number = generations.get(instance.id)
    reported_at, committed_at = told.get(number or 0, (None, None))
    reason = f"{custody.fate_code}: {custody.fate_detail}" if custody.fate_code else ""
    fate = custody.fate
    if fate == "open":
        fate = OPEN_WORDS.get(StudyState(study.state), f"open: its study is {study.state}")
    return Custody(
        instance.sop_instance_uid, instance.sha256, instance.size_bytes,
        instance.source_ae_title, instance.source_address, custody.called_ae_title,
        custody.association_id, custody.association_opened_at, custody.spooled_at,
        instance.received_at, instance.copies, fate, reason, custody.fate_at,
        number or custody.fate_generation, reported_at, committed_at, custody.purged_at,
    )  # fmt: skip


def _latest_generations(session: Session, study_id: int) -> dict[int, int]:
    """Give the latest generation that each instance belongs to."""
    rows = session.execute(
        select(GenerationMemberRow.instance_id, func.max(GenerationRow.number))
        .join(GenerationRow, GenerationRow.id == GenerationMemberRow.generation_id)
        .where(GenerationRow.study_id == study_id)
        .group_by(GenerationMemberRow.instance_id)
    )
    return dict(rows.all())


def _reported(
    session: Session, study_id: int
) -> dict[int, tuple[datetime | None, datetime | None]]:
    """Give, by generation, when it was reported, and when everything asked about was committed."""
    rows = session.execute(
        select(
            OutboxRow.generation, OutboxRow.sent_at, OutboxRow.commitment, OutboxRow.committed_at
        )
        .where(OutboxRow.study_id == study_id, OutboxRow.state == SENT)
        .where(OutboxRow.kind.not_in(ABOUT_REPORTS))
    ).all()
    found: dict[int, tuple[datetime | None, datetime | None]] = {}
    for number in {row.generation for row in rows}:
        mine = [row for row in rows if row.generation == number]
        asked = [row.committed_at for row in mine if row.commitment is not None]
        promised = [at for at in asked if at is not None]
        found[number] = (
            min((row.sent_at for row in mine if row.sent_at is not None), default=None),
            max(promised) if promised and len(promised) == len(asked) else None,
        )
    return found
