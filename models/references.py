"""Healthy images to compare with: which of a calibration's look most like a given one.

Where a site asks for them they lie beside its artifact: thumbnails of prepared pixels without any
header, name or number, of at most ``THUMB_PX`` on a side, and what they are compared by, which is
the detector's own ``describe``. A reference explains by example what "unusual" was measured
against; it decides nothing.

Shapes: N references, F features, H W rows and columns, K nearest.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

THUMB_PX: Final = 64
NEAREST: Final = 3
SLICES: Final = 3
"""Of a series, evenly spaced."""
STUDIES: Final = 400
"""Healthy studies, each of another patient, that are kept at most."""
_STRATA: Final = "strata"
_BETWEEN: Final = "\n"


class BadReferences(ValueError):
    """The bytes are none that this program wrote."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The references nearest to an image, the nearest first, each of another study."""

    thumbs_KHW: Tensor
    """uint8."""
    distances_K: Tensor
    """float32: root of the mean squared difference of standardised features, no unit."""
    usual: float
    """The median distance of a healthy study to the nearest other one of the stratum."""
    stratum: str


@dataclass(frozen=True, slots=True)
class References:
    """Thumbnails and features of healthy images, and which are of one study."""

    thumbs_NHW: Tensor
    """uint8."""
    features_NF: Tensor
    """float32, standardised by ``centre_F`` and ``scale_F``."""
    centre_F: Tensor
    scale_F: Tensor
    studies_N: Tensor
    """int64: the same number, the same study."""
    strata: tuple[str, ...]
    """Of each reference: modality, body part, age band."""

    def nearest(self, feature_F: Tensor, keys: Sequence[str]) -> Nearest | None:
        """Give the nearest references of the first of these strata that has ``NEAREST`` studies.

        ``keys`` are the image's own strata, the most specific first; None where none has.
        """
        asked_F = (feature_F.float().cpu() - self.centre_F) / self.scale_F
        for key in keys:
            place_N = self._of(key)
            if len(set(self.studies_N[place_N].tolist())) >= NEAREST:
                return self._nearest(asked_F, place_N, key)
        return None

    def pack(self) -> bytes:
        """Give it as a safetensors file."""
        tensors = {
            "thumbs": self.thumbs_NHW, "features": self.features_NF.half(),
            "centre": self.centre_F, "scale": self.scale_F, "studies": self.studies_N,
        }  # fmt: skip
        named = {name: one.contiguous() for name, one in tensors.items()}
        return save_tensors(named, metadata={_STRATA: _BETWEEN.join(self.strata)})

    def _of(self, key: str) -> Tensor:
        inside = [one == key or one.startswith(f"{key}/") for one in self.strata]
        return torch.tensor(inside).nonzero()[:, 0]

    def _nearest(self, asked_F: Tensor, place_N: Tensor, key: str) -> Nearest:
        features_NF, studies_N = self.features_NF[place_N], self.studies_N[place_N]
        distance_N = _distances(asked_F[None], features_NF)[0]
        chosen: list[int] = []
        for at in distance_N.argsort().tolist():
            if studies_N[at] not in studies_N[chosen]:
                chosen.append(at)
            if len(chosen) == NEAREST:
                break
        return Nearest(
            self.thumbs_NHW[place_N[chosen]], distance_N[chosen], _usual(features_NF, studies_N),
            key,
        )  # fmt: skip


def build(
    thumbs: Sequence[Tensor], features: Sequence[Tensor], studies: Sequence[int],
    strata: Sequence[str],
) -> References:  # fmt: skip
    """Put references together; ``features`` are as ``describe`` gives them, each (F).

    Raises:
        ValueError: there is none.
    """
    if not features:
        msg = "no healthy image to refer to"
        raise ValueError(msg)
    features_NF = torch.stack(list(features)).float().cpu()
    centre_F = features_NF.mean(0)
    scale_F = features_NF.std(0, correction=0)
    # What hardly ever varies would else decide who is near.
    scale_F = scale_F.clamp_min(float(1e-2 * scale_F.median())).clamp_min(1e-6)
    return References(
        torch.stack(list(thumbs)), (features_NF - centre_F) / scale_F, centre_F, scale_F,
        torch.tensor(list(studies)), tuple(strata),
    )  # fmt: skip


def unpack(content: bytes) -> References:
    """Read what ``pack`` wrote.

    Raises:
        BadReferences: it is something else.
    """
    try:
        found = load_tensors(content)
        strata = tuple(_metadata(content)[_STRATA].split(_BETWEEN))
        one = References(
            found["thumbs"], found["features"].float(), found["centre"], found["scale"],
            found["studies"], strata,
        )  # fmt: skip
    except (SafetensorError, KeyError, ValueError) as why:
        msg = f"no references: {type(why).__name__}"
        raise BadReferences(msg) from None
    if len({len(one.thumbs_NHW), len(one.features_NF), len(one.studies_N), len(strata)}) != 1:
        msg = "references of different numbers"
        raise BadReferences(msg)
    return one


def thumb(voxels_CHW: Tensor) -> Tensor:
    """Give a prepared slice small, (H, W) uint8; it is never enlarged."""
    rows, columns = voxels_CHW.shape[-2:]
    share = min(1.0, THUMB_PX / max(rows, columns))
    size = [max(1, round(side * share)) for side in (rows, columns)]
    small = F.interpolate(voxels_CHW.float().mean(0)[None, None], size, mode="area")[0, 0]
    return (255 * small.clamp(0, 1)).round().to(torch.uint8).cpu()


def spread(slices: int) -> tuple[int, ...]:
    """Give which slices of a series are kept: a single one, or ``SLICES`` evenly spaced ones."""
    places = [(2 * at + 1) * slices // (2 * SLICES) for at in range(SLICES)]
    return tuple(dict.fromkeys(min(place, slices - 1) for place in places))


def _distances(asked_MF: Tensor, features_NF: Tensor) -> Tensor:
    found: Tensor = torch.cdist(asked_MF, features_NF) / features_NF.shape[1] ** 0.5
    return found


def _usual(features_NF: Tensor, studies_N: Tensor) -> float:
    apart_NN = _distances(features_NF, features_NF)
    apart_NN[studies_N[:, None] == studies_N[None, :]] = torch.inf
    return float(apart_NN.amin(1).median())


def _metadata(content: bytes) -> dict[str, str]:
    """Give a safetensors file's own words; the library reads them of files only."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found
