"""Health without data: alive, and ready to serve."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from db.tables import StudyRow
from triage.worklist import context, doubts

router = APIRouter()


@router.get("/healthz")
def healthz() -> PlainTextResponse:
    """Say that the process answers."""
    return PlainTextResponse("alive")


@router.get("/readyz")
def readyz(request: Request) -> PlainTextResponse:
    """Say whether the rows can be read."""
    try:
        with context.of(request).database.reading() as session:
            session.execute(select(StudyRow.id).limit(1))
            alert = doubts.unbalanced(session) is not None
    except SQLAlchemyError:
        return PlainTextResponse("not ready", 503)
    # Still ready: studies are served, and a restart would put nothing right.
    return PlainTextResponse("ready; alert: custody" if alert else "ready")
