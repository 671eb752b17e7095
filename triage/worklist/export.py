"""A list as CSV (RFC 4180), for a spreadsheet: audited as an export, and no cell is a formula."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.listing import Clock
from db.reader_claims import held
from db.tables import StudyRow
from triage.worklist import context, words
from triage.worklist.asked import Asked, asked, read, slug
from triage.worklist.context import Context
from triage.worklist.view import mark

router = APIRouter()
CHUNK: Final = 500
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes a cell for a formula by, at its beginning."""
COLUMNS: Final = (
    "study_instance_uid", "state", "priority", "received_at", "patient_name", "patient_id",
    "accession_number", "study_date", "modality", "body_part", "study_description",
    "source_ae_title", "institution_name", "rank", "sentence", "opened_at", "claimed_by",
    "promoted",
)  # fmt: skip
Wanted = Annotated[Asked, Depends(asked)]


@router.post("/studies/export")
def export(request: Request, wanted: Wanted) -> Response:
    """Give the list, from its first page on, as a file."""
    here, who = context.of(request), context.viewer(request)
    most = here.settings.site.reading.max_export_rows
    text, rows = io.StringIO(newline=""), 0
    writer = csv.writer(text)
    writer.writerow((*COLUMNS, context.DISCLAIMER))
    with here.database.reading() as session:
        for row in _rows(session, here, wanted.first(), who.user_id, most):
            writer.writerow((*map(_cell, row), here.settings.site.intended_use.mode))
            rows += 1
    entry = Entry(
        event=Event.EXPORT, kind="worklist.exported", action="R", actor=who.name,
        actor_role=who.role, network_address=context.address(request), object_type="worklist",
        detail={
            "list": wanted.listing, "sort": wanted.order, "count": rows, "format": "csv",
            "filters": {key: said for key, said in wanted.narrow.said().items() if said},
        },
    )  # fmt: skip
    with here.database.begin() as session:
        record(session, entry)
    cut = f"-first-{most}" if rows == most else ""
    name = f"triage-{slug(wanted.listing)}{cut}.csv"
    return Response(
        text.getvalue().encode("utf-8-sig"),  # the mark by which a spreadsheet knows the encoding
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _rows(
    session: Session, here: Context, wanted: Asked, user_id: int, most: int
) -> Iterator[tuple[object, ...]]:
    asked_for: Asked | None = wanted
    while asked_for is not None and most > 0:
        page, clock = read(session, here, asked_for, limit=min(CHUNK, most), user_id=user_id)
        claims = held(session, [one.id for one in page.studies], clock.as_of)
        for study in page.studies:
            claim = claims.get(study.id)
            yield _row(study, clock, claim.owner if claim else "")
        most -= len(page.studies)
        asked_for = wanted.behind(page.after) if page.after else None


def _row(study: StudyRow, clock: Clock, owner: str) -> tuple[object, ...]:
    return (
        study.study_instance_uid, mark(study).word, study.priority, study.received_at,
        study.patient_name, study.patient_id, study.accession_number, study.study_date,
        study.modality, study.body_part, study.study_description, study.source_ae_title,
        study.institution_name, study.rank, study.sentence, study.opened_at, owner,
        "yes" if clock.promotes(study) else "",
    )  # fmt: skip


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = words.iso(value) if isinstance(value, datetime) else words.straight(str(value))
    return f"'{text}" if text.startswith(FORMULA) else text
