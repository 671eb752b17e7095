"""The audit trail: rows written in the transaction of the effect, sealed into a hash chain.

The words are DICOM's (PS3.15 A.5.3, CID 400). Sealing runs apart, so that writers never wait for
each other; a sealed row that is edited, removed or reordered is found by ``verify``.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine import now
from db.tables import AuditRow, AuditSealRow

GENESIS: Final = "0" * 64
SUCCESS, MINOR, SERIOUS, MAJOR = 0, 4, 8, 12
"""EventOutcomeIndicator, PS3.15 A.5.3."""


class Event(StrEnum):
    """EventIDs of CID 400 that we write."""

    APPLICATION_ACTIVITY = "110100"
    AUDIT_LOG_USED = "110101"
    INSTANCES_ACCESSED = "110103"
    INSTANCES_TRANSFERRED = "110104"
    STUDY_DELETED = "110105"
    EXPORT = "110106"
    IMPORT = "110107"
    PROCEDURE_RECORD = "110111"
    QUERY = "110112"
    SECURITY_ALERT = "110113"
    USER_AUTHENTICATION = "110114"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What happened, before it has a time."""

    event: Event
    kind: str = ""
    """Our own finer word: "study.received", "login.refused"."""
    action: str = "E"
    outcome: int = SUCCESS
    actor: str
    actor_role: str = ""
    ae_title: str = ""
    network_address: str = ""
    object_type: str = ""
    object_id: str = ""
    detail: Mapping[str, Any] | None = None
    """Codes, counts, hashes; never a name or text from a data set."""
    event_uid: str | None = None


def record(session: Session, entry: Entry) -> None:
    """Write one audit row in the caller's transaction: no effect without its row."""
    session.add(
        AuditRow(
            at=now(session),
            event_id=entry.event,
            event_type=entry.kind,
            action=entry.action,
            outcome=entry.outcome,
            actor=entry.actor,
            actor_role=entry.actor_role,
            ae_title=entry.ae_title,
            network_address=entry.network_address,
            object_type=entry.object_type,
            object_id=entry.object_id,
            detail=json.dumps(dict(entry.detail or {}), sort_keys=True),
            event_uid=entry.event_uid,
        )
    )


def seal(session: Session, *, limit: int = 1000) -> int:
    """Chain the rows that are not yet chained, oldest id first; gives how many.

    One sealer at a time: the unique ``seq`` makes a second one fail and roll back.
    """
    last = session.scalar(select(AuditSealRow).order_by(AuditSealRow.seq.desc()).limit(1))
    seq, prev = (last.seq, last.row_hash) if last else (0, GENESIS)
    unsealed = session.scalars(
        select(AuditRow)
        .outerjoin(AuditSealRow, AuditSealRow.audit_id == AuditRow.id)
        .where(AuditSealRow.seq.is_(None))
        .order_by(AuditRow.id)
        .limit(limit)
    ).all()
    for row in unsealed:
        seq += 1
        digest = _chain(prev, seq, row)
        session.add(AuditSealRow(seq=seq, audit_id=row.id, prev_hash=prev, row_hash=digest))
        prev = digest
    return len(unsealed)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``verify`` found."""

    sealed: int
    unsealed: int
    head: str
    """Hash of the last sealed row: compare it with a copy kept elsewhere."""
    first_bad_seq: int | None
    problem: str

    @property
    def ok(self) -> bool:
        """Tell whether the chain holds."""
        return self.first_bad_seq is None


def verify(session: Session) -> Verdict:
    """Walk the chain from its first row; names the first row that does not fit."""
    total = session.scalar(select(func.count()).select_from(AuditRow)) or 0
    prev, count = GENESIS, 0
    for count, (sealed, row) in enumerate(_pairs(session), start=1):
        problem = _problem(prev, count, sealed, row)
        if problem:
            return Verdict(count - 1, total - count + 1, prev, sealed.seq, problem)
        prev = sealed.row_hash
    return Verdict(count, total - count, prev, None, "")


def _pairs(session: Session) -> Iterator[tuple[AuditSealRow, AuditRow | None]]:
    query = (
        select(AuditSealRow, AuditRow)
        .outerjoin(AuditRow, AuditRow.id == AuditSealRow.audit_id)
        .order_by(AuditSealRow.seq)
        .execution_options(yield_per=1000)
    )
    for pair in session.execute(query):
        yield pair.tuple()


def _problem(prev: str, seq: int, sealed: AuditSealRow, row: AuditRow | None) -> str:
    if sealed.seq != seq:
        return f"seal {seq} is missing"
    if row is None:
        return f"audit row {sealed.audit_id} was removed"
    if sealed.prev_hash != prev:
        return "the chain was cut or reordered"
    if sealed.row_hash != _chain(prev, seq, row):
        return f"audit row {row.id} was changed"
    return ""


def _chain(prev: str, seq: int, row: AuditRow) -> str:
    content = {
        column.key: getattr(row, column.key).isoformat()
        if column.key == "at"
        else getattr(row, column.key)
        for column in AuditRow.__table__.columns
    }
    canonical = json.dumps([prev, seq, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
