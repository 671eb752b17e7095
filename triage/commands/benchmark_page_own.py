"""The part of a benchmark's page on a set's further pictures, beside its test."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from triage.commands.benchmark_numbers import Numbers, head, line, percent, spread, widest

if TYPE_CHECKING:
    from triage.commands.benchmark_own import Own, Owns
    from triage.commands.benchmark_plan import Table
    from triage.commands.evaluation import Result

    Measured = Mapping[str, Sequence[Result | Own]]
    """On the same pictures, by row; one a seed."""


def own_part(table: "Table", numbers: Numbers, owns: "Mapping[str, Owns]") -> Iterator[str]:
    """Give, for a set with further pictures, every row's AUROC on both, and the trivial scores'."""
    for on, one in table.sets.items():
        if one.also:
            both = {
                one.also.beside: _tested(table, numbers, on),
                one.also.title: _further(table, numbers, owns, on),
            }
            yield from (f"## {one.title}: {one.also.beside}, and {one.also.title}", "")
            yield from (one.also.text, "", *_counts(both))
            yield from (*_table(table, both), "")


def _tested(table: "Table", numbers: Numbers, on: str) -> "Measured":
    found = {row.name: tuple(numbers.results(row.name, on).values()) for row in table.rows()}
    return {row: some for row, some in found.items() if some}


def _further(table: "Table", numbers: Numbers, owns: "Mapping[str, Owns]", on: str) -> "Measured":
    found = {
        row.name: tuple(
            owns[cell.name].sets[on]
            for cell in numbers.of(row.name)
            if cell.name in owns and on in owns[cell.name].sets
        )
        for row in table.rows()
    }
    return {row: some for row, some in found.items() if some}


def _counts(both: "Mapping[str, Measured]") -> Iterator[str]:
    for title, measured in both.items():
        for one in [each for some in measured.values() for each in some][:1]:
            yield (
                f"- {title}: {one.healthy} healthy and {one.abnormal} abnormal pictures of "
                f"{one.patients} patients"
            )
    yield ""


def _table(table: "Table", both: "Mapping[str, Measured]") -> Iterator[str]:
    yield (
        "AUROC in per cent: mean over the seeds (lowest to highest seed), and the widest 95 % "
        "interval by bootstrap over the patients that the seeds span together."
    )
    yield ""
    yield head("detector", *(name for title in both for name in (title, "95 % interval")))
    for row in table.rows():
        if any(row.name in measured for measured in both.values()):
            found = [[one.auroc for one in each.get(row.name, ())] for each in both.values()]
            pairs = ((spread(each, len(table.seeds)), widest(each)) for each in found)
            yield line(row.title, *(text for pair in pairs for text in pair))
    trivial = [_trivial(measured) for measured in both.values()]
    for name in dict.fromkeys(name for each in trivial for name in each):
        shown = (text for each in trivial for text in (percent(each.get(name)), ""))
        yield line(f"*trivial: {name}*", *shown)


def _trivial(measured: "Measured") -> Mapping[str, float]:
    """Give the trivial scores' AUROC: the same for every detector."""
    return next((one.baselines for some in measured.values() for one in some), {})
