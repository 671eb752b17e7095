"""The audit trail on a page: saved questions, filters, a file to take along. Reading it is audited.

No patient data is in an address: a patient is named by the number of one of the studies, which a
posted form finds by Patient ID, accession number or Study Instance UID.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.tables import StudyRow
from triage.trail import codes
from triage.trail.handout import lines
from triage.trail.rows import Question, answered
from triage.trail.saved import SAVED, Saved
from triage.worklist import context, words

router = APIRouter()
PAGE_SIZE: Final = 50
MOST_ROWS: Final = 1_000_000
"""In one file."""
OUTCOMES: Final = {0: "success", 4: "refused", 8: "serious failure", 12: "major failure"}
ACTIONS: Final = {"C": "create", "R": "read", "U": "update", "D": "delete", "E": "execute"}
MEDIA: Final = {"csv": "text/csv; charset=utf-8", "json": "application/jsonl"}
MOST_TEXT: Final = 64
SHA256: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question as an address holds it."""

    ask: str = "everything"
    of: int | None = None
    """Number of the study, or of one of the patient's studies, that it is about."""
    user: str = ""
    since: date | None = None
    until: date | None = None
    """The last day that counts."""
    before: int | None = None

    @property
    def saved(self) -> Saved:
        """Give the saved question."""
        return SAVED[self.ask]

    @property
    def lacks(self) -> str:
        """Give what must be named first: "patient", "study" or nothing."""
        return self.saved.about if self.of is None else ""

    @property
    def query(self) -> str:
        """Give the query string that asks for this again."""
        said = {
            "ask": self.ask, "of": self.of, "user": self.user, "since": self.since,
            "until": self.until, "before": self.before,
        }  # fmt: skip
        return f"?{urlencode({name: one for name, one in said.items() if one})}"

    def asking(self, slug: str) -> Self:
        """Ask another saved question, about the same study where it is about one."""
        of = self.of if SAVED[slug].about else None
        return replace(self, ask=slug, of=of, before=None)

    def first(self) -> Self:
        """Ask for the newest rows."""
        return replace(self, before=None)

    def behind(self, number: int) -> Self:
        """Ask for the rows before one."""
        return replace(self, before=number)

    def question(self, session: Session, limit: int) -> Question:
        """Give it to the trail.

        Raises:
            HTTPException: 404, there is no such study.
        """
        patient, study = _subject(session, self)
        return Question(
            event=self.saved.event, kinds=self.saved.kinds, patient=patient, study=study,
            user=self.user or None, since=_midnight(self.since),
            until=_midnight(self.until + timedelta(days=1)) if self.until else None,
            before=self.before, limit=limit,
        )  # fmt: skip


def wanted(request: Request) -> Wanted:
    """Read the address.

    Raises:
        HTTPException: 400, it is none of ours.
    """
    said = request.query_params
    try:
        found = Wanted(
            ask=said.get("ask") or "everything",
            of=_number(said.get("of")),
            user=said.get("user", "").strip()[:MOST_TEXT],
            since=_day(said.get("since")),
            until=_day(said.get("until")),
            before=_number(said.get("before")),
        )
    except ValueError:
        raise HTTPException(400, "This page could not be understood.") from None
    if found.ask not in SAVED:
        raise HTTPException(400, "There is no such question.")
    return found


Asked = Annotated[Wanted, Depends(wanted)]


@router.get("/audit")
def audit(request: Request, asked: Asked) -> Response:
    """Show a page of the trail, newest first; audited as a use of it (DCM 110101)."""
    with context.of(request).database.begin() as session:
        rows = []
        if not asked.lacks:
            rows = list(answered(session, asked.question(session, PAGE_SIZE + 1)))
            _note(session, request, asked, {"rows": min(len(rows), PAGE_SIZE)})
    return _show(request, asked, rows)


