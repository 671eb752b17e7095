"""The benchmark's page in Markdown, from the finished cells and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Final

from triage.commands.benchmark_cells import Outcome
from triage.commands.benchmark_numbers import (
    NONE,
    Numbers,
    Take,
    auroc,
    head,
    line,
    percent,
    spread,
    widest,
)
from triage.commands.benchmark_page_beside import paper_part, synthetic_part
from triage.commands.benchmark_page_costs import costs_part, figure_part
from triage.commands.benchmark_page_own import own_part
from triage.commands.benchmark_plan import Row, Section, Table, cells

if TYPE_CHECKING:
    from triage.commands.benchmark_costs import Costs
    from triage.commands.benchmark_own import Owns
    from triage.commands.benchmark_synthetic import Separations

NO_WIN: Final = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that is written down."""

    outcomes: Sequence[Outcome]
    costs: "Costs"
    synthetic: "Mapping[str, Separations]"
    """By the cell's name."""
    own: "Mapping[str, Owns]"
    """By the cell's name."""


def page(table: Table, size: str, path: Path, found: Found, figure: str | None = None) -> str:
    """Give the page of one size; what is not done yet is a dash.

    ``figure`` names the drawing of AUROC against cost that lies beside the page.
    """
    outcomes = found.outcomes
    numbers, total = Numbers(outcomes), len(cells(table, size))
    parts = [f"# {table.title}", "", table.text, "", f"**{table.sizes[size].title}**", ""]
    if len(outcomes) < total:
        parts += [f"Not complete: {len(outcomes)} of {total} trainings are done.", ""]
    for place, section in enumerate(table.sections):
        parts += _section(table, section, numbers, with_trivial=not place)
    parts += [*own_part(table, numbers, found.own)]
    parts += [*paper_part(table, numbers), *_thresholds(table, numbers), *_others(table, numbers)]
    parts += [*synthetic_part(table, numbers, found.synthetic)]
    parts += [*figure_part(figure), *costs_part(table, numbers, found.costs)]
    parts += [*_notes(table, size), *_commands(table, path)]
    return "\n".join(parts).rstrip() + "\n"


def _section(
    table: Table, section: Section, numbers: Numbers, *, with_trivial: bool
) -> Iterator[str]:
    yield from (f"## {section.title}", "", section.text, "")
    yield "AUROC in per cent: mean over the seeds (lowest to highest seed)."
    yield ""
    yield head("detector", *(one.title for one in table.sets.values()), "mean of the sets")
    for row in table.shown(section):
        means = [numbers.average(row.name, on, auroc) for on in table.sets]
        whole = None if None in means else mean(one for one in means if one is not None)
        seeds = (spread(numbers.aurocs(row.name, on), len(table.seeds)) for on in table.sets)
        yield line(row.title, *seeds, percent(whole))
    if with_trivial:
        yield from _trivial(table, numbers)
    yield ""
    yield from _intervals(table, section, numbers)
    yield from _against(table, section, numbers)


def _trivial(table: Table, numbers: Numbers) -> Iterator[str]:
    names = list(dict.fromkeys(name for on in table.sets for name in numbers.trivial(on)))
    for name in names:
        shown = (percent(numbers.trivial(on).get(name)) for on in table.sets)
        yield line(f"*trivial: {name}*", *shown, "")


def _intervals(table: Table, section: Section, numbers: Numbers) -> Iterator[str]:
    yield (
        "95 % intervals of the AUROC by bootstrap over the test patients, the widest that the "
        "seeds span together:"
    )
    yield ""
    yield head("detector", *(one.title for one in table.sets.values()))
    for row in table.shown(section):
        yield line(row.title, *(widest(numbers.aurocs(row.name, on)) for on in table.sets))
    yield ""


