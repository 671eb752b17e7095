"""Where each frame lies and what its values mean, in plain and in multi-frame objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydicom import Dataset

from triage.errors import NotEligible

_SAME: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame in the patient's space (PS3.3 C.7.6.2.1.1), mm, LPS."""

    origin_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    """Between rows, between columns."""
    thickness_mm: float


def plane(header: Dataset, index: int) -> Plane | None:
    """Give the frame's plane; None where the header does not place it in space."""
    position = _item(header, index, "PlanePositionSequence")
    if position is header and int(header.get("NumberOfFrames") or 1) > 1:
        return None
    orientation = _item(header, index, "PlaneOrientationSequence")
    measures = _item(header, index, "PixelMeasuresSequence")
    origin_mm = _numbers(position.get("ImagePositionPatient"), 3)
    cosines = _numbers(orientation.get("ImageOrientationPatient"), 6)
    spacing_mm = _numbers(measures.get("PixelSpacing"), 2)
    if not (origin_mm and cosines and spacing_mm) or min(spacing_mm) <= 0:
        return None
    between = header.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0
    return Plane(origin_mm, cosines, spacing_mm, abs(float(between)) or 1.0)


def rescale(header: Dataset, index: int) -> tuple[float, float]:
    """Give Rescale Slope and Intercept (PS3.3 C.11.1); 1 and 0 where there is none.

    Raises:
        NotEligible: header, for CT without them (no HU then) or a slope that is no number.
    """
    values = _item(header, index, "PixelValueTransformationSequence")
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    if header.get("Modality") == "CT" and (slope is None or intercept is None):
        raise NotEligible(code="header", detail="Rescale Slope or Intercept is missing")
    found = (1.0 if slope is None else float(slope), float(intercept or 0.0))
    if not np.isfinite(found).all() or found[0] == 0:
        raise NotEligible(code="header", detail="Rescale Slope or Intercept is no usable number")
    return found


def message(planes: Sequence[Plane | None]) -> dict[str, Any] | None:
    """Give the planes for the parent; None unless all have a place.

    Raises:
        NotEligible: header: the frames are not parallel or not equally spaced in the plane.
    """
    known = [one for one in planes if one is not None]
    if not known or len(known) != len(planes):
        return None
    first = known[0]
    if not np.allclose([one.orientation for one in known], first.orientation, atol=_SAME):
        raise NotEligible(code="header", detail="the images are not parallel")
    if not np.allclose([one.spacing_mm for one in known], first.spacing_mm, rtol=_SAME):
        raise NotEligible(code="header", detail="the images differ in Pixel Spacing")
    return {
        "origins_mm": [one.origin_mm for one in known],
        "orientation": first.orientation,
        "spacing_mm": first.spacing_mm,
        "thickness_mm": first.thickness_mm,
    }


def _item(header: Dataset, index: int, keyword: str) -> Dataset:
    """Give the frame's own functional group, the shared one, or the plain header (C.7.6.16)."""
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for groups in (own[index : index + 1], shared[:1]):
        for group in groups:
            if group.get(keyword):
                found: Dataset = group[keyword].value[0]
                return found
    return header


def _numbers(value: Any, count: int) -> tuple[float, ...]:  # noqa: ANN401 - pydicom's values
    if value is None or isinstance(value, str | bytes | int | float) or len(value) != count:
        return ()
    numbers = tuple(float(one) for one in value)
    return numbers if np.isfinite(numbers).all() else ()
