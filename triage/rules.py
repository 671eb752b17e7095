"""The rules a series must pass: one function each, with its section of the standard.

A rule gives None when it holds, else one plain sentence without patient data.
"""

import re
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from triage.errors import ConfigError
from triage.settings import Recipe, Routes
from triage.study import Series

Rule = Callable[[Series, Recipe], str | None]
_MODALITIES_WITHOUT_IMAGE_TYPE: Final = {"CR"}
_GREY: Final = {"MONOCHROME1", "MONOCHROME2"}
_FRONTAL: Final = {"", "PA", "AP"}
_LATERAL_WORDS: Final = {"LAT", "LATERAL"}
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_FOR_PROCESSING: Final = {
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.1.3.1",
}
"""Digital X-Ray, Mammography and Intra-Oral X-Ray Image Storage - For Processing."""
_SAME_COSINE: Final = 1e-3
_SAME_SPACING: Final = 1e-2
_MAX_LEAN: Final = 0.01
"""Shift across the slices for each mm along them: half a degree."""


def is_original(series: Series) -> str | None:
    """Image Type value 1 is ORIGINAL in every image. PS3.3 C.7.6.1.1.2.

    CR may leave Image Type out (it is type 3 there); such an image passes.
    """
    if not any(series.image_type) and series.modality in _MODALITIES_WITHOUT_IMAGE_TYPE:
        return None
    if series.image_type[:1] == ("ORIGINAL",) and "DERIVED" not in series.image_type:
        return None
    return "Image Type value 1 is not ORIGINAL"


def is_primary(series: Series) -> str | None:
    """Image Type value 2 is PRIMARY: made by the patient's examination. PS3.3 C.7.6.1.1.2."""
    return "Image Type holds SECONDARY" if "SECONDARY" in series.image_type else None


def is_not_localizer(series: Series) -> str | None:
    """No image is a localizer (Image Type value 3). PS3.3 C.8.2.1.1.1, C.8.3.1.1.1."""
    found = {"LOCALIZER", "SCOUT", "TOPOGRAM"} & set(series.image_type)
    return "the series is, or holds, a localizer" if found else None


def is_not_secondary_capture(series: Series) -> str | None:
    """The object comes from the modality, not from a screen or a scanner. PS3.3 A.8."""
    if series.sop_class_uid.startswith(_SECONDARY_CAPTURE):
        return "the object is a Secondary Capture"
    return None


def is_for_presentation(series: Series) -> str | None:
    """The detector's raw image was processed for viewing. PS3.3 C.8.11.1.1.1."""
    if series.sop_class_uid in _FOR_PROCESSING:
        return "the image is stored For Processing, not For Presentation"
    return None


def is_single_frame(series: Series) -> str | None:
    """Each image has one frame. PS3.3 C.7.6.6."""
    if all(image.number_of_frames == 1 for image in series.images):
        return None
    return "an image has several frames"


def is_grayscale(series: Series) -> str | None:
    """Each image has one sample a pixel, MONOCHROME1 or MONOCHROME2. PS3.3 C.7.6.3.1.2."""
    grey = (
        image.samples_per_pixel == 1 and image.photometric_interpretation in _GREY
        for image in series.images
    )
    return None if all(grey) else "an image is in colour"


def is_frontal_or_unknown(series: Series) -> str | None:
    """The view is PA, AP or not stated, and no description calls it lateral. PS3.3 C.8.11.5.1.1."""
    views = set(series.view_position.split("\\"))
    if not views <= _FRONTAL:
        return "View Position is not frontal"
    said = f"{series.series_description} {series.protocol_name}".upper()
    if "" in views and not _LATERAL_WORDS.isdisjoint(re.split(r"[\W_]+", said)):
        return "View Position is missing and the description says lateral"
    return None


def has_one_orientation(series: Series) -> str | None:
    """All images are parallel and equally spaced in their plane. PS3.3 C.7.6.2.1.1."""
    cosines = [image.image_orientation for image in series.images]
    known = [one for one in cosines if one is not None]
    if not known or len(known) < len(cosines):
        return "Image Orientation (Patient) is missing"
    if np.ptp(np.array(known), axis=0).max() > _SAME_COSINE:
        return "the images have more than one orientation"
    sizes = {(image.rows, image.columns) for image in series.images}
    spacings = np.array([image.pixel_spacing_mm or (0.0, 0.0) for image in series.images])
    if spacings.min() <= 0:
        return "Pixel Spacing is missing"
    relative = np.ptp(spacings, axis=0).max() / spacings.max()
    if len(sizes) > 1 or relative > _SAME_SPACING:
        return "the images differ in size or Pixel Spacing"
    return None


