"""How the source images are shown: what a presentation state copies, and for which images."""

from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from triage.outputs import lookup_tables
from triage.outputs.scene import Scene

_SHOWN: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth", "VOILUTFunction",
)  # fmt: skip
_LOOK: Final = ("Rows", "Columns", "RescaleSlope", "RescaleIntercept", "RescaleType",
                "PhotometricInterpretation", lookup_tables.MODALITY)  # fmt: skip
"""One presentation state is for images that are alike in these (PS3.3 C.11.6, C.11.1)."""
_RESCALE: Final = ("RescaleSlope", "RescaleIntercept", "RescaleType")
_WINDOW: Final = ("WindowCenter", "WindowWidth", "VOILUTFunction")


def alike(shown: Scene) -> list[Dataset]:
    """Give the images that one presentation state can be for: those that look like the first."""
    first, *others = shown.images
    images = [_shown(first), *map(_shown, others)]
    images[0].update(shown.source.header)
    look = [images[0].get(keyword) for keyword in _LOOK]
    found = [one for one in images if [one.get(keyword) for keyword in _LOOK] == look]
    multiframe = int(images[0].get("NumberOfFrames") or 1) > 1
    return found[:1] if multiframe else found


def polarity(image: Dataset) -> str:
    """Give the shape that shows the stored values as the image's own header would."""
    return "INVERSE" if image.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"


def show_through(made: Dataset, images: list[Dataset], shown: Scene) -> None:
    """Write the images' own tables into their presentation state.

    A modality table stands for a rescaling; a VOI table for the window that an image has not.
    """
    originals = {str(image.SOPInstanceUID): image for image in shown.images}
    of_values = [
        []
        if _has_window(originals[str(image.SOPInstanceUID)])
        else lookup_tables.tables(originals[str(image.SOPInstanceUID)], lookup_tables.VOI)
        for image in images
    ]
    stored = images[0].get(lookup_tables.MODALITY)
    if stored:
        made.ModalityLUTSequence = stored
    found = [*made.get("SoftcopyVOILUTSequence", ()), *lookup_tables.softcopy(images, of_values)]
    if found:
        made.SoftcopyVOILUTSequence = found


def _shown(image: Dataset) -> Dataset:
    """Give what presentation depends on, and as if it had groups where highdicom looks for them."""
    kept = Dataset()
    for keyword in _SHOWN:
        if keyword in image:
            kept[keyword] = image[keyword]
    stored = lookup_tables.modality(image)
    if stored is not None or ("RescaleSlope" in kept) != ("RescaleIntercept" in kept):
        _drop(kept, _RESCALE)
    if stored is not None:
        kept.ModalityLUTSequence = [stored]
    if not _has_window(kept):
        _drop(kept, _WINDOW)
    groups = image.get("PerFrameFunctionalGroupsSequence", ())
    kept.PerFrameFunctionalGroupsSequence = [_window(group) for group in groups]
    kept.SharedFunctionalGroupsSequence = [_shared(image, kept)]
    return kept


def _shared(image: Dataset, kept: Dataset) -> Dataset:
    """Give what holds for all frames, also where an older class says it outside of any group."""
    shared = Dataset()
    for group in image.get("SharedFunctionalGroupsSequence", ()):
        shared.update(group)
    for keyword, parts, needed in (
        ("FrameVOILUTSequence", _WINDOW, "WindowWidth"),
        ("PixelValueTransformationSequence", _RESCALE, "RescaleSlope"),
    ):
        if keyword not in shared and needed in kept:
            part = Dataset()
            for one in parts:
                if one in kept:
                    part[one] = kept[one]
            setattr(shared, keyword, [part])
    for part in shared.get("PixelValueTransformationSequence", ()):
        if not part.get("RescaleType"):
            part.RescaleType = "US"  # unspecified; a state must say it
    return shared


def _drop(kept: Dataset, keywords: tuple[str, ...]) -> None:
    for keyword in keywords:
        kept.pop(keyword, None)


def _has_window(image: Dataset) -> bool:
    """Tell whether each window has a centre and a width; some headers hold a width of zero."""
    centres, widths = (
        np.atleast_1d(np.asarray(image.get(keyword) or [], dtype=float))
        for keyword in ("WindowCenter", "WindowWidth")
    )
    return len(centres) == len(widths) > 0 and bool((widths > 0).all())


def _window(group: Dataset) -> Dataset:
    """Keep the window of one frame; a presentation state knows one rescaling for all frames."""
    kept = Dataset()
    if "FrameVOILUTSequence" in group:
        kept.FrameVOILUTSequence = group.FrameVOILUTSequence
    return kept
