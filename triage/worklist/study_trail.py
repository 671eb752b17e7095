"""What the audit trail says of one study: who saw it, what was done to it, and each row's seal."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.tables import AuditRow, AuditSealRow, StudyRow

MOST: Final = 100
OUTCOMES: Final = {0: "", 4: "minor failure", 8: "refused or failed", 12: "major failure"}
"""By EventOutcomeIndicator (PS3.15 A.5.3); success needs no word."""
WORDS: Final = {
    "study.seen": "opened the study's page",
    "study.viewed": "opened the images",
    "preview.seen": "saw the preview",
    "evidence.seen": "opened the evidence page",
    "feedback.given": "gave feedback",
    "feedback.withdrawn": "took feedback back",
    "study.retry": "had it tried again",
    "report.resend": "had a report sent again",
    "report.withdrawn": "withdrew a report",
    "conflict.resolved": "resolved a doubt",
    "dicomweb.retrieve": "retrieved images",
    "access.refused": "was refused",
}
"""Kinds of event in plain words; a kind that is not here is shown as it is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the audit trail as a page shows it."""

    number: int
    at: datetime
    words: str
    kind: str
    actor: str
    role: str
    address: str
    outcome: str
    seal: int | None
    """Its place in the hash chain; None until a sealer ran."""


@dataclass(frozen=True, slots=True)
class Trail:
    """A study's latest rows, the newest first, and how many there are in all."""

    lines: tuple[Line, ...]
    count: int


def of(session: Session, study: StudyRow, *, limit: int = MOST) -> Trail:
    """Give what the audit trail says of a study."""
    about = AuditRow.object_id == study.study_instance_uid
    rows = session.execute(
        select(AuditRow, AuditSealRow.seq)
        .outerjoin(AuditSealRow, AuditSealRow.audit_id == AuditRow.id)
        .where(about)
        .order_by(AuditRow.id.desc())
        .limit(limit)
    ).all()
    count = session.scalar(select(func.count()).select_from(AuditRow).where(about)) or 0
    return Trail(tuple(_line(row, seq) for row, seq in rows), count)


def _line(row: AuditRow, seq: int | None) -> Line:
    return Line(
        number=row.id,
        at=row.at,
        words=WORDS.get(row.event_type, row.event_type or row.event_id),
        kind=row.event_type,
        actor=row.actor,
        role=row.actor_role,
        address=row.network_address or row.ae_title,
        outcome=OUTCOMES.get(row.outcome, str(row.outcome)),
        seal=seq,
    )