def has_even_spacing(
    series: Series, *, tolerance_mm: float = 0.1, relative: float = 0.02
) -> str | None:
    """Slices are equally far apart along their normal, so resampling does not bend anatomy.

    Positions are rounded in many headers, hence a tolerance; a tilted gantry moves the slices
    sideways as well and is told apart. PS3.3 C.7.6.2.1.1, C.8.2.1 Gantry/Detector Tilt.
    """
    positions_mm = series.slice_positions_mm
    if not positions_mm:
        return "Image Position or Orientation (Patient) is missing"
    gaps_mm = [after - before for before, after in pairwise(positions_mm)]
    if not gaps_mm:
        return None
    allowed_mm = tolerance_mm + relative * float(np.median(gaps_mm))
    if min(gaps_mm) <= tolerance_mm / 10:
        return "two images lie at one position"
    worst_mm = max(gaps_mm) - min(gaps_mm)
    if worst_mm > allowed_mm:
        return f"slice gaps differ by {worst_mm:.2f} mm, more than {allowed_mm:.2f} mm"
    return _is_tilted(series)


def _is_tilted(series: Series) -> str | None:
    origins_mm = np.array([one.image_position_mm for one in series.images if one.image_position_mm])
    cosines = series.images[0].image_orientation
    if len(origins_mm) != len(series.slice_positions_mm) or cosines is None:
        return None
    normal = np.cross(cosines[:3], cosines[3:])
    travel_mm = origins_mm[-1] - origins_mm[0]
    along_mm = travel_mm @ normal
    aside_mm = np.linalg.norm(travel_mm - along_mm * normal)
    if aside_mm > max(_MAX_LEAN * abs(along_mm), 0.1):
        return "the slices are shifted against each other (gantry tilt)"
    return None


def has_enough_slices(series: Series, recipe: Recipe) -> str | None:
    """The series covers enough anatomy for its recipe."""
    count = sum(image.number_of_frames for image in series.images)
    if count >= recipe.min_slices:
        return None
    return f"{count} slices, fewer than {recipe.min_slices}"


def has_readable_header(series: Series) -> str | None:
    """Rows, Columns, Samples per Pixel and Number of Frames are positive. PS3.3 C.7.6.3."""
    numbers = (
        number
        for one in series.images
        for number in (one.rows, one.columns, one.samples_per_pixel, one.number_of_frames)
    )
    if all(number > 0 for number in numbers):
        return None
    return "Rows, Columns, Samples per Pixel or Number of Frames is missing or not positive"


def _without_recipe(rule: Callable[[Series], str | None]) -> Rule:
    return lambda series, _recipe: rule(series)


RULES: Final[Mapping[str, Rule]] = {
    "is_original": _without_recipe(is_original),
    "is_primary": _without_recipe(is_primary),
    "is_not_localizer": _without_recipe(is_not_localizer),
    "is_not_secondary_capture": _without_recipe(is_not_secondary_capture),
    "is_for_presentation": _without_recipe(is_for_presentation),
    "is_single_frame": _without_recipe(is_single_frame),
    "is_grayscale": _without_recipe(is_grayscale),
    "is_frontal_or_unknown": _without_recipe(is_frontal_or_unknown),
    "has_one_orientation": _without_recipe(has_one_orientation),
    "has_even_spacing": _without_recipe(has_even_spacing),
    "has_enough_slices": has_enough_slices,
}
"""Names that ``require`` in routes.yaml may hold."""


def check(routes: Routes, recipes: Collection[str] | None = None) -> None:
    """Check at the start that every rule, and every recipe if given, that a route names exists.

    Raises:
        ConfigError: with the route, the wrong name and the known ones.
    """
    for route in routes.routes:
        for name in route.require:
            if name not in RULES:
                known = ", ".join(sorted(RULES))
                msg = f"routes.yaml: route {route.name}: unknown rule {name}; known: {known}"
                raise ConfigError(msg)
        if recipes is not None and route.recipe not in recipes:
            msg = f"routes.yaml: route {route.name}: no recipe {route.recipe} in recipes/"
            raise ConfigError(msg)
