"""Healthy images to compare with, out of those that calibrate: small, and without their headers."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from models.references import STUDIES, build, spread, thumb
from triage.commands.calibrate_scores import prepared, spoken_of
from triage.commands.calibrate_sources import Normal
from triage.preprocess.decoder import Decoder

if TYPE_CHECKING:
    from torch import Tensor

    from models.artifact import Artifact
    from triage.settings import Settings


def references(loaded: "Artifact", normals: Sequence[Normal], settings: "Settings") -> bytes:
    """Give the references of a calibration, as they lie beside it.

    Of each patient one series or picture, of each series a few slices. What is kept is what the
    detector sees, made smaller: no header, and no text that could be read at that size.

    Raises:
        ConfigError: an image cannot be prepared.
    """
    thumbs: list[Tensor] = []
    features: list[Tensor] = []
    studies: list[int] = []
    strata: list[str] = []
    with Decoder(settings.site.decode) as decoder:
        for number, one in enumerate(_watched(_chosen(normals))):
            with spoken_of(loaded, one):
                slices = prepared(loaded, one, decoder).voxels_NCHW
            places = spread(len(slices))
            features += loaded.detector.describe(slices[list(places)]).unbind()
            thumbs += [thumb(slices[place]) for place in places]
            studies += [number] * len(places)
            strata += [one.place.base[0]] * len(places)
    return build(thumbs, features, studies, strata).pack()


def _chosen(normals: Sequence[Normal]) -> Sequence[Normal]:
    """Give one of each patient, evenly chosen where there are too many."""
    firsts = list({one.patient: one for one in reversed(normals)}.values())[::-1]
    return firsts[:: max(1, -(-len(firsts) // STUDIES))]


def _watched(normals: Sequence[Normal]) -> Iterable[Normal]:
    """Give them with a bar, on a terminal."""
    console = Console(stderr=True)
    return track(normals, "references", console=console, disable=not console.is_terminal)
