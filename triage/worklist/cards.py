"""The detectors that the routes name, read from their folders without a tensor library."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from triage.errors import NotEligible
from triage.settings import Settings
from triage.trust import require

CARD, CALIBRATION, MANIFEST = "card.json", "calibration.json", "MANIFEST.sha256"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Stratum:
    """Healthy studies of one kind, by their scores."""

    name: str
    scores: tuple[float, ...]
    """Ascending."""

    def expected(self, p_at_most: float) -> float:
        """Give the share of healthy studies that a threshold flags: floor(p (n + 1)) / (n + 1)."""
        return self._flags(p_at_most) / (len(self.scores) + 1)

    def score(self, p_at_most: float) -> float | None:
        """Give the raw score above which a study is flagged; None where no score reaches it."""
        flags = self._flags(p_at_most)
        return self.scores[len(self.scores) - flags] if 0 < flags <= len(self.scores) else None

    def _flags(self, p_at_most: float) -> int:
        whole = len(self.scores) + 1
        return bisect_right(range(1, whole + 1), p_at_most, key=lambda k: k / whole)


@dataclass(frozen=True, slots=True)
class Installed:
    """One detector of the routes as it lies on disk."""

    name: str
    problem: str = ""
    """Empty where the folder is whole."""
    version: str = ""
    family: str = ""
    calibrated: str = ""
    """ISO 8601, or empty where the card does not say."""
    weights_sha256: str = ""
    artifact_sha256: str = ""
    strata: tuple[Stratum, ...] = ()


def installed(settings: Settings) -> tuple[Installed, ...]:
    """Give every detector that a route names, by name."""
    names = sorted({name for route in settings.routes.routes for name in route.detectors})
    return tuple(_vouched(_found(settings.artifacts, name), settings) for name in names)


def _vouched(found: Installed, settings: Settings) -> Installed:
    """Say of a whole one why no worker loads it, where it lacks the site's signature."""
    places = settings.artifacts
    folder = next((one / found.name for one in places if (one / found.name).is_dir()), None)
    if found.problem or folder is None:
        return found
    try:
        require(folder, places, settings.site.trust)
    except NotEligible as why:
        return replace(found, problem=why.reason.sentence)
    return found


def _found(places: Sequence[Path], name: str) -> Installed:
    folder = next((one / name for one in places if (one / name).is_dir()), None)
    if folder is None:
        return Installed(name, problem="not installed")
    try:
        manifest = (folder / MANIFEST).read_bytes()
        listed = _listed(manifest)
        card, calibration = (_checked(folder, one, listed) for one in (CARD, CALIBRATION))
    except (OSError, ValueError, KeyError) as why:
        return Installed(name, problem=f"cannot be read ({type(why).__name__})")
    if card is None or calibration is None:
        return Installed(name, problem="is not what its manifest says")
    return Installed(
        name=name,
        version=str(card.get("version", "")),
        family=str(card.get("family", "")),
        calibrated=str(card.get("fingerprint", {}).get("calibration_date", "")),
        weights_sha256=listed.get(WEIGHTS, ""),
        artifact_sha256=hashlib.sha256(manifest).hexdigest(),
        strata=tuple(
            Stratum(stratum, tuple(scores)) for stratum, scores in calibration["strata"].items()
        ),
    )


def _listed(manifest: bytes) -> dict[str, str]:
    lines = manifest.decode("ascii", "replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _checked(folder: Path, name: str, listed: dict[str, str]) -> dict[str, Any] | None:
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != listed.get(name):
        return None
    found: dict[str, Any] = json.loads(content)
    return found
