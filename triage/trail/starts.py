"""The start and the end of the application on record, and what was configured otherwise before.

Files of the configuration are read at a start and at no other time, so that a start is when a
threshold or a model changes.
"""

import hashlib
import json
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.tables import AuditRow
from triage import IMPLEMENTATION_VERSION_NAME
from triage.settings import Settings
from triage.trail import clock

STARTED: Final = "application.start"
STOPPED: Final = "application.stop"
CHANGED: Final = "configuration.changed"
MANIFEST: Final = "MANIFEST.sha256"
SECRET: Final = {"database", "broker"}
"""Keys of site.yaml whose URLs hold passwords: not even their hash is kept."""


def started(session: Session, settings: Settings, *, actor: str) -> list[str]:
    """Note a start with the clock's state, and each part that differs from the last start's.

    Gives the names of these parts: "policy", "model chest-radiograph-memae" ...
    """
    before, found = _last(session), facts(settings)
    changed = [
        name for name in sorted({*before, *found}) if before and before.get(name) != found.get(name)
    ]
    told = {
        "version": IMPLEMENTATION_VERSION_NAME, "clock": clock.state(), "configuration": found,
        "mode": settings.site.intended_use.mode,
    }  # fmt: skip
    record(session, _entry(STARTED, actor, told))
    for name in changed:
        detail: dict[str, Any] = {"was": before.get(name), "now": found.get(name)}
        if name == "policy":
            detail["policy"] = settings.policy.model_dump(mode="json")
        entry = Entry(
            event=Event.SECURITY_ALERT, kind=CHANGED, action="U", actor=actor,
            object_type="configuration", object_id=name, detail=detail,
        )  # fmt: skip
        record(session, entry)
    return changed


def stopped(session: Session, *, actor: str) -> None:
    """Note an orderly end."""
    record(session, _entry(STOPPED, actor, {"clock": clock.state()}))


def facts(settings: Settings) -> dict[str, str]:
    """Give the hash of each part of the configuration, and of each model that a route names."""
    said = {
        "policy": settings.policy.model_dump_json(),
        "routes": settings.routes.model_dump_json(),
        "recipes": json.dumps(
            {name: one.model_dump(mode="json") for name, one in sorted(settings.recipes.items())}
        ),
        "site": settings.site.model_dump_json(exclude=SECRET),
    }
    found = {name: _sha256(text.encode()) for name, text in said.items()}
    wanted = {name for route in settings.routes.routes for name in route.detectors}
    for name in sorted(wanted):
        for folder in settings.artifacts:
            if (manifest := folder / name / MANIFEST).is_file():
                found[f"model {name}"] = _sha256(manifest.read_bytes())
                break
    return found


def _last(session: Session) -> dict[str, str]:
    detail = session.scalar(
        select(AuditRow.detail)
        .where(AuditRow.event_type == STARTED)
        .order_by(AuditRow.id.desc())
        .limit(1)
    )
    found: dict[str, str] = json.loads(detail or "{}").get("configuration", {})
    return found


def _entry(kind: str, actor: str, detail: dict[str, Any]) -> Entry:
    return Entry(
        event=Event.APPLICATION_ACTIVITY, kind=kind, actor=actor, object_type="application",
        object_id=actor, detail=detail,
    )  # fmt: skip


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
