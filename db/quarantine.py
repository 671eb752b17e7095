"""Rows of files in quarantine: acknowledged, and part of no study."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import now
from db.tables import QuarantineRow
from db.upsert import insert_once

NOT_INDEXED: Final = ("unparsable", "unindexable")
"""Reasons of what came to be triaged: such a file lies in the store as well. Another one, as of a
prior that nobody asked for, says nothing about the same content in the store."""


def note(
    session: Session, sha256: str, size_bytes: int, reason: str, detail: str = "", sender: str = ""
) -> bool:
    """Write the row of a file in quarantine, one for each content; tells whether it is new.

    That a content cannot be indexed is said in the place of another reason.
    """
    known = session.scalar(select(QuarantineRow).where(QuarantineRow.sha256 == sha256))
    if known is not None:
        if reason in NOT_INDEXED:
            known.reason_code, known.reason_detail = reason, detail
        return False
    values = {
        "sha256": sha256, "size_bytes": size_bytes, "source_ae_title": sender,
        "received_at": now(session), "reason_code": reason, "reason_detail": detail,
    }  # fmt: skip
    insert_once(session, QuarantineRow, values)
    return True
