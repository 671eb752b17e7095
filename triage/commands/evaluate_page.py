"""The report of an evaluation as one page that needs nothing else: no script, no font, no file."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from models.artifact import Figure
from models.contract import Coder, Detector
from models.metrics import curve
from triage.commands.evaluate_charts import ABNORMAL, HEALTHY, Bytes, histogram, roc, sheet
from triage.commands.evaluate_deletion import deletion_lines
from triage.commands.evaluation import Report, Result, Scored

if TYPE_CHECKING:
    from torch import Tensor

DISCLAIMER: Final = (
    "For prioritization only. Not for diagnosis. Review full images per standard of care."
)
RESEARCH: Final = "RESEARCH - NOT FOR CLINICAL USE"
PLACES: Final = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Which pictures of a label the sheet shows, by rank of their score: the strangest first."""
STYLE: Final = """
body{font:14px/1.45 system-ui,sans-serif;color:#1b1b1b;max-width:60rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid #bbb}
table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.15rem .7rem .15rem 0;text-align:left;
vertical-align:top;border-bottom:1px solid #e4e4e4}td.n{font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#222}
.use{border:2px solid #222;padding:.5rem .8rem;font-weight:600}
.row{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0}figcaption{font-size:.85rem;color:#444;max-width:40rem}
@media print{body{margin:0;max-width:none}h2{break-before:page}h2.first{break-before:auto}
figure,table{break-inside:avoid}}
"""


def page(report: Report, detector: Detector, scored: Sequence[Scored]) -> str:
    """Give the page; it shows pictures of patients, so it is written where the user says."""
    name = escape(f"{report.name} {report.version}")
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>Evaluation of {name}</title><style>{STYLE}</style></head><body>",
        f"<h1>Evaluation of {name}</h1>",
        f'<p class="use">{RESEARCH}<br>{DISCLAIMER}</p>',
        f"<p>{escape(report.intended_use)}</p>",
        *_facts(report),
    ]
    for place, (result, one) in enumerate(zip(report.results, scored, strict=True)):
        parts += [f"<h2{' class=first' if not place else ''}>{escape(result.subset)}</h2>"]
        parts += [*_numbers(result), *_deleted(report, result.subset)]
        parts += [*_charts(result, one), *_sheet(one, detector)]
    return "\n".join([*parts, f'<p class="use">{DISCLAIMER}</p>', "</body></html>", ""])


def interval(figure: Figure) -> str:
    """Give a number with its interval, for reading."""
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _facts(report: Report) -> Iterator[str]:
    yield "<table>"
    yield _line("family", report.family)
    yield _line("artifact", f"sha256 {report.artifact_sha256}")
    yield _line("pictures", report.data)
    yield _line(
        "speed", f"{report.images_per_second:.0f} prepared pictures a second on {report.device}"
    )
    yield "</table><ul>"
    yield from (f"<li>{escape(text)}</li>" for text in report.checked)
    yield "</ul>"


def _line(name: str, value: str) -> str:
    return f'<tr><th scope="row">{escape(name)}</th><td class="n">{escape(value)}</td></tr>'


def _numbers(result: Result) -> Iterator[str]:
    yield (
        f"<p>{result.healthy} healthy and {result.abnormal} abnormal pictures of "
        f"{result.patients} patients, split {escape(', '.join(result.splits))}. Flagged is what "
        f"has p &lt;= {result.alpha:g} against {result.calibrated_on} healthy calibration scores "
        f"of {escape(result.stratum)}. In brackets: {result.confidence:.0%} intervals, by "
        "bootstrap over patients; of shares, Clopper and Pearson's.</p>"
    )
    yield "<table>"
    for name, value in lines(result):
        yield _line(name, value)
    yield "</table>"


def _deleted(report: Report, subset: str) -> Iterator[str]:
    for found in report.deletions:
        if found.subset == subset:
            yield (
                f"<p>Deletion test: of each of the {found.pictures} abnormal pictures the "
                f"{found.share:.0%} that its map marks highest were replaced by the "
                "reconstruction, and a region of that shape elsewhere.</p><table>"
            )
            yield from (_line(name, value) for name, value in deletion_lines(found))
            yield "</table>"


