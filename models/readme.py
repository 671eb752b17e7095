"""The model card for people, from the card for machines."""

import json
from collections.abc import Iterator, Sequence

from models.artifact import Card, Evaluation, Figure, Source


def readme(card: Card) -> str:
    """Give the artifact's README.md."""
    return "\n".join([*_head(card), *_training(card), *_figures(card), *_end(card)]) + "\n"


def _head(card: Card) -> Iterator[str]:
    yield f"# {card.name} {card.version}"
    yield ""
    yield card.intended_use
    yield ""
    yield f"Family `{card.family}`, parameters `{json.dumps(card.params)}`."
    yield f"Pixels prepared by the recipe `{card.recipe['name']}`."
    for stratum, recipe in card.recipes.items():
        yield f"Those of {stratum} by the recipe `{recipe['name']}`."
    yield ""


def _training(card: Card) -> Iterator[str]:
    print_ = card.fingerprint
    yield "## What it learnt from"
    yield ""
    yield "Images without a finding only; no patient has two roles."
    yield ""
    yield "| role | source | images | patients |"
    yield "|---|---|--:|--:|"
    yield from _sources("training", print_.trained_on)
    yield from _sources("early stop", print_.held_out)
    yield from _sources("calibration", print_.calibrated_on)
    yield ""
    if print_.calibration_date:
        yield f"Calibrated on {print_.calibration_date}."
        yield ""
    yield (
        f"Seed {print_.seed}; {print_.epochs} epochs, the weights of epoch {print_.best_epoch} "
        "kept (lowest held-out loss on healthy images, or the last epoch of a stage that watches "
        "none; no label chose anything)."
    )
    yield ""


def _sources(role: str, sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        yield f"| {role} | {source.name} | {source.images} | {source.patients} |"


def _figures(card: Card) -> Iterator[str]:
    yield "## How well it does"
    yield ""
    yield "AUROC with its 95 % interval (bootstrap over patients); shares with Clopper-Pearson's."
    yield "Trivial scores are computed on the same prepared images, each in its better direction."
    yield ""
    for evaluation in card.evaluations:
        yield from _evaluation(evaluation)


def _evaluation(evaluation: Evaluation) -> Iterator[str]:
    yield f"### {evaluation.name}, against {evaluation.stratum}"
    yield ""
    yield f"{evaluation.healthy} images without a finding, {evaluation.abnormal} with one."
    yield ""
    yield "| measure | value |"
    yield "|---|---|"
    yield f"| AUROC | {_interval(evaluation.auroc)} |"
    for alpha, figure in evaluation.sensitivity.items():
        yield f"| sensitivity at p <= {alpha} | {_interval(figure)} |"
    for alpha, figure in evaluation.false_flags.items():
        yield f"| false flags at p <= {alpha} | {_interval(figure)} |"
    for name, value in evaluation.baselines.items():
        yield f"| AUROC of {name} | {value:.3f} |"
    yield ""


def _interval(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _end(card: Card) -> Iterator[str]:
    yield "## What it cannot do"
    yield ""
    yield from (f"- {limitation}" for limitation in card.limitations)
    yield ""
    yield "## Licences"
    yield ""
    yield from (f"- {licence}" for licence in card.licences)