@router.post("/audit/find")
def find(
    request: Request,
    ask: Annotated[str, Form()] = "who-saw",
    text: Annotated[str, Form()] = "",
) -> Response:
    """Find whom a question is about, and lead there. Posted: no patient is in an address."""
    if ask not in SAVED or not SAVED[ask].about:
        raise HTTPException(400, "There is no such question.")
    text = "".join(one for one in text if one.isprintable()).strip()[:MOST_TEXT]
    with context.of(request).database.begin() as session:
        number = _find(session, text) if text else None
        _note(session, request, Wanted(ask, number), {"searched": True, "found": bool(number)})
    if number is None:
        return _show(request, Wanted(ask), [], missing=True)
    return RedirectResponse(f"/audit{Wanted(ask, number).query}", 303)


@router.post("/audit/export")
def export(
    request: Request, asked: Asked, form: Annotated[Literal["csv", "json"], Form()] = "csv"
) -> Response:
    """Give all rows that fit as a file, audited as an export (DCM 110106) before the first of them.

    Raises:
        HTTPException: 400, whom the question is about is not named.
    """
    if asked.lacks:
        raise HTTPException(400, "Say first whom the question is about.")
    here = context.of(request)
    with here.database.begin() as session:
        ask = asked.first().question(session, MOST_ROWS)
        _note(session, request, asked, {"format": form}, event=Event.EXPORT, kind="audit.exported")

    def content() -> Iterator[str]:
        with here.database.reading() as session:
            yield from lines(answered(session, ask), form, here.settings.site.audit)

    name = f'attachment; filename="audit-{asked.ask}.{form}{"l" if form == "json" else ""}"'
    return StreamingResponse(
        content(), media_type=MEDIA[form], headers={"Content-Disposition": name}
    )


def details(text: str) -> list[tuple[str, str]]:
    """Give a row's codes and counts as lines; of a hash what fits one."""
    found: dict[str, Any] = json.loads(text or "{}")
    return [(name, _short(value)) for name, value in found.items() if value not in (None, "")]


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(map(_short, value))
    text = value if isinstance(value, str) else json.dumps(value)
    return words.short(text) if SHA256.fullmatch(text) else text


def _show(request: Request, asked: Wanted, rows: list[Any], *, missing: bool = False) -> Response:
    shown = rows[:PAGE_SIZE]
    values = {
        "asked": asked, "rows": shown, "missing": missing, "questions": SAVED,
        "older": asked.behind(shown[-1]["id"]) if len(rows) > PAGE_SIZE else None,
        "events": codes.EVENTS, "outcomes": OUTCOMES, "actions": ACTIONS, "details": details,
    }  # fmt: skip
    return context.page(request, "audit.html", values, status=404 if missing else 200)


def _find(session: Session, text: str) -> int | None:
    """Give the newest study that is named so."""
    named = or_(
        StudyRow.patient_id == text, StudyRow.accession_number == text,
        StudyRow.study_instance_uid == text,
    )  # fmt: skip
    return session.scalar(select(StudyRow.id).where(named).order_by(StudyRow.id.desc()).limit(1))


def _subject(session: Session, asked: Wanted) -> tuple[str | None, str | None]:
    """Give Patient ID and Study Instance UID, where the question is about one."""
    about = asked.saved.about
    if not about or asked.of is None:
        return None, None
    study = session.get(StudyRow, asked.of)
    if study is None:
        raise HTTPException(404, "There is no such study.")
    if about == "study" or not study.patient_id:  # of nobody: this study alone is theirs
        return None, study.study_instance_uid
    return study.patient_id, None


def _note(
    session: Session,
    request: Request,
    asked: Wanted,
    detail: dict[str, Any],
    *,
    event: Event = Event.AUDIT_LOG_USED,
    kind: str = "audit.used",
) -> None:
    who = context.viewer(request)
    told = {"ask": asked.ask, "user": asked.user or None, "study": asked.of, **detail}
    entry = Entry(
        event=event, kind=kind, action="R", actor=who.name, actor_role=who.role,
        network_address=context.address(request), object_type="audit", detail=told,
    )  # fmt: skip
    record(session, entry)


def _number(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ValueError
    return int(text)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None
