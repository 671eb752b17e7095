"""The hash chain over the audit rows: each seal with its row, read in the order of sealing."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import AuditRow, AuditSealRow

GENESIS: Final = "0" * 64
CONTENT: Final = tuple(column.key for column in AuditRow.__table__.columns)
CHUNK: Final = 5000
GAP: Final = 200
"""Ids that lie no further apart are read as one range."""
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Pair(NamedTuple):
    """A seal and its row; the row is None when it is not there."""

    seq: int
    audit_id: int
    prev_hash: str
    row_hash: str
    row: Mapping[str, Any] | None


def digest(prev: str, seq: int, row: Mapping[str, Any]) -> str:
    """Give the seal of a row: SHA-256 of the hash before, the number and all of the row."""
    content = {name: row[name] for name in CONTENT}
    at = content["at"]
    content["at"] = at if isinstance(at, str) else at.isoformat()
    return hashlib.sha256(_encode([prev, seq, content]).encode()).hexdigest()


def pairs(session: Session, after: int = 0, through: int | None = None) -> Iterator[Pair]:
    """Give the seals behind number ``after`` with their rows, a chunk at a time.

    Two plain range scans a chunk: a join of the whole trail would sort all of it, and a trail kept
    by month has no single key to join on.
    """
    while True:
        query = select(*AuditSealRow.__table__.columns).where(AuditSealRow.seq > after)
        if through is not None:
            query = query.where(AuditSealRow.seq <= through)
        seals = session.execute(query.order_by(AuditSealRow.seq).limit(CHUNK)).all()
        if not seals:
            return
        rows = _rows(session, [seal.audit_id for seal in seals])
        for seq, audit_id, prev_hash, row_hash in seals:
            yield Pair(seq, audit_id, prev_hash, row_hash, rows.get(audit_id))
        after = seals[-1].seq


def problem(prev: str, seq: int, pair: Pair, loose: Mapping[int, str]) -> str:
    """Say why a pair does not follow ``prev`` as number ``seq``; "" when it does.

    ``loose`` are seals whose rows were retired.
    """
    if pair.seq != seq:
        return f"seal {seq} is missing"
    gone = pair.row is None
    if gone and loose.get(seq) != pair.row_hash:
        return f"audit row {pair.audit_id} was removed"
    if pair.prev_hash != prev:
        return "the chain was cut or reordered"
    if pair.row is not None and pair.row_hash != digest(prev, seq, pair.row):
        return f"audit row {pair.audit_id} was changed"
    return ""


def _rows(session: Session, ids: Sequence[int]) -> dict[int, Mapping[str, Any]]:
    found: dict[int, Mapping[str, Any]] = {}
    for first, last in _ranges(sorted(ids)):
        query = select(*AuditRow.__table__.columns).where(AuditRow.id.between(first, last))
        for row in session.execute(query):
            found[row[0]] = dict(zip(CONTENT, row, strict=True))
    return found


def _ranges(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut sorted ids where they lie far apart: one late row must not ask for the whole trail."""
    first = last = ids[0]
    for one in ids[1:]:
        if one - last > GAP:
            yield first, last
            first = one
        last = one
    yield first, last
