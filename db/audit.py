"""The audit trail: rows written in the transaction of the effect, sealed into a hash chain.

The words are DICOM's (PS3.15 A.5.3, CID 400). Sealing runs apart, so that writers never wait for
each other; a sealed row that is edited, removed or reordered is found by ``verify``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, Table, bindparam, exists, func, insert, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.orm import Session

from db import chain
from db.chain import GENESIS
from db.engine import Database, dialect, here, now
from db.once import AuditOnceRow
from db.retired import NOTHING, Retired
from db.tables import AuditRow, AuditSealRow

OVERDUE: Final = timedelta(hours=1)
WINDOW: Final = 10_000
"""Ids before the newest sealed one that a sealing looks at again."""
LATE: Final = timedelta(days=1)
"""Once a window, rows this old are looked at: no transaction stays open for longer."""
_LOCK: Final = 0x7365_616C
"""Of PostgreSQL's advisory lock: one sealer at a time."""
_encode = json.JSONEncoder(sort_keys=True).encode
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


GIVEN: Final = [name for name in chain.CONTENT if name not in {"id", "at"}]
"""Columns of a row that are the caller's to say."""
ROW: Final = insert(cast("Table", AuditRow.__table__))
"""What nearly every row goes by: a unit of work takes it twice."""
ROW_NOW: Final = ROW.values(at=func.clock_timestamp())
"""The same by a server's clock, without asking it first."""
SQLITE_ROW: Final = str(
    ROW.inline().compile(dialect=SQLiteDialect(paramstyle="qmark"), column_keys=["at", *GIVEN])
)
"""As SQLite's driver takes it, for ``record_alone``: the time is the caller's to say, too."""
POSTGRESQL_ROW: Final = str(
    ROW_NOW.inline().compile(
        dialect=PGDialect_psycopg(),  # type: ignore[no-untyped-call]
        column_keys=GIVEN,
    )
)
"""The same for PostgreSQL's driver, with the server's clock in it."""


def _is_sealed() -> ColumnElement[bool]:
    return exists().where(AuditSealRow.audit_id == AuditRow.id)


def _waiting(which: ColumnElement[bool]) -> Select[Any]:
    rows = select(*AuditRow.__table__.columns).where(which, ~_is_sealed())
    return rows.order_by(AuditRow.id).limit(bindparam("most"))


NEWER: Final = _waiting(AuditRow.id > bindparam("after"))
SINCE: Final = _waiting(AuditRow.at > bindparam("at"))
NEWEST: Final = select(func.max(AuditSealRow.audit_id))
LAST: Final = (
    select(AuditSealRow.seq, AuditSealRow.row_hash).order_by(AuditSealRow.seq.desc()).limit(1)
)
SEAL: Final = insert(cast("Table", AuditSealRow.__table__))
"""What sealing asks twice a second: a statement made anew takes longer than its answer."""


def record(session: Session, entry: Entry) -> None:
    """Write one audit row in the caller's transaction: no effect without its row."""
    row = _values(entry)
    if entry.event_uid is not None:
        once = AuditOnceRow(event_uid=entry.event_uid)
        session.add_all((once, AuditRow(at=now(session), **row)))
    elif dialect(session) == "postgresql":
        session.execute(ROW_NOW, row)
    else:
        session.execute(ROW, {"at": now(session), **row})


def record_alone(database: Database, entry: Entry) -> None:
    """Write one audit row of something that changed nothing, as a transaction of its own.

    Raises:
        TypeError: a row with a UID of its own is written by ``record``.
    """
    if entry.event_uid is not None:
        msg = "a row with a UID of its own is written by a session"
        raise TypeError(msg)
    row = _values(entry)
    if database.engine.dialect.name == "postgresql":
        with database.alone() as connection:
            connection.exec_driver_sql(POSTGRESQL_ROW, row)
        return
    with database.bare() as bare:
        at = here().replace(tzinfo=None).isoformat(" ", "microseconds")
        bare.execute(SQLITE_ROW, (at, *[row[name] for name in GIVEN]))


def _values(entry: Entry) -> dict[str, Any]:
    return {
        "event_id": entry.event, "event_type": entry.kind, "action": entry.action,
        "outcome": entry.outcome, "actor": entry.actor, "actor_role": entry.actor_role,
        "ae_title": entry.ae_title, "network_address": entry.network_address,
        "object_type": entry.object_type, "object_id": entry.object_id,
        "detail": _encode(dict(entry.detail or {})),
        "event_uid": entry.event_uid,
    }  # fmt: skip


