"""The training curves of a stage as CSV and SVG, the same bytes for the same numbers."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training images came to."""

    number: int
    """From 1, counted through all stages."""
    loss: float
    """Of the stage's first player whose loss carries codes, or of its first player."""
    held_out_loss: float | None
    """Of the averaged weights, on healthy images that are never trained on; None in a stage that
    watches nothing."""
    learning_rate: float
    stage: str = "train"
    place: int = 1
    """In its stage, from 1."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Each part of each player's loss, by "part" where one player plays, else "player/part"."""


def best(history: Sequence[Epoch]) -> Epoch:
    """Give the epoch of the last stage whose weights are kept.

    It is the one with the lowest held-out loss, the earliest of equals; the last where the stage
    watches nothing.
    """
    last = [epoch for epoch in history if epoch.stage == history[-1].stage]
    watched = [epoch for epoch in last if epoch.held_out_loss is not None]
    return min(watched, key=lambda epoch: epoch.held_out_loss or 0.0) if watched else last[-1]


def table(history: Sequence[Epoch]) -> bytes:
    """Give one line an epoch of one stage under a header line; parts are columns."""
    text = io.StringIO()
    names = ["number", "loss", "held_out_loss", "learning_rate"]
    parts = list(dict.fromkeys(name for epoch in history for name in epoch.parts))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *parts])
    for epoch in history:
        shown = [getattr(epoch, name) for name in names]
        writer.writerow([*shown, *(epoch.parts.get(name) for name in parts)])
    return text.getvalue().encode()


def draw(history: Sequence[Epoch]) -> bytes:
    """Draw the losses of one stage over its epochs, and under them the parts of the loss."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    parts = list(dict.fromkeys(name for epoch in history for name in epoch.parts))
    held_out = [epoch.held_out_loss for epoch in history]
    above: dict[str, Values] = {"training": [epoch.loss for epoch in history]}
    if any(value is not None for value in held_out):
        above["held out, averaged"] = held_out
    below: dict[str, Values] = {
        name: [epoch.parts.get(name) for epoch in history] for name in parts
    }
    with mpl.rc_context({"svg.hashsalt": "curves", "svg.fonttype": "none"}):
        panels = [above, below] if len(parts) > 1 else [above]
        figure = Figure(figsize=(7, 3.5 * len(panels)), layout="constrained")
        numbers = [epoch.number for epoch in history]
        for number, (lines, row) in enumerate(
            zip(panels, figure.subplots(len(panels), squeeze=False), strict=True)
        ):
            _panel(row[0], numbers, lines)
            row[0].set(xlabel="epoch", ylabel="parts of the loss" if number else "loss")
        figure.suptitle(f"stage {history[0].stage}")
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def _panel(axes: "Axes", numbers: Sequence[int], lines: Mapping[str, Values]) -> None:
    for name, values in lines.items():
        known = [(x, y) for x, y in zip(numbers, values, strict=True) if y is not None]
        axes.plot(*zip(*known, strict=True), label=name)
    if all(y is None or y > 0 for values in lines.values() for y in values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # powers of ten as text would need TeX's parser
        axes.yaxis.set_minor_formatter("")
    axes.legend(frameon=False)
