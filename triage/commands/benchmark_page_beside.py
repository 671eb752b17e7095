"""The parts of a benchmark's page on what papers state, and on synthetic anomalies."""

from collections.abc import Iterator, Mapping
from statistics import mean
from typing import TYPE_CHECKING

from triage.commands.benchmark_numbers import NONE, Numbers, auroc, head, line, percent
from triage.commands.benchmark_synthetic import MAIN, Separations

if TYPE_CHECKING:
    from triage.commands.benchmark_plan import Table


def paper_part(table: "Table", numbers: Numbers) -> Iterator[str]:
    """Give the papers' numbers beside those here."""
    stated = [(row, on) for row in table.rows() for on in row.paper]
    if not (stated or table.stated):
        return
    yield from ("## Beside the papers", "")
    if stated:
        yield head("detector", "set", "AUROC here, %", "AUROC in the paper, %", "reached")
    for row, on in stated:
        ours = numbers.average(row.name, on, auroc)
        reached = NONE if ours is None else "yes" if 100 * ours >= row.paper[on] else "no"
        title = table.sets[on].title
        yield line(row.title, title, percent(ours), f"{row.paper[on]:.2f}", reached)
    yield from ("", table.paper, "")
    if not table.stated:
        return
    yield "Stated of other pictures, or by others, and what stands nearest to it here:"
    yield ""
    yield head("stated of", "on", "AUROC, %", "where", "nearest here", "set", "AUROC here, %")
    titles = {row.name: row.title for row in table.rows()}
    for one in table.stated:
        told = (one.what, one.pictures, f"{one.auroc:.1f}", one.where)
        here = percent(numbers.average(one.row, one.set, auroc))
        yield line(*told, titles[one.row], table.sets[one.set].title, here)
    yield from ("", table.stated_text, "")


def synthetic_part(
    table: "Table", numbers: Numbers, separations: Mapping[str, Separations]
) -> Iterator[str]:
    """Give how well the main section's raw scores find synthetic anomalies."""
    lines = []
    for row in table.sections[0].rows:
        found = [(one, separations[one.name]) for one in numbers.of(row.name)
                 if one.name in separations]  # fmt: skip
        names = dict.fromkeys(name for _, of in found for each in of.values() for name in each)
        for name in names:
            shown = []
            for on in table.sets:
                values = [of[on][name] for _, of in found if on in of]
                shown.append(percent(mean(values)) if values else NONE)
            lines.append(line(row.title, "that decides" if name == MAIN else name, *shown))
    if lines:
        yield from ("## Synthetic anomalies", "")
        yield (
            "AUROC in per cent between the healthy calibration pictures and a strange twin of "
            "each, with a soft opacity or a piece of itself put elsewhere: mean over the seeds. "
            "This, not the test, may choose between raw scores and between detectors."
        )
        yield from ("", head("detector", "raw score", *(one.title for one in table.sets.values())))
        yield from (*lines, "")
