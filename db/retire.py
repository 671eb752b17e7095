"""Take the oldest months out of the audit trail: the one deletion there is, and only the owner's.

On PostgreSQL a month is a table and is dropped; on SQLite its rows are deleted. Triggers step aside
inside the transaction, which the program's own role cannot have them do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import MetaData, Table, delete, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.schema import DropTable

from db import chain
from db.tables import AuditRow, AuditSealRow

OWNED = (
    "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class"
    " WHERE oid = 'audit'::regclass"
)
STRAYS = (
    "SELECT DISTINCT date_trunc('month', at AT TIME ZONE 'UTC')::date FROM audit_rest"
    " WHERE at < :before"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes when every row before a moment goes."""

    before: datetime
    seq: int
    """The last seal that goes: its row and every row sealed before it are that old."""
    row_hash: str
    rows: int
    loose: Mapping[int, str] = field(default_factory=dict)
    """Seals that stay without their rows, number to hash."""


def month_of(moment: datetime) -> datetime:
    """Give when the month of a moment began (UTC)."""
    utc = moment.astimezone(UTC)
    return utc.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def make_months(session: Session, ahead: int = 3) -> int:
    """Have this month and those ahead ready on PostgreSQL; gives how many were made."""
    if session.get_bind().dialect.name == "sqlite":
        return 0
    wanted = text(
        "SELECT count(*) FILTER (WHERE make_audit_month(month)) FROM (SELECT"
        " (date_trunc('month', now() AT TIME ZONE 'UTC') + number * interval '1 month')::date"
        " AS month FROM generate_series(0, :ahead) AS number) AS months"
    )
    return int(session.execute(wanted, {"ahead": ahead}).scalar_one())


def may_retire(session: Session) -> bool:
    """Tell whether this role owns the trail."""
    if session.get_bind().dialect.name == "sqlite":
        return True
    return bool(session.execute(text(OWNED)).scalar())


def has_older(session: Session, before: datetime) -> bool:
    """Tell whether any row is that old."""
    return session.scalar(select(AuditRow.id).where(AuditRow.at < before).limit(1)) is not None


def plan(session: Session, before: datetime) -> Plan | None:
    """Give what goes; None where no sealed row is that old, or no younger one is sealed."""
    old = AuditRow.at < before
    paired = select(func.min(AuditSealRow.seq)).join(AuditRow, AuditRow.id == AuditSealRow.audit_id)
    rows = session.scalar(select(func.count()).select_from(AuditRow).where(old)) or 0
    if not rows:
        return None
    first_kept = session.scalar(paired.where(~old))
    if first_kept is None:
        return None  # the next seal would have nothing to hang on
    last = (
        select(AuditSealRow.seq, AuditSealRow.row_hash)
        .where(AuditSealRow.seq < first_kept)
        .order_by(AuditSealRow.seq.desc())
    )
    end = session.execute(last.limit(1)).first()
    if end is None:
        return None
    loose = (
        select(AuditSealRow.seq, AuditSealRow.row_hash)
        .join(AuditRow, AuditRow.id == AuditSealRow.audit_id)
        .where(AuditSealRow.seq > end.seq, old)
    )
    late = {number: digest for number, digest in session.execute(loose)}  # noqa: C416 - rows are no pairs to mypy
    return Plan(before, end.seq, end.row_hash, rows, late)


def going(session: Session, what: Plan) -> Iterator[chain.Pair]:
    """Give the rows that go with their seals, in the order of sealing."""
    last = max(what.loose, default=what.seq)
    for pair in chain.pairs(session, 0, last):
        if pair.row is not None and (pair.seq <= what.seq or pair.seq in what.loose):
            yield pair


def count_unsealed(session: Session, before: datetime) -> int:
    """Give how many rows that old have no seal yet."""
    sealed = select(AuditSealRow.seq).where(AuditSealRow.audit_id == AuditRow.id).exists()
    query = select(func.count()).select_from(AuditRow).where(AuditRow.at < before, ~sealed)
    return session.scalar(query) or 0


def remove(session: Session, what: Plan) -> None:
    """Take the rows and their seals out, in the caller's transaction."""
    values: dict[str, Any] = {"seq": what.seq}
    if session.get_bind().dialect.name == "sqlite":
        with_guards = _lift_sqlite(session)
        session.execute(delete(AuditRow).where(AuditRow.at < what.before))
        session.execute(text("DELETE FROM audit_seal WHERE seq <= :seq"), values)
        for statement in with_guards:
            session.execute(text(statement))
        return
    for month in session.execute(text(STRAYS), {"before": what.before}).scalars().all():
        session.execute(text("SELECT make_audit_month(:month)"), {"month": month})
    for name in _months_before(session, what.before):
        session.execute(DropTable(Table(name, MetaData())))
    session.execute(text("ALTER TABLE audit_seal DISABLE TRIGGER audit_seal_refuses_delete"))
    session.execute(text("DELETE FROM audit_seal WHERE seq <= :seq"), values)
    session.execute(text("ALTER TABLE audit_seal ENABLE TRIGGER audit_seal_refuses_delete"))


def _months_before(session: Session, before: datetime) -> list[str]:
    listing = text(
        "SELECT relname FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid"
        " WHERE inhparent = 'audit'::regclass AND relname < :first"
        "   AND relname ~ '^audit_[0-9]{4}_[0-9]{2}$' ORDER BY relname"
    )
    first = before.astimezone(UTC).strftime("audit_%Y_%m")
    return list(session.execute(listing, {"first": first}).scalars())


def _lift_sqlite(session: Session) -> list[str]:
    """Drop the triggers that refuse deletion; gives the statements that make them again."""
    names = ("audit_refuses_delete", "audit_seal_refuses_delete")
    found = (
        session.execute(
            text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name IN (:one, :two)"),
            dict(zip(("one", "two"), names, strict=True)),
        )
        .scalars()
        .all()
    )
    session.execute(text("DROP TRIGGER IF EXISTS audit_refuses_delete"))
    session.execute(text("DROP TRIGGER IF EXISTS audit_seal_refuses_delete"))
    return list(found)
