"""The pages that run an installation: studies, failures, destinations, detectors, people, health.

They only show; what they offer to do is in ``admin_acts``, and asks first.
"""

import shutil
from datetime import timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from db import counting, overview, queries
from db.conflicts import HOLD, count_open
from db.engine import now
from db.listing import Listing
from db.states import StudyState
from triage.errors import REASONS
from triage.record import letters, reconcile
from triage.worklist import accounts, cards, context, view, watching
from triage.worklist.access import MEANINGS, PEOPLE, Role

router = APIRouter()
STALE: Final = timedelta(hours=36)
"""Without nightly work."""
LOW: Final = 0.1
"""Of a disk: less free than this is worth a look."""
DONE: Final = {
    "retry": "They will be tried again.",
    "resend": "They will be sent again.",
    "made": "The account is made.",
    "changed": "The account is changed; its sessions ended.",
    "let-in": "The account may sign in again.",
    "unlocked": "Its wrong passwords are forgotten.",
    "nothing": "There was nothing left to do.",
}
"""What a page says after something was done: the code is in the URL, the words are here."""


@router.get("/admin")
def overview_page(request: Request) -> Response:
    """Show studies by state and age, and what waits for a person."""
    here = context.of(request)
    with here.database.begin() as session:
        clock = here.clock(now(session))
        ages = overview.by_age(session)
        values = {
            "bands": overview.BANDS,
            "ages": ages,
            "states": view.STATES,
            "overdue": counting.count(session, Listing.OVERDUE, clock),
            "failed": overview.failures(session),
            "dead": len(letters.dead_letters(session)),
            "held": count_open(session, HOLD),
            "quarantined": len(queries.quarantined(session, limit=overview.MOST)),
            "clock": clock,
        }
        _audit(session, request, "overview")
    return _page(request, "admin.html", values)


@router.get("/admin/failures")
def failures(request: Request, done: str = "") -> Response:
    """Show the failed studies by reason."""
    with context.of(request).database.begin() as session:
        values = {
            "groups": overview.failures(session),
            "studies": overview.failed(session),
            "most": overview.MOST,
            "reasons": REASONS,
            "done": DONE.get(done, ""),
        }
        _audit(session, request, "failures")
    return _page(request, "admin_failures.html", values)


@router.get("/admin/destinations")
def destinations(request: Request, done: str = "") -> Response:
    """Show the destinations with their queues."""
    here = context.of(request)
    with here.database.begin() as session:
        found = overview.queues(session)
        _audit(session, request, "destinations")
    configured = {one.name: one for one in here.settings.site.destinations}
    values = {
        "configured": configured,
        "queues": found,
        "gone": sorted(set(found) - set(configured)),
        "done": DONE.get(done, ""),
    }
    return _page(request, "admin_destinations.html", values)


@router.get("/admin/detectors")
def detectors(request: Request) -> Response:
    """Show the detectors, how they flag, and what each threshold would cost."""
    here = context.of(request)
    found, policy = cards.installed(here.settings), here.settings.policy
    with here.database.begin() as session:
        values = {
            "detectors": watching.monitored(session, found, policy),
            "thresholds": watching.thresholds(session, found, policy),
            "levels": sorted(policy.levels, key=lambda one: one.p_at_most),
            "recent": watching.RECENT.days,
            "before": watching.BEFORE.days,
        }
        _audit(session, request, "detectors")
    return _page(request, "admin_detectors.html", values)


@router.get("/admin/users")
def users(request: Request, done: str = "", problem: str = "") -> Response:
    """Show the accounts and their roles."""
    with context.of(request).database.begin() as session:
        found = accounts.listed(session)
        _audit(session, request, "users")
    values = {
        "accounts": found,
        "roles": [(role, MEANINGS[role]) for role in Role if role in PEOPLE],
        "done": DONE.get(done, ""),
        "problem": problem if problem in PROBLEMS else "",
        "problems": PROBLEMS,
    }
    return _page(request, "admin_users.html", values)


@router.get("/admin/health")
def health(request: Request) -> Response:
    """Show queues, disk, workers, custody and the audit trail's seals."""
    with context.of(request).database.begin() as session:
        values = standing(session, request)
        _audit(session, request, "health")
    return _page(request, "admin_health.html", values | {"checks": None})


def standing(session: Session, request: Request) -> dict[str, Any]:
    """Give what the system's health page shows."""
    here = context.of(request)
    at, row = now(session), reconcile.latest(session)
    disk = shutil.disk_usage(here.settings.spool if here.settings.spool.is_dir() else "/")
    waiting = overview.waiting(session)
    return {
        "waiting": [
            (view.STATES[state], *waiting.get(state, (0, None)))
            for state in (StudyState.RECEIVING, StudyState.READY, StudyState.ANALYSED)
        ],
        "workers": sorted(overview.leases(session).items()),
        "free_gib": disk.free / 2**30,
        "free_share": disk.free / disk.total,
        "disk_low": disk.free < here.settings.site.listener.min_free_bytes
        or disk.free / disk.total < LOW,
        "custody": row,
        "custody_stale": row is None or at - row.at > STALE,
        "unsealed": overview.unsealed(session),
        "queues": overview.queues(session),
        "clock": here.clock(at),
    }


PROBLEMS: Final = {
    "name": "The name is taken, or has a character that cannot be printed.",
    "refused": "This was refused: the name or password does not do, two of the roles never meet in "
    "one account, or no administrator would be left.",
}
"""Why nothing was done, by the code in the URL."""


def _page(request: Request, template: str, values: dict[str, Any]) -> Response:
    return context.page(request, template, {"place": "admin", **values})


def _audit(session: Session, request: Request, page: str) -> None:
    context.audit_query(session, request, "admin.seen", {"page": page})