def _against(table: Table, section: Section, numbers: Numbers) -> Iterator[str]:
    claims = [row for row in table.shown(section) if row.against]
    if not claims:
        return
    titles = {row.name: row.title for row in table.rows()}
    yield "Difference of the means in points, and in how many of the seeds it is above 0:"
    yield ""
    yield head("detector", "against", *(one.title for one in table.sets.values()), "mean")
    for row in claims:
        shown = [_gain(numbers, row, on) for on in table.sets]
        gains = [gain for gain, _ in shown if gain is not None]
        whole = f"{100 * mean(gains):+.1f}" if len(gains) == len(table.sets) else NONE
        yield line(row.title, titles[str(row.against)], *(text for _, text in shown), whole)
    yield ""
    pairs = [_gain(numbers, row, on)[0] for row in claims for on in table.sets]
    known = [gain for gain in pairs if gain is not None]
    if known:
        better = sum(gain > NO_WIN for gain in known)
        yield (
            f"Better in {better} of {len(known)} pairs of detector and set; on average over "
            f"them {100 * mean(known):+.1f} points."
        )
        yield ""


def _gain(numbers: Numbers, row: Row, on: str) -> tuple[float | None, str]:
    ours, theirs = numbers.results(row.name, on), numbers.results(str(row.against), on)
    both = [auroc(ours[seed]) - auroc(theirs[seed]) for seed in ours if seed in theirs]
    if not both:
        return None, NONE
    above = sum(gain > NO_WIN for gain in both)
    return mean(both), f"{100 * mean(both):+.1f} ({above} of {len(both)})"


def _thresholds(table: Table, numbers: Numbers) -> Iterator[str]:
    yield from ("## At the calibrated threshold", "")
    yield (
        f"Flagged is what has p <= {table.alpha:g} against healthy calibration pictures of the "
        f"same source, so {percent(table.alpha)} % of the healthy are promised to be flagged. "
        "Means over the seeds, in per cent. The sensitivities at a fixed specificity are read "
        "off the test pictures; no threshold anyone could set gives them."
    )
    yield ""
    columns: dict[str, Take] = {
        "false flags": lambda one: one.false_flags.value,
        "sensitivity": lambda one: one.sensitivity.value,
        "F1": lambda one: one.f1.value,
        "accuracy": lambda one: one.accuracy.value,
        "average precision": lambda one: one.average_precision.value,
        "sens. at 90 % spec.": lambda one: one.sensitivity_at_specificity["0.90"].value,
        "sens. at 95 % spec.": lambda one: one.sensitivity_at_specificity["0.95"].value,
    }
    yield head("detector", "set", *columns)
    for row in table.rows():
        for on, one in table.sets.items():
            if numbers.results(row.name, on):
                found = (percent(numbers.average(row.name, on, take)) for take in columns.values())
                yield line(row.title, one.title, *found)
    yield ""


def _others(table: Table, numbers: Numbers) -> Iterator[str]:
    lines = []
    for row in table.rows():
        names = {
            name for one in numbers.of(row.name) for r in one.results.values() for name in r.others
        }
        for name in sorted(names):
            found = (
                percent(numbers.average(row.name, on, lambda one: one.others[name].value))  # noqa: B023 - called at once
                for on in table.sets
            )
            lines.append(line(row.title, name, *found))
    if lines:
        yield from ("## Further raw scores", "", "AUROC in per cent, mean over the seeds.", "")
        yield head("detector", "raw score", *(one.title for one in table.sets.values()))
        yield from (*lines, "")


def _notes(table: Table, size: str) -> Iterator[str]:
    if notes := table.sizes[size].notes:
        yield from ("## What it shows, and what it does not", "")
        yield from (f"- {note}" for note in notes)
        yield ""


def _commands(table: Table, path: Path) -> Iterator[str]:
    yield from ("## Run it yourself", "", table.data, "", "```")
    for name in table.sizes:
        yield f"triage benchmark {path} --data FOLDER --size {name}"
    yield from ("```", "")
    yield (
        "A finished training is kept and never repeated, a killed one is carried on. Start the "
        "command several times to use several cores: the processes share the work."
    )
