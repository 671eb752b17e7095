"""A list's filters: what they can be set to, on the list's own page or on one of theirs.

Hospitals have hundreds of sites and rooms. What would make every list heavy comes when it is
there: a script asks for this page and takes the choices from it; without scripts it is a page.
"""

import time
from dataclasses import dataclass
from threading import Lock
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from db import narrow
from triage.worklist import context
from triage.worklist.asked import CODE, NAME, TITLE, Asked, asked

router = APIRouter()
CHOICES_S: Final = 60.0
ROOM_BYTES: Final = 900
"""What the choices of all filters may add to a list's page."""
OPTION_BYTES: Final = 24
"""Of a choice, beside its words."""
LABELS: Final = {"modality": "Modality", "body": "Body part", "site": "Site", "source": "Source"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter and its choices."""

    label: str
    key: str
    values: tuple[str, ...]
    is_later: bool = False
    """Its choices are too many for the list's page."""


class Choices:
    """What the filters can be set to, looked up once a minute."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: tuple[float, tuple[Filter, ...]] = (0.0, ())

    def filters(self, session: Session) -> tuple[Filter, ...]:
        """Give every filter with all that it can be set to."""
        at = time.monotonic()
        with self._lock:
            taken, found = self._known
        if not found or at - taken > CHOICES_S:
            found = _filters(narrow.choices(session))
            with self._lock:
                self._known = (at, found)
        return found


def light(filters: tuple[Filter, ...]) -> tuple[Filter, ...]:
    """Give the filters as a list's page has them: the lightest with their choices, as they fit."""
    room, at_once = ROOM_BYTES, set()
    for one in sorted(filters, key=_weight):
        room -= _weight(one)
        if room >= 0:
            at_once.add(one.key)
    return tuple(
        one if one.key in at_once else Filter(one.label, one.key, (), is_later=True)
        for one in filters
    )


@router.get("/studies/filters")
def filters(request: Request, wanted: Annotated[Asked, Depends(asked)]) -> Response:
    """Show the filters of a list with every choice."""
    with context.of(request).database.reading() as session:
        found = request.app.state.choices.filters(session)
    return context.page(request, "filters.html", {"filters": found, "wanted": wanted})


def _filters(found: narrow.Choices) -> tuple[Filter, ...]:
    values = {
        "modality": [one for one in found.modalities if CODE.fullmatch(one)],
        "body": [one for one in found.body_parts if CODE.fullmatch(one)],
        "site": [one for one in found.sites if NAME.fullmatch(one)],
        "source": [one for one in found.sources if TITLE.fullmatch(one)],
    }
    return tuple(Filter(label, key, tuple(values[key])) for key, label in LABELS.items())


def _weight(one: Filter) -> int:
    return sum(len(value.encode()) + OPTION_BYTES for value in one.values)
