"""``triage calibrate``: what a detector's scores mean on this site's own healthy studies."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models import artifact
from models.artifact import Artifact, BadArtifact, Card, Source
from models.calibrate import Calibration, Rule
from models.files import write_atomically
from models.healthy import NotFinite, calibrate_studies
from models.readme import readme
from triage.commands.calibrate_chart import curve
from triage.commands.calibrate_policy import level_of, write_level
from triage.commands.calibrate_references import references
from triage.commands.calibrate_scores import JOURNAL, score_all
from triage.commands.calibrate_sources import Normal, Wanted, gather
from triage.errors import ConfigError
from triage.flags import alpha_for, promise, steps

if TYPE_CHECKING:
    from triage.settings import Level, Settings

CURVE: Final = "curve.svg"
LEAST_STEPS: Final = 2
"""Of the n + 1 possible ranks, how many a threshold must flag at least. With one, the rate of a
calibration is anything from nothing to several times alpha: so 1 % needs 199 patients."""
LICENCE: Final = "the site's own healthy studies"


@dataclass(frozen=True, slots=True)
class Asked:
    """What to calibrate on, and which threshold is wanted."""

    wanted: Wanted
    aggregation: str = "max"
    """Key of ``models.calibrate.AGGREGATIONS``."""
    alpha: float | None = None
    flags_a_day: float | None = None
    """Instead of alpha: at most so many healthy studies a day ..."""
    arrivals: float | None = None
    """... where so many studies arrive."""
    level: str | None = None
    """Of the policy, that gets the threshold; the commonest when none is named."""
    references: bool = False
    """Whether thumbnails of these studies are kept, to compare with (research mode)."""

    @property
    def sets_threshold(self) -> bool:
        """Tell whether a threshold is wanted at all."""
        return self.alpha is not None or self.flags_a_day is not None


@dataclass(frozen=True, slots=True)
class Found:
    """A calibration that is not saved yet."""

    artifact: Artifact
    """The detector as it is now."""
    calibration: Calibration
    alpha: float | None
    level: "Level | None"
    curve: Path
    facts: dict[str, Any]
    references: bytes | None = None


def calibrate(folder: Path, asked: Asked, settings: "Settings", run: Path) -> Found:
    """Score healthy studies, make strata of them, and draw what they promise into ``run``.

    Nothing that serves is changed. Killed, it goes on where it was.

    Raises:
        ConfigError: the artifact is damaged; there are too few healthy studies, or a score of
            one is no number; the detector learnt from one; the threshold cannot be promised.
    """
    loaded = _load(folder)
    level = level_of(settings, asked.level) if asked.sets_threshold else None
    gathered = gather(asked.wanted, settings)
    checked = _refuse_learnt_from(loaded.card, gathered.normals)
    healthy = score_all(loaded, gathered.normals, settings, run, asked.aggregation)
    rule = Rule(settings.policy.min_calibration_n)
    try:
        made = calibrate_studies(
            healthy, rule, aggregation=asked.aggregation, date=_now().date().isoformat()
        )
    except NotFinite as why:
        msg = f"{why}; the detector is broken: train it again, or install another"
        raise ConfigError(msg) from None
    calibration, few = _large_enough(made, rule.minimum)
    calibration = calibration.model_copy(update={"images": _digests(gathered.normals)})
    sizes = {name: len(scores) for name, scores in calibration.strata.items()}
    alpha = _alpha(asked, sizes)
    drawn = run / CURVE
    marked = [alpha] if alpha is not None else [one.p_at_most for one in settings.policy.levels]
    title = f"Promised false flags of {loaded.card.name} {loaded.card.version}"
    write_atomically(drawn, curve(sizes, marked, arrivals=asked.arrivals, title=title).encode())
    facts: dict[str, Any] = {
        "detector": f"{loaded.card.name} {loaded.card.version}",
        "checked": checked,
        "strata": _rows(calibration, marked, asked.arrivals),
        "too_few": few,
        "not_taken": dict(gathered.not_taken),
        "aggregation": asked.aggregation,
        "threshold": alpha,
        "level": level.name if level else None,
        "curve": str(drawn),
    }
    kept = references(loaded, gathered.normals, settings) if asked.references else None
    return Found(loaded, calibration, alpha, level, drawn, facts, kept)


def save(found: Found, asked: Asked, settings: "Settings", run: Path) -> dict[str, Any]:
    """Write the calibrated artifact where workers look first, and the threshold into policy.yaml.

    A former artifact of that name is kept beside it. Gives what was written where.
    """
    name = found.artifact.card.name
    folder = settings.artifacts[0] / name
    kept = _keep_former(folder)
    card = _card(found, asked)
    detector, calibration = found.artifact.detector, found.calibration
    artifact.save(folder, detector, card, calibration, readme(card), found.references)
    written: dict[str, Any] = {"artifact": str(folder), "former": str(kept) if kept else None}
    if found.level is not None and found.alpha is not None:
        written["policy"] = str(write_level(settings.config, found.level.name, found.alpha))
    (run / JOURNAL).unlink(missing_ok=True)
    return written


def _load(folder: Path) -> Artifact:
    try:
        return artifact.load(folder)
    except (BadArtifact, OSError) as why:
        raise ConfigError(str(why)) from None


def _refuse_learnt_from(card: Card, normals: Sequence[Normal]) -> str:
    """Refuse studies that the detector was trained on: they look too familiar to it."""
    used = frozenset(card.fingerprint.images)
    if not used:
        return (
            "NOT checked: the card is older than the record of used images. Whether the detector "
            "was trained on these studies is not known."
        )
    seen = [one for one in normals if used & {digest[: artifact.DIGEST] for digest in one.content}]
    if seen:
        msg = (
            f"{seen[0].where} and {len(seen) - 1} more were used to train this detector, so its "
            "scores of them are too low to promise anything; take them out"
        )
        raise ConfigError(msg)
    return f"No study is among the {len(used)} images the detector was trained with (same bytes)."


def _large_enough(made: Calibration, minimum: int) -> tuple[Calibration, dict[str, int]]:
    """Give the calibration without strata too small to be used, and those with their sizes."""
    few = {name: len(scores) for name, scores in made.strata.items() if len(scores) < minimum}
    kept = made.strata.keys() - few.keys()
    if not kept:
        sizes = ", ".join(f"{name} {n}" for name, n in sorted(few.items()))
        msg = (
            f"too few healthy patients: {sizes}; a stratum needs {minimum} "
            "(min_calibration_n in policy.yaml), each counted once. Add studies read as healthy"
        )
        raise ConfigError(msg)

    def of(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name in kept}

    parts = {"strata": of(made.strata), "facts": of(made.facts), "peaks": of(made.peaks)}
    return made.model_copy(update=parts), few


def _digests(normals: Sequence[Normal]) -> tuple[str, ...]:
    return tuple(sorted({digest[: artifact.DIGEST] for one in normals for digest in one.content}))


def _alpha(asked: Asked, sizes: Mapping[str, int]) -> float | None:
    """Give the threshold that holds in every stratum.

    Raises:
        ConfigError: a stratum has too few studies for it.
    """
    if asked.alpha is not None:
        short = {name: n for name, n in sizes.items() if steps(n, asked.alpha) < LEAST_STEPS}
        if short:
            needed = -(-LEAST_STEPS // asked.alpha) - 1
            name, n = min(short.items(), key=lambda pair: pair[1])
            msg = (
                f"alpha {asked.alpha:g} cannot be promised: {name} has {n} healthy patients and "
                f"needs {needed:.0f}; add healthy studies, or take a larger alpha"
            )
            raise ConfigError(msg)
        return asked.alpha
    if asked.flags_a_day is None or asked.arrivals is None:
        return None
    found = {name: alpha_for(n, asked.arrivals, asked.flags_a_day) for name, n in sizes.items()}
    short = {name: sizes[name] for name, alpha in found.items() if alpha is None}
    if short:
        name, n = min(short.items(), key=lambda pair: pair[1])
        least = promise(n, 1 / (n + 1)).high * asked.arrivals
        msg = (
            f"at most {asked.flags_a_day:g} flags a day cannot be promised: with the {n} healthy "
            f"patients of {name} the strictest threshold may still flag {least:.2g} healthy "
            f"studies of {asked.arrivals:g} a day; add healthy studies, or allow more flags"
        )
        raise ConfigError(msg)
    return min(alpha for alpha in found.values() if alpha is not None)


def _rows(
    calibration: Calibration, marked: Sequence[float], arrivals: float | None
) -> list[dict[str, Any]]:
    rows = []
    for name in calibration.strata:
        facts = calibration.facts[name]
        for alpha in sorted(marked):
            said = promise(facts.patients, alpha)
            row = {
                "stratum": name,
                "patients": facts.patients,
                "studies": facts.studies,
                "images": facts.images,
                "p_at_most": alpha,
                "false_flags": said.rate,
                "low": said.low,
                "high": said.high,
            }
            if arrivals is not None:
                row |= {"flags_a_day": said.rate * arrivals, "at_most": said.high * arrivals}
            rows.append(row)
    return rows


def _keep_former(folder: Path) -> Path | None:
    """Copy the artifact that is about to be replaced, under its digest."""
    if not folder.is_dir():
        return None
    manifest = folder / artifact.MANIFEST
    digest = artifact.image_digest(manifest.read_bytes() if manifest.is_file() else b"")
    kept = folder.parent / ".former" / f"{folder.name}-{digest}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, kept)
    return kept


def _card(found: Found, asked: Asked) -> Card:
    """Give the card with the new calibration; what was measured with the former one says so."""
    card, calibration = found.artifact.card, found.calibration
    largest = max(calibration.facts.values(), key=lambda one: one.patients)
    source = Source(
        name=asked.wanted.normals.resolve().name,
        images=len(calibration.images),
        patients=largest.patients,
        licence=LICENCE,
    )
    print_ = card.fingerprint.model_copy(
        update={"calibrated_on": (source,), "calibration_date": calibration.date}
    )
    note = (
        f"Calibrated anew on {calibration.date}: sensitivities and false flags at a p-value in "
        "this card were measured with the calibration it was first packed with. AUROC is "
        "untouched by calibration."
    )
    former = tuple(one for one in card.limitations if not one.startswith("Calibrated anew on "))
    notes = (*former, note) if card.evaluations else former
    return card.model_copy(update={"fingerprint": print_, "limitations": notes})


def _now() -> datetime:
    """Give the time in UTC; SOURCE_DATE_EPOCH wins, so that a calibration repeats to the bit."""
    return datetime.fromtimestamp(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time()), UTC)
