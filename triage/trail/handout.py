"""Audit rows as text for a file: CSV, JSON, DICOM's XML, FHIR; a line at a time."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Final

from triage.collectors import Audit
from triage.trail import atna, balp
from triage.trail.message import message
from triage.trail.rows import Row

COLUMNS: Final = (
    "id", "at", "event_id", "event_type", "action", "outcome", "actor", "actor_role", "ae_title",
    "network_address", "object_type", "object_id", "detail",
)  # fmt: skip
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula."""


def lines(rows: Iterable[Row], form: str, own: Audit) -> Iterator[str]:
    """Give the lines of a file, each with its end; CSV begins with a header (RFC 4180)."""
    if form == "csv":
        yield _record(COLUMNS)
    for row in rows:
        yield (
            _record([_cell(row[name]) for name in COLUMNS])
            if form == "csv"
            else _line(row, form, own)
        )


def _line(row: Row, form: str, own: Audit) -> str:
    if form == "json":
        return f"{json.dumps({name: row[name] for name in COLUMNS}, default=str)}\n"
    told = message(row, source_id=own.source_id, site_id=own.site_id)
    content = atna.xml(told).decode() if form == "atna" else json.dumps(balp.resource(told))
    return f"{content}\n"


def _record(cells: Iterable[object]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _cell(value: object) -> str:
    """Give a cell's text, with a quote before what begins like a formula; numbers are numbers."""
    text = "" if value is None else str(value)
    risky = isinstance(value, str) and text.lstrip(" ").startswith(FORMULA)
    return f"'{text}" if risky else text
