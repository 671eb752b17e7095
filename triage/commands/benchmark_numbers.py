"""The finished cells by row and set, and how a number stands in the page."""

from collections.abc import Callable, Iterable, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Final

from triage.commands.evaluation import Result

if TYPE_CHECKING:
    from models.artifact import Figure
    from triage.commands.benchmark_cells import Outcome

NONE: Final = "-"
Take = Callable[[Result], float]


class Numbers:
    """The finished cells, by row and set."""

    def __init__(self, outcomes: "Iterable[Outcome]") -> None:
        self.outcomes = tuple(outcomes)

    def of(self, row: str) -> "tuple[Outcome, ...]":
        """Give a row's cells."""
        return tuple(one for one in self.outcomes if one.row == row)

    def results(self, row: str, on: str) -> dict[int, Result]:
        """Give a row's results on a set, by seed."""
        found = {one.seed: one.results[on] for one in self.of(row) if on in one.results}
        return dict(sorted(found.items()))

    def average(self, row: str, on: str, take: Take) -> float | None:
        """Give the mean over the seeds, or None where none is done."""
        found = [take(result) for result in self.results(row, on).values()]
        return mean(found) if found else None

    def aurocs(self, row: str, on: str) -> "tuple[Figure, ...]":
        """Give a row's AUROC on a set, a figure a seed."""
        return tuple(one.auroc for one in self.results(row, on).values())

    def trivial(self, on: str) -> dict[str, float]:
        """Give the trivial scores' AUROC on a set: the same for every detector."""
        found = (one.results[on].baselines for one in self.outcomes if on in one.results)
        return next(found, {})


def percent(value: float | None) -> str:
    """Give a share as per cent with one decimal."""
    return NONE if value is None else f"{100 * value:.1f}"


def spread(found: "Sequence[Figure]", seeds: int) -> str:
    """Give the mean over the seeds, with the lowest and the highest of them."""
    if not found:
        return NONE
    values = [one.value for one in found]
    whole = f"{percent(mean(values))} ({percent(min(values))} to {percent(max(values))})"
    return f"{whole}, {len(found)} of {seeds} seeds" if len(found) < seeds else whole


def widest(found: "Sequence[Figure]") -> str:
    """Give the lowest and the highest end of the seeds' intervals."""
    if not found:
        return NONE
    return f"{percent(min(one.low for one in found))} to {percent(max(one.high for one in found))}"


def auroc(result: Result) -> float:
    """Give a result's AUROC."""
    return result.auroc.value


def head(*names: str) -> str:
    """Give a table's head."""
    return f"{line(*names)}\n|{'---|' * len(names)}"


def line(*values: str) -> str:
    """Give a table's line."""
    return f"| {' | '.join(values)} |"
