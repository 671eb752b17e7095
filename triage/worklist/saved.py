"""A reader's own lists: the list and filters of the page, kept under a name."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, HTTPException, Path, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.engine import now
from db.saved_lists import SavedListRow, of_user
from triage.worklist import context
from triage.worklist.asked import Asked, asked
from triage.worklist.sessions import Viewer

router = APIRouter()
MAX_NAME: Final = 40
Wanted = Annotated[Asked, Depends(asked)]
SavedId = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.post("/studies/saved")
def keep(
    request: Request, wanted: Wanted, name: Annotated[str, Form(max_length=MAX_NAME)]
) -> Response:
    """Keep the page's list under a name; the same name again takes the new list."""
    who, named = context.viewer(request), " ".join(name.split())
    if not named or not named.isprintable():
        raise HTTPException(400, "Give the list a name that can be printed.")
    query = wanted.first().query
    with context.of(request).database.begin() as session:
        kept = {one.name: one for one in of_user(session, who.user_id)}
        if named in kept:
            kept[named].query = query
        elif len(kept) >= context.of(request).settings.site.reading.max_saved_lists:
            raise HTTPException(400, "You keep as many lists as you can. Remove one first.")
        else:
            session.add(
                SavedListRow(user_id=who.user_id, name=named, query=query, created_at=now(session))
            )
        _audit(session, who, "worklist.list-kept", "C")
    return RedirectResponse(f"/studies{query}", 303)


@router.post("/studies/saved/{saved_id}/remove")
def remove(request: Request, saved_id: SavedId) -> Response:
    """Forget one of one's own lists."""
    who = context.viewer(request)
    with context.of(request).database.begin() as session:
        mine = (SavedListRow.id == saved_id, SavedListRow.user_id == who.user_id)
        if session.scalar(select(SavedListRow.id).where(*mine)) is None:
            raise HTTPException(404, "There is no such list of yours.")
        session.execute(delete(SavedListRow).where(*mine))
        _audit(session, who, "worklist.list-removed", "D")
    return RedirectResponse("/studies", 303)


def _audit(session: Session, who: Viewer, kind: str, action: str) -> None:
    """Note it without its name, which a person typed."""
    entry = Entry(
        event=Event.APPLICATION_ACTIVITY, kind=kind, action=action, actor=who.name,
        actor_role=who.role, object_type="worklist",
    )  # fmt: skip
    record(session, entry)
