"""Rows of a list as markup: what was drawn a moment ago is not drawn again."""

import time
from collections.abc import Sequence
from typing import Final, Protocol

from jinja2 import Environment
from markupsafe import Markup

KEPT_S: Final = 60.0
"""The first list after this long begins anew: until then the last rows are remembered."""
MOST: Final = 1_000
"""Rows that are remembered before it begins anew, of a few kilobytes each with what tells them."""
Key = tuple[tuple[object, ...], str, bool]


class Shown(Protocol):
    """What a row is drawn from."""

    @property
    def content(self) -> tuple[object, ...]:
        """Give all that a row shows: two with the same content look the same."""


class Drawn:
    """Draws rows. Readers look at the same lists, and an open page asks for its own again."""

    def __init__(self, templates: Environment) -> None:
        self._templates = templates
        self._since = time.monotonic()
        self._known: dict[Key, Markup] = {}

    def __call__(self, lines: Sequence[Shown], link: str, may_claim: bool) -> Markup:  # noqa: FBT001 - a template calls it
        """Give the rows of studies; ``link`` is the query string of the list they stand in."""
        if len(self._known) >= MOST or time.monotonic() - self._since > KEPT_S:
            self._since, self._known = time.monotonic(), {}
        known = self._known
        keys = [(one.content, link, may_claim) for one in lines]
        rows = [self._row(known, *one) for one in zip(keys, lines, strict=True)]
        return Markup("\n").join(rows)

    def __len__(self) -> int:
        """Give how many rows are remembered."""
        return len(self._known)

    def _row(self, known: dict[Key, Markup], key: Key, line: Shown) -> Markup:
        found = known.get(key)
        if found is None:
            module = self._templates.get_template("_row.html").module
            found = known[key] = module.row(line, *key[1:])  # type: ignore[attr-defined]
        return found