def lines(result: Result) -> Iterator[tuple[str, str]]:
    """Give each number of a result with its name, for reading."""
    yield "AUROC", interval(result.auroc)
    yield "average precision", interval(result.average_precision)
    for specificity, figure in result.sensitivity_at_specificity.items():
        yield f"sensitivity at specificity {specificity}", interval(figure)
    cut = (
        "none: too few calibration scores"
        if result.threshold is None
        else f"{result.threshold:.6g}"
    )
    yield "calibrated threshold", cut
    yield "sensitivity there", interval(result.sensitivity)
    yield f"false flags there, promised {result.alpha:g}", interval(result.false_flags)
    yield "F1 there", interval(result.f1)
    yield "accuracy there", interval(result.accuracy)
    for name, figure in result.others.items():
        yield f"AUROC of the raw score {name}", interval(figure)
    for name, value in result.baselines.items():
        yield f"AUROC of {name} (trivial)", f"{value:.3f}"


def _charts(result: Result, scored: Scored) -> Iterator[str]:
    healthy, abnormal = scored.scores[~scored.abnormal], scored.scores[scored.abnormal]
    drawn = roc(*curve(healthy, abnormal), f"ROC of {escape(result.subset)}")
    yield f'<div class="row"><figure>{drawn}<figcaption>ROC, AUROC {result.auroc.value:.3f}.'
    yield "</figcaption></figure>"
    drawn = histogram(healthy, abnormal, result.threshold, f"Scores of {escape(result.subset)}")
    yield (
        f"<figure>{drawn}<figcaption>Raw scores: <b style='color:{HEALTHY}'>healthy filled</b>, "
        f"<b style='color:{ABNORMAL}'>abnormal outlined</b>, the calibrated threshold dashed."
        "</figcaption></figure></div>"
    )


def _sheet(scored: Scored, detector: Detector) -> Iterator[str]:
    shown = [*_at_places(scored, label=True), *_at_places(scored, label=False)]
    index = torch.tensor([at for at, _ in shown])
    columns, heads = [_grey(scored.prepared.voxels[index])], ["input"]
    coder = detector if isinstance(detector, Coder) else getattr(detector, "base", None)
    if isinstance(coder, Coder):
        columns.append(_grey(_rebuilt(coder, scored.prepared.voxels[index])))
        heads.append("reconstruction")
    if scored.maps is not None:
        maps = scored.maps[index]
        columns.append(_heat(maps / maps.flatten().quantile(0.995).clamp_min(1e-12)))
        heads.append("error map")
    drawn = sheet(list(zip(*columns, strict=True)), heads, [name for _, name in shown])
    yield (
        f"<figure>{drawn}<figcaption>Of each label the pictures at five ranks of the score, the "
        "strangest first, whether judged rightly or wrongly. All error maps have one scale: "
        "white is the 99.5th percentile of those shown.</figcaption></figure>"
    )


def _at_places(scored: Scored, *, label: bool) -> Iterator[tuple[int, str]]:
    indices = np.flatnonzero(scored.abnormal == label)
    ordered = indices[np.argsort(scored.scores[indices], kind="stable")]
    for place in sorted({round(share * (len(ordered) - 1)) for share in PLACES}, reverse=True):
        at = int(ordered[place])
        word = "abnormal" if label else "healthy"
        yield at, f"{word}, score {scored.scores[at]:.3g}"


@torch.inference_mode()
def _rebuilt(detector: Coder, voxels: "Tensor") -> "Tensor":
    device = next(detector.parameters()).device
    return detector.decode(detector.encode(voxels.to(device))).cpu()


def _grey(voxels: "Tensor") -> list[Bytes]:
    """Give N pictures (HW, 8 bits) of the first channel of voxels (NCHW in [0, 1])."""
    eight = (voxels[:, 0].clamp(0, 1) * 255).round().byte().numpy()
    return list(eight)


def _heat(shares: "Tensor") -> list[Bytes]:
    """Give N pictures (HWC, 8 bits) from black over red and yellow to white; NHW, 1 is white."""
    levels = shares.clamp(0, 1)[..., None] * 3 - torch.arange(3.0)
    return list((levels.clamp(0, 1) * 255).round().byte().numpy())
