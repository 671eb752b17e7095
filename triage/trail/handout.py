"""Audit rows as text for a file: CSV, JSON, DICOM's XML, FHIR; a line at a time."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Final

from triage.collectors import Audit
from triage.outputs.context import DISCLAIMER
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
    """Give the lines of a file, each with its end; CSV begins with a header (RFC 4180).

    The intended use is the name of CSV's last column, which is empty, and a field of each line of
    JSON. The forms of DICOM and FHIR have no place for it.
    """
    if form == "csv":
        yield _record((*COLUMNS, DISCLAIMER))
    for row in rows:
        yield (
            _record([*(_cell(row[name]) for name in COLUMNS), ""])
            if form == "csv"
            else _line(row, form, own)
        )


def _line(row: Row, form: str, own: Audit) -> str:
    if form == "json":
        told = {name: row[name] for name in COLUMNS} | {"notice": DISCLAIMER}
        return f"{json.dumps(told, default=str)}\n"
    event = message(row, source_id=own.source_id, site_id=own.site_id)
    content = atna.xml(event).decode() if form == "atna" else json.dumps(balp.resource(event))
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
