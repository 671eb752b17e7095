"""In how many ways the nightly sum does not come out, in words."""

from dataclasses import dataclass
from typing import Final

WORDS: Final = {
    "no-row": "stored files that the index does not know: run `triage rebuild-index`",
    "no-file": "indexed instances whose file is gone: restore the spool from its backup",
    "no-fate": "instances of studies at rest of which nothing says what became of them",
    "stuck": "instances whose study has not come to rest for a day",
    "not-indexed": "received files that the ingestor has not taken for an hour",
    "not-arrived": (
        "acknowledged instances that never came to the index: have what their association brought "
        "sent again, then `triage reconcile --settle ASSOCIATION`"
    ),
    "prior-waits": "files for the title of priors that nothing has taken for an hour",
    "no-custody": "instances without a row of custody: run `triage rebuild-index`",
    "no-quarantine": "quarantined files that are gone: restore the spool from its backup",
    "no-quarantine-row": (
        "quarantined files that the index does not know: run `triage rebuild-index`"
    ),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the sum does not come out."""

    code: str
    words: str
    count: int
    example: str
    """A digest or a study's number; an association with its sender. Nothing of a patient."""


class Tally:
    """Differences under way: how many of each kind, and the first example."""

    def __init__(self) -> None:
        self._found: dict[str, Difference] = {}

    def add(self, code: str, example: str, number: int = 1) -> None:
        """Count one, or some."""
        count = self.count(code)
        first = self._found[code].example if count else example
        self._found[code] = Difference(code, WORDS[code], count + number, first)

    def count(self, code: str) -> int:
        """Give how many of a kind were counted."""
        return self._found[code].count if code in self._found else 0

    @property
    def found(self) -> list[Difference]:
        """Give what was counted."""
        return sorted(self._found.values(), key=lambda one: one.code)
