"""How a site reads: how long a claim holds, how soon a study should be opened, how many watch."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from triage.frozen import Frozen


class Reading(Frozen):
    """The worklist's limits."""

    claim_s: PositiveFloat = 1800.0
    """A claim ends by itself after this long, and is renewed by claiming again."""
    open_within_s: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        14_400.0, 3600.0, 1800.0,
    )  # fmt: skip
    """From receipt to the first opening: of routine studies, of priority 1, of 2 and above."""
    nearly: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """The clock says "soon" from this share of the limit on, and "late" past it."""
    max_streams: PositiveInt = 64
    """Pages that are told of changes at once; further ones ask now and then."""
    max_streams_per_session: PositiveInt = 6
    max_export_rows: PositiveInt = 10_000
    """Of one exported list."""
    max_saved_lists: PositiveInt = 20
    """Of one reader."""

    def limit_s(self, priority: int) -> float:
        """Give the limit of a priority; the last one holds for all above it."""
        return self.open_within_s[min(max(priority, 0), len(self.open_within_s) - 1)]
