"""The part of a benchmark's page on what its rows cost."""

from collections.abc import Iterator
from statistics import mean
from typing import TYPE_CHECKING

from triage.commands.benchmark_numbers import NONE, Numbers, head, line

if TYPE_CHECKING:
    from triage.commands.benchmark_costs import Cost, Costs
    from triage.commands.benchmark_plan import Table


def figure_part(name: str | None) -> Iterator[str]:
    """Give the drawing of AUROC against cost, where there is one."""
    if name is None:
        return
    yield from ("## AUROC against cost", "")
    yield (
        "A point is a detector of the first table: its mean AUROC over the sets, and the "
        "multiply-adds of one image. The whiskers end at the seed with the lowest and the seed "
        "with the highest mean over the sets. The dashed line is the mean, over the sets, of the "
        "best trivial score of each."
    )
    yield ""
    yield (
        f"![Mean AUROC over the sets against the multiply-adds of one image, a labelled point for "
        f"each detector, with the best trivial scores as a dashed line; the numbers stand in the "
        f"tables of this page]({name})"
    )
    yield ""


def costs_part(table: "Table", numbers: Numbers, costs: "Costs") -> Iterator[str]:
    """Give sizes, multiply-adds, memory and speed, beside the plainest autoencoder's."""
    yield from ("## Size, memory and speed", "")
    yield (
        "All measured, of one of a row's detectors, on prepared pictures. Multiply-adds are those "
        "of convolutions and matrix products for one image. Memory is what a fresh process takes "
        "at its most while it scores, one image or 32 at once, beyond what it takes with no "
        "detector; one thread of a CPU."
    )
    yield ""
    yield head(
        "detector", "parameters", "multiply-adds, 10^6", "one image, MB", "32 images, MB",
        "weights, MB", "epochs", "training, s",
    )  # fmt: skip
    for row in table.rows():
        if found := numbers.of(row.name):
            measured = costs.rows.get(row.name)
            yield line(
                row.title,
                f"{max(one.parameters for one in found):,}",
                *(_taken(measured.cost) if measured else (NONE, NONE, NONE)),
                f"{max(one.weights_mb for one in found):.1f}",
                f"{min(one.epochs for one in found)} to {max(one.epochs for one in found)}",
                f"{mean(one.seconds for one in found):.0f}",
            )
    for size_px, cost in costs.plain.items():
        name = f"*plain autoencoder, {size_px} px*"
        yield line(name, f"{cost.parameters:,}", *_taken(cost), "", "", "")
    yield ""
    yield from _speeds(table, costs)


def _taken(cost: "Cost") -> tuple[str, ...]:
    return f"{cost.multiply_adds / 1e6:.1f}", f"{cost.one_mb:.1f}", f"{cost.batch_mb:.1f}"


def _speeds(table: "Table", costs: "Costs") -> Iterator[str]:
    yield (
        "Images a second, in turns with the plainest autoencoder (four halvings, four doublings) "
        "on the same images. On a CPU a second is one of one core's own time, so that other work "
        "does not count; two cores score twice as many."
    )
    yield ""
    yield head("detector", "device", "images at once", "a second", "plain autoencoder", "ratio")
    for row in table.rows():
        for rate in costs.rows[row.name].rates if row.name in costs.rows else ():
            yield line(
                row.title,
                rate.device,
                str(rate.images),
                f"{rate.detector:.0f}",
                f"{rate.plain:.0f}",
                f"{rate.detector / rate.plain:.2f}",
            )
    yield ""
