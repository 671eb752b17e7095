"""The training curves of a run as CSV and SVG, the same bytes for the same numbers."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training images came to."""

    number: int
    """From 1."""
    loss: float
    held_out_loss: float
    """Of the averaged weights, on healthy images that are never trained on."""
    learning_rate: float


def table(history: Sequence[Epoch]) -> bytes:
    """Give one line an epoch under a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    return text.getvalue().encode()


def draw(history: Sequence[Epoch]) -> bytes:
    """Draw both losses over the epochs."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "curves", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        numbers = [epoch.number for epoch in history]
        axes.plot(numbers, [epoch.loss for epoch in history], label="training")
        axes.plot(numbers, [epoch.held_out_loss for epoch in history], label="held out, averaged")
        axes.set(xlabel="epoch", ylabel="loss", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")  # powers of ten as text would need TeX's parser
        axes.yaxis.set_minor_formatter("")
        axes.legend(frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()
