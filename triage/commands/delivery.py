"""What destinations would not take or keep, sending again by hand, and taking a report back."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from db import outbox
from db.engine import Database
from db.tables import OutboxRow
from triage.commands.study import find
from triage.deliver.meanings import fix, label, meaning
from triage.errors import TriageError
from triage.record import withdrawals
from triage.record.letters import dead_letters, is_dead, resend
from triage.record.withdrawals import REASONS, Who


def explain(row: OutboxRow) -> dict[str, Any]:
    """Give one dead letter in words."""
    status = row.last_status
    stored = row.state == outbox.SENT
    return {
        "number": row.id,
        "study": row.study_id,
        "destination": row.destination,
        "document": row.kind,
        "state": f"sent, commitment {row.commitment}" if stored else row.state,
        "status": "" if status is None else label(status),
        "meaning": (row.last_error or "") if stored or status is None else meaning(status),
        "error": row.last_error or "",
        "attempts": row.attempts,
        "what to do": fix(None if stored else status),
    }


def list_dead(database: Database) -> list[dict[str, Any]]:
    """Give all dead letters in words."""
    with database.reading() as session:
        return [explain(row) for row in dead_letters(session)]


def resend_studies(
    database: Database, keys: Sequence[str], actor: str, *, destination: str | None
) -> list[int]:
    """Resend the documents of these studies; without any key, every dead letter.

    Raises:
        NoSuchStudy: a key names no study.
        TriageError: there is nothing to resend.
    """
    with database.begin() as session:
        which = (
            OutboxRow.study_id.in_([find(session, key).id for key in keys]) if keys else is_dead()
        )
        numbers = session.scalars(select(OutboxRow.id).where(which)).all()
        return resend(session, numbers, Who(actor), destination=destination)


def withdraw(database: Database, key: str, reason: str, actor: str) -> int:
    """Take back a study's latest report, audited; gives how many documents.

    Raises:
        NoSuchStudy: there is no such study.
        TriageError: the reason is none, or there is no report.
    """
    if reason not in REASONS:
        msg = f"no reason {reason}; there are: {', '.join(REASONS)}"
        raise TriageError(msg)
    with database.begin() as session:
        return withdrawals.withdraw(session, find(session, key).id, reason, Who(actor))
