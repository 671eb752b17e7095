"""The questions that an auditor asks again and again, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from db.audit import Event


@dataclass(frozen=True, slots=True)
class Saved:
    """One question, but for whom it is about."""

    title: str
    kinds: tuple[str, ...] = ()
    """Beginnings of our own words, one of which fits."""
    event: str | None = None
    """DCM code."""
    about: Literal["", "patient", "study"] = ""
    """What must be named first."""


SAVED: Final[Mapping[str, Saved]] = {
    "everything": Saved("Everything"),
    "who-saw": Saved("Who saw this patient?", event=Event.INSTANCES_ACCESSED, about="patient"),
    "patient": Saved("What happened to this patient's studies?", about="patient"),
    "study": Saved("What happened to this study?", about="study"),
    "refused": Saved("Refused associations", kinds=("association.", "connection.")),
    "logins": Saved(
        "Sign-ins and refusals", kinds=("login", "logout", "user.locked", "access.refused")
    ),
    "changes": Saved(
        "Changes of thresholds, models and settings",
        kinds=("configuration.", "model.", "policy.", "threshold.", "node.", "audit.retired"),
    ),
    "accounts": Saved("Changes of accounts", kinds=("user.", "role.", "token.", "password.")),
    "deliveries": Saved(
        "Deliveries", kinds=("report.", "rejection-note.", "commitment.", "delivery.")
    ),
    "break-glass": Saved("Break-glass", kinds=("break-glass",)),
    "exports": Saved("Exports", event=Event.EXPORT),
    "alerts": Saved("Security alerts", event=Event.SECURITY_ALERT),
    "trail": Saved("Who asked this trail?", event=Event.AUDIT_LOG_USED),
}
