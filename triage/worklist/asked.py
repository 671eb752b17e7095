"""Which list a request asks for, and the links to the others."""

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlencode

from fastapi import HTTPException
from sqlalchemy.orm import Session

from db.engine import now
from db.listing import Clock, Cursor, Listing, Order, Page, Worklist
from triage.worklist.context import Context


@dataclass(frozen=True, slots=True)
class Asked:
    """A list, its order, and where in it the page begins. No patient data: it is in the URL."""

    listing: Listing = Listing.ALL
    order: Order = Order.PRIORITY
    after: Cursor | None = None

    @property
    def query(self) -> str:
        """Give the query string that asks for this again; empty for the default."""
        said = {
            "list": slug(self.listing) if self.listing != Listing.ALL else "",
            "sort": self.order if self.order != Order.PRIORITY else "",
            "after": str(self.after) if self.after else "",
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

    def worklist(self, clock: Clock) -> Worklist:
        """Give the list, at the moment its first page was read."""
        at = replace(clock, as_of=self.after.as_of) if self.after else clock
        return Worklist(self.listing, self.order, at)


def slug(listing: Listing) -> str:
    """Give the list's name for a URL."""
    return listing.replace(" ", "-")


def asked(list: str = "all", sort: str = "priority", after: str = "") -> Asked:
    """Read the query string.

    Raises:
        HTTPException: 400, there is no such list or order, or the cursor is none of ours.
    """
    try:
        return Asked(
            Listing(list.replace("-", " ")), Order(sort), Cursor.parse(after) if after else None
        )
    except ValueError:
        raise HTTPException(400, "There is no such list.") from None


def read(session: Session, here: Context, wanted: Asked, *, limit: int) -> tuple[Page, Clock]:
    """Read one page of a list, and the clock it is shown by.

    Raises:
        HTTPException: 400, the cursor belongs to another order.
    """
    clock = here.clock(now(session))
    try:
        return wanted.worklist(clock).page(session, limit=limit, after=wanted.after), clock
    except ValueError:
        raise HTTPException(400, "There is no such page.") from None
