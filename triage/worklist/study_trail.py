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
    # looks
    "study.seen": "opened the study's page",
    "viewer.opened": "opened the viewer",
    "viewer.pacs": "opened it in the PACS's viewer",
    "viewer.series": "opened the images",
    "viewer.frames": "leafed through the images",
    "viewer.prior": "opened it as a prior",
    "viewer.heat": "saw the heat map",
    "viewer.references": "saw healthy studies beside it",
    "preview.seen": "saw the preview",
    "evidence.seen": "opened the evidence page",
    "dicomweb.query": "searched for it by DICOMweb",
    "dicomweb.retrieve": "retrieved images",
    "dicomweb.denied": "was refused by DICOMweb",
    "access.refused": "was refused",
    "break-glass.opened": "opened it in an emergency",
    "break-glass.reviewed": "looked at an opening in an emergency",
    # what was done to it
    "claim.made": "claimed it",
    "claim.renewed": "went on reading it",
    "claim.released": "gave it back",
    "claim.taken-over": "took it over from another reader",
    "feedback.given": "gave feedback",
    "feedback.withdrawn": "took feedback back",
    "study.retry": "had it tried again",
    "report.resend": "had a report sent again",
    "report.withdrawn": "withdrew a report",
    "conflict.resolved": "resolved a doubt",
    # of no one study
    "worklist.list": "opened a list",
    "worklist.search": "searched the list",
    "worklist.api": "read the list as a program",
    "worklist.exported": "exported a list",
    "worklist.list-kept": "kept a list under a name",
    "worklist.list-removed": "removed a kept list",
    "deliveries.list": "opened the deliveries",
    "conflicts.list": "opened the conflicts",
    "quarantine.list": "opened the quarantine",
    "waiting.seen": "opened the waiting times",
    "break-glass.list": "opened the list of emergencies",
    "audit.used": "read the audit trail",
    "audit.exported": "exported the audit trail",
    "admin.seen": "opened a page of the administration",
    "installation.examined": "examined the installation",
    # accounts
    "login": "signed in",
    "login.directory": "signed in by the directory",
    "login.issuer": "signed in by the issuer",
    "login.refused": "was refused at sign-in",
    "logout": "signed out",
    "password.changed": "changed a password",
    "role.changed": "changed roles",
    "user.created": "made an account",
    "user.disabled": "ended an account's access",
    "user.enabled": "let an account in again",
    "user.locked": "was locked after wrong passwords",
    "user.unlocked": "unlocked an account",
    "user.factor-added": "added a second factor",
    "user.factor-removed": "removed a second factor",
    "user.recovery-code-used": "signed in by a recovery code",
}
"""Kinds of event in plain words: all that the worklist writes. Another is shown as it is."""


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