def seal(
    session: Session, *, limit: int = 1000, back: int | None = None, everywhere: bool = False
) -> int:
    """Chain rows that are not yet chained, oldest id first; gives how many.

    Ids commit out of order, so a row older than the newest sealed one may still be waiting: it is
    sealed after it, where its id is no more than ``back`` before (``WINDOW`` without). A second
    sealer at the same moment does nothing. ``everywhere`` looks at every row of the trail,
    whatever its age.
    """
    if not _sealing_is_ours(session):
        return 0
    if everywhere:
        return _seal(session, head(session), NEWER, limit=limit, after=0)
    begin = head(session)
    after = (session.scalar(NEWEST) or 0) - (WINDOW if back is None else back)
    found = _seal(session, begin, NEWER, limit=limit, after=after)
    seq, _ = begin
    if (seq + found) // WINDOW == seq // WINDOW:
        return found
    # Once a window, look further back: a transaction may have been open for longer than one.
    return found + _seal(session, head(session), SINCE, limit=limit, at=now(session) - LATE)


def head(session: Session) -> tuple[int, str]:
    """Give the last seal's number and hash; zero and GENESIS before the first."""
    last = session.execute(LAST).first()
    return (last.seq, last.row_hash) if last else (0, GENESIS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``verify`` found."""

    sealed: int
    """Rows whose seal holds, from the first that is there."""
    unsealed: int
    overdue: int
    """Unsealed rows older than OVERDUE: no sealer ran."""
    head: str
    """Hash of the last seal that holds."""
    first_bad_seq: int | None
    problem: str
    retired: int = 0
    """Seals before the first: their rows were taken out on purpose, as a signed bridge says."""

    @property
    def ok(self) -> bool:
        """Tell whether the chain holds."""
        return self.first_bad_seq is None


def verify(
    session: Session,
    remembered: Mapping[int, str] | None = None,
    retired: Retired = NOTHING,
) -> Verdict:
    """Walk the chain from its first row; names the first row that does not fit.

    ``remembered`` are seals noted outside the database (``db.checkpoint``): number to hash. Only
    they show a tail that was cut off, or a chain that was written anew from some row on.
    ``retired`` are the bridges over what was taken out on purpose: the chain begins behind one.
    """
    remembered = remembered or {}
    last, _ = head(session)
    begin, prev = _begin(session, retired)
    count, problem = begin, ""
    for pair in chain.pairs(session, begin, last):
        problem = chain.problem(prev, count + 1, pair, retired.loose)
        if not problem and remembered.get(count + 1) not in (None, pair.row_hash):
            problem = "the chain was written anew, here or before"
        if problem:
            break
        prev, count = pair.row_hash, count + 1
    if not problem and max(remembered, default=0) > count:
        problem = f"seals after {count} were cut off"
    unsealed, overdue = _count_unsealed(session)
    bad = count + 1 if problem else None
    return Verdict(count - begin, unsealed, overdue, prev, bad, problem, begin)


def _begin(session: Session, retired: Retired) -> tuple[int, str]:
    """Give the bridge that ends before the first seal there is; zero and GENESIS without one."""
    first = session.scalar(select(func.min(AuditSealRow.seq)))
    before = max(retired.ends, default=0) if first is None else first - 1
    return (before, retired.ends[before]) if before in retired.ends else (0, GENESIS)


def _sealing_is_ours(session: Session) -> bool:
    """Take the sealer's lock until the end of the transaction. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "sqlite":
        return True
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))))


def _seal(
    session: Session, begin: tuple[int, str], waiting: Select[Any], *, limit: int, **bound: object
) -> int:
    (seq, prev), seals = begin, []
    session.flush()
    rows = session.execute(waiting, {**bound, "most": limit})
    for number, row in enumerate(rows, start=seq + 1):
        digest = chain.digest(prev, number, dict(zip(chain.CONTENT, row, strict=True)))
        seals.append({"seq": number, "audit_id": row[0], "prev_hash": prev, "row_hash": digest})
        prev = digest
    if seals:
        session.execute(SEAL, seals)
    return len(seals)


def _count_unsealed(session: Session) -> tuple[int, int]:
    """Give how many rows have no seal, and how many of them are overdue."""
    old = func.count().filter(AuditRow.at < now(session) - OVERDUE)
    found = session.execute(select(func.count(), old).select_from(AuditRow).where(~_is_sealed()))
    unsealed, overdue = found.one()
    return unsealed, overdue
