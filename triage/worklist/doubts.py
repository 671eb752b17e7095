"""Doubts about identity or content on the pages: seen by everybody, resolved by admins."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.among import among
from db.conflicts import WARNING
from db.custody import ConflictRow, ReconciliationRow
from db.tables import StudyRow
from triage.errors import REASONS
from triage.record import conflicts, custody, reconcile
from triage.record.conflicts import NoSuchChoice, NoSuchConflict, Option
from triage.record.withdrawals import Who
from triage.worklist import access, context
from triage.worklist.asking import YES, Sure, ask

router = APIRouter()
MOST_INSTANCES: Final = 200
"""Of one study's custody on its page; the command line shows all."""
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One doubt as the pages show it."""

    row: ConflictRow
    meaning: str
    choices: tuple[Option, ...]


@router.get("/conflicts")
def listed(request: Request) -> Response:
    """Show the open doubts of all studies, the heaviest first."""
    with context.of(request).database.begin() as session:
        found = [_doubt(one) for one in conflicts.list_open(session)]
        balance = unbalanced(session)
        context.audit_query(session, request, "conflicts.list", {"count": len(found)})
    values = {"doubts": found, "full": len(found) == conflicts.MOST, "unbalanced": balance}
    return context.page(request, "conflicts.html", values)


@router.post("/conflicts/{conflict_id}/resolve")
def resolve(
    request: Request,
    conflict_id: Number,
    choice: Annotated[str, Form(max_length=32)],
    reason: Annotated[str, Form(max_length=500)] = "",
    sure: Sure = "",
) -> Response:
    """Do what an admin decided about a doubt, once it is confirmed; audited."""
    who = context.viewer(request)
    said = "".join(one for one in reason if one.isprintable()).strip()
    if not said:
        raise HTTPException(400, "Say why: a resolution is kept with its reason.")
    by = Who(who.name, who.role, context.address(request))
    try:
        with context.of(request).database.begin() as session:
            if sure != YES:
                return _asked(request, session, conflict_id, choice, said)
            found = conflicts.resolve(session, conflict_id, choice, said, by)
            study_id = found.study_id
    except NoSuchConflict:
        raise HTTPException(404, "It is resolved already, or there is no such doubt.") from None
    except NoSuchChoice:
        raise HTTPException(400, "This cannot be done now. Reload the page and choose.") from None
    return RedirectResponse(f"/studies/{study_id}", 303)


def _asked(
    request: Request, session: Session, conflict_id: int, choice: str, reason: str
) -> Response:
    """Ask whether the doubt is to be resolved so.

    Raises:
        NoSuchConflict: there is none with that number, or it is resolved.
        NoSuchChoice: this cannot be done about it.
    """
    row = session.get(ConflictRow, conflict_id)
    if row is None or row.resolved_at is not None:
        raise NoSuchConflict
    option = next((one for one in conflicts.options(session, row) if one.code == choice), None)
    if option is None:
        raise NoSuchChoice
    return ask(
        request,
        f"Resolve the doubt about study {row.study_id}",
        f"{meaning(row.code)}. {option.words}. Because: {reason}",
        {"choice": [choice], "reason": [reason]},
        back=f"/studies/{row.study_id}",
        place="conflicts",
    )


def of_study(session: Session, request: Request, study: StudyRow) -> dict[str, Any]:
    """Give what the study's page shows of doubts and custody."""
    roles = context.viewer(request).roles
    may = access.may(roles, "POST", "/conflicts/{conflict_id}/resolve")
    rows = session.scalars(
        select(ConflictRow).where(ConflictRow.study_id == study.id).order_by(ConflictRow.id.desc())
    ).all()
    doubts = [
        _doubt(one, conflicts.options(session, one) if may else ())
        for one in rows
        if one.resolved_at is None
    ]
    return {
        "doubts": doubts,
        "resolved": [_doubt(one) for one in rows if one.resolved_at is not None],
        "custody": custody.of_study(session, study, limit=MOST_INSTANCES),
    }


WARNED: Final = (
    select(ConflictRow.study_id, ConflictRow.code)
    .where(among(ConflictRow.study_id, "studies"))
    .where(ConflictRow.resolved_at.is_(None), ConflictRow.weight == WARNING)
    .order_by(ConflictRow.id)
)


def warned(session: Session, study_ids: Collection[int]) -> Mapping[int, tuple[str, ...]]:
    """Give, by study, what its open doubts that hold nothing warn of."""
    rows = session.execute(WARNED, {"studies": study_ids})
    found: dict[int, tuple[str, ...]] = {}
    for number, code in rows:
        words = (meaning(code),)
        found[number] = tuple(dict.fromkeys(found.get(number, ()) + words))
    return found


def unbalanced(session: Session) -> ReconciliationRow | None:
    """Give the latest nightly sum where it did not come out."""
    row = reconcile.latest(session)
    return row if row is not None and not row.balanced else None


def meaning(code: str) -> str:
    """Give a doubt's code in words."""
    return REASONS[code].meaning if code in REASONS else code


def _doubt(row: ConflictRow, choices: tuple[Option, ...] = ()) -> Doubt:
    return Doubt(row, meaning(row.code), choices)
