"""The audit trail: rows written in the transaction of the effect, sealed into a hash chain.

The words are DICOM's (PS3.15 A.5.3, CID 400). Sealing runs apart, so that writers never wait for
each other; a sealed row that is edited, removed or reordered is found by ``verify``.
"""

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, exists, func, insert, select
from sqlalchemy.orm import Session

from db.engine import now
from db.once import AuditOnceRow
from db.tables import AuditRow, AuditSealRow

GENESIS: Final = "0" * 64
OVERDUE: Final = timedelta(hours=1)
WINDOW: Final = 10_000
"""Ids before the newest sealed one that every sealing looks at again."""
_LOCK: Final = 0x7365_616C
"""Of PostgreSQL's advisory lock: one sealer at a time."""
_CONTENT: Final = tuple(column.key for column in AuditRow.__table__.columns)
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
    PATIENT_RECORD = "110110"
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
    if entry.event_uid is not None:
        session.add(AuditOnceRow(event_uid=entry.event_uid))
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
    """Chain rows that are not yet chained, oldest id first; gives how many.

    Ids commit out of order, so a row older than the newest sealed one may still be waiting: it is
    sealed after it. A second sealer at the same moment does nothing.
    """
    if not _sealing_is_ours(session):
        return 0
    seq, prev = head(session)
    newest = session.scalar(select(func.max(AuditSealRow.audit_id))) or 0
    found = _seal(session, seq, prev, after=newest - WINDOW, limit=limit)
    if (seq + found) // WINDOW == seq // WINDOW:
        return found
    # Once a window, look at every row: a transaction may have been open for longer than one.
    seq, prev = head(session)
    return found + _seal(session, seq, prev, after=0, limit=limit)


def head(session: Session) -> tuple[int, str]:
    """Give the last seal's number and hash; zero and GENESIS before the first."""
    last = session.execute(
        select(AuditSealRow.seq, AuditSealRow.row_hash).order_by(AuditSealRow.seq.desc()).limit(1)
    ).first()
    return (last.seq, last.row_hash) if last else (0, GENESIS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``verify`` found."""

    sealed: int
    """Rows whose seal holds, from the first."""
    unsealed: int
    overdue: int
    """Unsealed rows older than OVERDUE: no sealer ran."""
    head: str
    """Hash of the last seal that holds."""
    first_bad_seq: int | None
    problem: str

    @property
    def ok(self) -> bool:
        """Tell whether the chain holds."""
        return self.first_bad_seq is None


def verify(session: Session, remembered: Mapping[int, str] | None = None) -> Verdict:
    """Walk the chain from its first row; names the first row that does not fit.

    ``remembered`` are seals noted outside the database (``db.checkpoint``): number to hash. Only
    they show a tail that was cut off, or a chain that was written anew from some row on.
    """
    remembered = remembered or {}
    prev, count, problem = GENESIS, 0, ""
    with closing(_pairs(session)) as pairs:
        for pair in pairs:
            problem = _problem(prev, count + 1, pair, remembered.get(count + 1))
            if problem:
                break
            prev, count = pair["row_hash"], count + 1
    if not problem and max(remembered, default=0) > count:
        problem = f"seals after {count} were cut off"
    unsealed = session.scalar(_count_unsealed()) or 0
    overdue = session.scalar(_count_unsealed().where(AuditRow.at < now(session) - OVERDUE)) or 0
    return Verdict(count, unsealed, overdue, prev, count + 1 if problem else None, problem)


def _sealing_is_ours(session: Session) -> bool:
    """Take the sealer's lock until the end of the transaction. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "sqlite":
        return True
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))))


def _seal(session: Session, seq: int, prev: str, *, after: int, limit: int) -> int:
    waiting = (
        select(*AuditRow.__table__.columns)
        .where(AuditRow.id > after, ~_is_sealed())
        .order_by(AuditRow.id)
        .limit(limit)
    )
    session.flush()
    seals = []
    for number, row in enumerate(session.execute(waiting).mappings(), start=seq + 1):
        digest = _chain(prev, number, row)
        seals.append({"seq": number, "audit_id": row["id"], "prev_hash": prev, "row_hash": digest})
        prev = digest
    if seals:
        session.execute(insert(AuditSealRow), seals)
    return len(seals)


def _is_sealed() -> ColumnElement[bool]:
    return exists().where(AuditSealRow.audit_id == AuditRow.id)


def _count_unsealed() -> Select[int]:
    return select(func.count()).select_from(AuditRow).where(~_is_sealed())


def _pairs(session: Session) -> Generator[RowMapping, None, None]:
    query = (
        select(*AuditSealRow.__table__.columns, *AuditRow.__table__.columns)
        .outerjoin(AuditRow, AuditRow.id == AuditSealRow.audit_id)
        .order_by(AuditSealRow.seq)
        .execution_options(yield_per=1000)
    )
    with session.execute(query) as result:  # PostgreSQL reads it through a cursor
        yield from result.mappings()


def _problem(prev: str, seq: int, pair: RowMapping, remembered: str | None) -> str:
    if pair["seq"] != seq:
        return f"seal {seq} is missing"
    if pair["id"] is None:
        return f"audit row {pair['audit_id']} was removed"
    if pair["prev_hash"] != prev:
        return "the chain was cut or reordered"
    if pair["row_hash"] != _chain(prev, seq, pair):
        return f"audit row {pair['id']} was changed"
    rewritten = remembered not in (None, pair["row_hash"])
    return "the chain was written anew, here or before" if rewritten else ""


def _chain(prev: str, seq: int, row: RowMapping) -> str:
    content = {name: row[name] for name in _CONTENT}
    content["at"] = row["at"].isoformat()
    canonical = json.dumps([prev, seq, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
