"""Which list a request asks for, and the links to the others. No patient data: it is in the URL."""

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode

from fastapi import HTTPException
from sqlalchemy.orm import Session

from db.engine import now
from db.listing import Clock, Cursor, Listing, Order, Page, Worklist
from db.narrow import Filters
from triage.worklist.context import Context

CODE: Final = re.compile(r"[A-Za-z0-9_ -]{1,16}")
"""A code string (PS3.5 6.2, CS) in either case: no room for a name."""
TITLE: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")
"""An AE title (PS3.5 6.2, AE)."""
NAME: Final = re.compile(r"[^\x00-\x1f\\\x7f]{1,64}")
"""The name of an institution (PS3.5 6.2, LO)."""
MOST_DAYS: Final = 3660


@dataclass(frozen=True, slots=True)
class Narrow:
    """What narrows a list, as a URL says it."""

    modality: str = ""
    body: str = ""
    source: str = ""
    site: str = ""
    since: date | None = None
    """Received on this day or later."""
    until: date | None = None
    """Received on this day or earlier."""
    days: int = 0
    """Received today or within the days before, so many in all; for lists that are kept."""

    def filters(self, as_of: datetime) -> Filters:
        """Give the conditions at a moment; days are those of the server's zone."""
        since = self.since
        if self.days:
            today = as_of.astimezone().date()
            since = max(today - timedelta(days=self.days - 1), since or date.min)
        return Filters(
            self.modality, self.body, self.source, self.site,
            _midnight(since) if since else None,
            _midnight(self.until + timedelta(days=1)) if self.until else None,
        )  # fmt: skip

    def said(self) -> dict[str, str]:
        """Give it as parts of a query string; empty ones for what is not asked."""
        return {
            "modality": self.modality, "body": self.body, "source": self.source,
            "site": self.site,
            "since": self.since.isoformat() if self.since else "",
            "until": self.until.isoformat() if self.until else "",
            "days": str(self.days) if self.days else "",
        }  # fmt: skip


ANY: Final = Narrow()


@dataclass(frozen=True, slots=True)
class Asked:
    """A list, its order, where in it the page begins, and what narrows it."""

    listing: Listing = Listing.ALL
    order: Order = Order.PRIORITY
    after: Cursor | None = None
    narrow: Narrow = ANY

    @property
    def query(self) -> str:
        """Give the query string that asks for this again; empty for the default."""
        said = {
            "list": slug(self.listing) if self.listing != Listing.ALL else "",
            "sort": self.order if self.order != Order.PRIORITY else "",
            "after": str(self.after) if self.after else "",
            **self.narrow.said(),
        }
        text = urlencode({key: value for key, value in said.items() if value})
        return f"?{text}" if text else ""

    def first(self) -> Self:
        """Ask for the list's first page."""
        return replace(self, after=None)

    def behind(self, cursor: Cursor) -> Self:
        """Ask for the page behind a cursor."""
        return replace(self, after=cursor)

    def of_list(self, listing: Listing) -> Self:
        """Ask for another list."""
        return replace(self, listing=listing, after=None)

    def sorted_by(self, order: Order) -> Self:
        """Ask for another order."""
        return replace(self, order=order, after=None)

    def wide(self) -> Self:
        """Ask for the whole list."""
        return replace(self, narrow=ANY, after=None)

    def worklist(self, clock: Clock, user_id: int = 0) -> Worklist:
        """Give the list as a reader has it, at the moment its first page was read."""
        at = replace(clock, as_of=self.after.as_of) if self.after else clock
        return Worklist(self.listing, self.order, at, self.narrow.filters(at.as_of), user_id)


def slug(listing: Listing) -> str:
    """Give the list's name for a URL."""
    return listing.replace(" ", "-")


def asked(  # noqa: PLR0913 - each is a key of the query string
    list: str = "all",
    sort: str = "priority",
    after: str = "",
    modality: str = "",
    body: str = "",
    source: str = "",
    site: str = "",
    since: str = "",
    until: str = "",
    days: str = "",
) -> Asked:
    """Read the query string.

    Raises:
        HTTPException: 400, there is no such list, order or filter, or the cursor is none of ours.
    """
    try:
        return Asked(
            Listing(list.replace("-", " ")),
            Order(sort),
            Cursor.parse(after) if after else None,
            Narrow(
                _match(CODE, modality), _match(CODE, body), _match(TITLE, source),
                _match(NAME, site), _day(since), _day(until), _count(days),
            ),
        )  # fmt: skip
    except ValueError:
        raise HTTPException(400, "There is no such list.") from None


def parsed(query: str) -> Asked:
    """Read a query string that ``Asked.query`` gave.

    Raises:
        HTTPException: 400, as ``asked``.
    """
    try:
        return asked(**dict(parse_qsl(query.removeprefix("?"))))
    except TypeError:
        raise HTTPException(400, "There is no such list.") from None


def read(
    session: Session, here: Context, wanted: Asked, *, limit: int, user_id: int = 0
) -> tuple[Page, Clock]:
    """Read one page of a list, and the clock it is shown by.

    Raises:
        HTTPException: 400, the cursor belongs to another order.
    """
    clock = here.clock(now(session))
    try:
        worklist = wanted.worklist(clock, user_id)
        return worklist.page(session, limit=limit, after=wanted.after), clock
    except ValueError:
        raise HTTPException(400, "There is no such page.") from None


def _match(pattern: re.Pattern[str], text: str) -> str:
    if text and not pattern.fullmatch(text):
        msg = "not a code"
        raise ValueError(msg)
    return text


def _day(text: str) -> date | None:
    """Read a day, away from the ends of the calendar."""
    if not text:
        return None
    found = date.fromisoformat(text)
    if not 1900 <= found.year <= 9000:
        msg = "no such day"
        raise ValueError(msg)
    return found


def _count(text: str) -> int:
    count = int(text) if text else 0
    if not 0 <= count <= MOST_DAYS:
        msg = "too many days"
        raise ValueError(msg)
    return count


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time()).astimezone()
