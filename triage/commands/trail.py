"""``triage audit``: ask the trail, and prove that nobody changed it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit, checkpoint
from db.audit import Entry, Event
from db.engine import Database
from db.tables import AuditRow
from triage.errors import ConfigError
from triage.keys import AUDIT_KEY, site_key
from triage.settings import Settings

COLUMNS = (
    "id", "at", "event_id", "event_type", "action", "outcome", "actor", "actor_role", "ae_title",
    "network_address", "object_type", "object_id", "detail",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """What to look for; None means anything."""

    study: str | None = None
    """Study Instance UID."""
    event: str | None = None
    """DCM code, or the beginning of our own word: "study.held"."""
    user: str | None = None
    since: datetime | None = None
    limit: int = 100


def query(database: Database, ask: Question, *, actor: str) -> list[dict[str, Any]]:
    """Give matching rows, newest first. Asking is itself audited (110101 Audit Log Used)."""
    wanted = select(AuditRow).order_by(AuditRow.id.desc()).limit(ask.limit)
    if ask.study:
        wanted = wanted.where(AuditRow.object_id == ask.study)
    if ask.event:
        word = AuditRow.event_type.startswith(ask.event, autoescape=True)
        wanted = wanted.where((AuditRow.event_id == ask.event) | word)
    if ask.user:
        wanted = wanted.where(AuditRow.actor == ask.user)
    if ask.since:
        wanted = wanted.where(AuditRow.at >= ask.since)
    with database.begin() as session:
        rows = [{name: getattr(row, name) for name in COLUMNS} for row in session.scalars(wanted)]
        _used(session, actor, {"event": ask.event, "rows": len(rows)})
    return rows


def verify(database: Database, settings: Settings, *, actor: str) -> audit.Verdict:
    """Seal what is not yet sealed, then walk the chain against the remembered heads. Audited.

    Raises:
        ConfigError: the file of remembered heads was changed, or its key is another one.
    """
    remembered = _remembered(settings)
    with database.begin() as session:
        _used(session, actor, {"verify": True})
    with database.begin() as session:
        while audit.seal(session):
            pass
    with database.reading() as session:
        return audit.verify(session, remembered)


def _remembered(settings: Settings) -> dict[int, str]:
    if not settings.checkpoints.exists():
        return {}
    try:
        return checkpoint.load(settings.checkpoints, site_key(settings.secrets, AUDIT_KEY))
    except checkpoint.CheckpointError as why:
        raise ConfigError(str(why)) from None


def _used(session: Session, actor: str, detail: dict[str, Any]) -> None:
    entry = Entry(
        event=Event.AUDIT_LOG_USED, kind="audit.used", action="R", actor=actor,
        object_type="audit", detail=detail,
    )  # fmt: skip
    audit.record(session, entry)
