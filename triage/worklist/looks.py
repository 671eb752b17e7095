"""How one frame is meant to be seen, out of its header: size, windows, spacing, directions.

A header is what somebody sent: every value is read as if it were wrong, and left out if it is.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

from pydicom import Dataset
from pydicom.multival import MultiValue

from triage.worklist import words

PROJECTIONS: Final = frozenset(("CR", "DX", "MG", "IO", "PX", "RF", "XA", "RG"))
"""Modalities whose pixel spacing is the detector's unless it was calibrated (PS3.3 10.7.1.1)."""
CENTIMETRE: Final = 3
"""Physical Units X Direction of an ultrasound region (PS3.3 C.8.5.5.1.15)."""
MOST_WINDOWS: Final = 8
MOST_REGIONS: Final = 16
MOST_TEXT: Final = 64
_EVEN_MS: Final = 100.0
Look = dict[str, Any]
TAGS: Final = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "BitsStored", "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
    "InstanceNumber", "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation",
    "VOILUTFunction", "VOILUTSequence", "RescaleType", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PixelSpacingCalibrationType", "PixelAspectRatio",
    "ImagePositionPatient", "ImageOrientationPatient", "PatientOrientation", "SliceThickness",
    "SequenceOfUltrasoundRegions", "FrameTime", "CineRate", "RecommendedDisplayFrameRate",
    "LossyImageCompression", "LossyImageCompressionRatio", "Laterality", "ImageLaterality",
    "ViewPosition", "FrameOfReferenceUID", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Every element that is read here."""


def of(header: Dataset, frame: int) -> Look:
    """Give how a frame, from 0, is meant to be seen; for JSON."""
    kind, spacing = _spacing(header, frame)
    photometric = _text(header, "PhotometricInterpretation")
    return {
        "rows": _whole(header, "Rows"),
        "columns": _whole(header, "Columns"),
        "colour": (_whole(header, "SamplesPerPixel") or 1) > 1 or photometric == "PALETTE COLOR",
        "photometric": photometric,
        "windows": windows(header, frame),
        "table": bool(header.get("VOILUTSequence")),
        "unit": "HU" if header.get("Modality") == "CT" else _text(header, "RescaleType"),
        "spacing_mm": spacing,
        "spacing_kind": kind,
        "aspect": _aspect(header, spacing),
        "regions": _regions(header),
        "axes": _axes(header, frame),
        "sides": [one[:4] for one in _texts(header.get("PatientOrientation"), 2)],
        "lossy": _lossy(header),
    }


def windows(header: Dataset, frame: int) -> list[Look]:
    """Give the windows a frame's header states (PS3.3 C.11.2.1.2), in real units."""
    source = _group(header, frame, "FrameVOILUTSequence")
    centres = _list(source.get("WindowCenter"))
    widths = _list(source.get("WindowWidth"))
    explained = _many(source.get("WindowCenterWidthExplanation"))
    names = [words.straight(str(one)) for one in explained]
    function = _text(source, "VOILUTFunction") or "LINEAR"
    found = []
    for place, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        if centre is not None and width is not None and width > 0:
            name = names[place][:MOST_TEXT] if place < len(names) else ""
            found.append({"centre": centre, "width": width, "function": function, "name": name})
    return found[:MOST_WINDOWS]


def position(header: Dataset, frame: int) -> tuple[float, ...] | None:
    """Give where the middle of the first pixel lies, mm, LPS; None where nothing says so."""
    plane = _group(header, frame, "PlanePositionSequence")
    if plane is header and (_whole(header, "NumberOfFrames") or 1) > 1:
        return None
    return _numbers(plane.get("ImagePositionPatient"), 3)


def frame_ms(header: Dataset) -> float:
    """Give how long a frame of a cine lasts, as the header says it."""
    time = (_list(header.get("FrameTime")) or [None])[0]
    if time and time > 0:
        return time
    for keyword in ("RecommendedDisplayFrameRate", "CineRate"):
        rate = (_list(header.get(keyword)) or [None])[0]
        if rate and rate > 0:
            return 1000.0 / rate
    return _EVEN_MS


def whole(header: Dataset, keyword: str) -> int | None:
    """Give a whole number; None where there is none."""
    return _whole(header, keyword)


def text(header: Dataset, keyword: str) -> str:
    """Give a text, cut to a length that a person reads."""
    return _text(header, keyword)


def _spacing(header: Dataset, frame: int) -> tuple[str, tuple[float, ...] | None]:
    """Give what is known of the pixels' size: where it was measured, and mm (rows, columns)."""
    measures = _group(header, frame, "PixelMeasuresSequence")
    stated = _numbers(measures.get("PixelSpacing"), 2)
    imager = _numbers(header.get("ImagerPixelSpacing"), 2)
    stated = stated if stated and min(stated) > 0 else None
    imager = imager if imager and min(imager) > 0 else None
    if str(header.get("Modality")) in PROJECTIONS:
        calibrated = bool(_text(header, "PixelSpacingCalibrationType"))
        if stated and (calibrated or (imager and stated != imager)):
            return "calibrated", stated
        if imager or stated:
            return "detector", imager or stated
    if stated:
        return "patient", stated
    scanned = _numbers(header.get("NominalScannedPixelSpacing"), 2)
    if scanned and min(scanned) > 0:
        return "scanned", scanned
    return ("detector", imager) if imager else ("", None)


def _aspect(header: Dataset, spacing: tuple[float, ...] | None) -> float:
    """Give the height of a pixel over its width."""
    ratio = spacing or _numbers(header.get("PixelAspectRatio"), 2)
    if not ratio or min(ratio) <= 0:
        return 1.0
    found = ratio[0] / ratio[1]
    return found if 0.05 < found < 20 else 1.0


def _regions(header: Dataset) -> list[Look]:
    """Give the parts of an ultrasound picture whose scale is known (PS3.3 C.8.5.5)."""
    found = []
    for one in list(header.get("SequenceOfUltrasoundRegions") or ())[:MOST_REGIONS]:
        keywords = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1",
                    "RegionLocationMaxY1")  # fmt: skip
        box = [_whole(one, keyword) for keyword in keywords]
        units = {_whole(one, f"PhysicalUnits{axis}Direction") for axis in "XY"}
        steps = [(_list(one.get(f"PhysicalDelta{axis}")) or [None])[0] for axis in "YX"]
        if None not in box and units == {CENTIMETRE} and all(steps):
            found.append({"box": box, "spacing_mm": [abs(step or 0) * 10 for step in steps]})
    return found


def _axes(header: Dataset, frame: int) -> tuple[float, ...] | None:
    plane = _group(header, frame, "PlaneOrientationSequence")
    return _numbers(plane.get("ImageOrientationPatient"), 6)


def _lossy(header: Dataset) -> str:
    if _text(header, "LossyImageCompression") != "01":
        return ""
    ratio = [one for one in _list(header.get("LossyImageCompressionRatio")) if one]
    return f"lossy {math.prod(ratio):.3g}:1" if ratio else "lossy"


def _group(header: Dataset, frame: int, keyword: str) -> Dataset:
    """Give the frame's own functional group, the shared one, or the plain header (C.7.6.16)."""
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for groups in (own[frame : frame + 1], shared[:1]):
        for group in groups:
            if group.get(keyword):
                found: Dataset = group[keyword].value[0]
                return found
    return header


def _whole(header: Dataset, keyword: str) -> int | None:
    found = _list(header.get(keyword))
    return int(found[0]) if found and found[0] is not None else None


def _text(header: Dataset, keyword: str) -> str:
    return " ".join(words.straight(str(header.get(keyword) or "")).split())[:MOST_TEXT]


def _texts(value: object, count: int) -> list[str]:
    found = [words.straight(str(one)) for one in _many(value)]
    return found if len(found) == count else []


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    found = _list(value)
    if len(found) != count or None in found:
        return None
    return tuple(one for one in found if one is not None)


def _list(value: object) -> list[float | None]:
    return [_number(one) for one in _many(value)]


def _many(value: object) -> Sequence[object]:
    if value is None or value == "":
        return ()
    return list(value) if isinstance(value, MultiValue | list | tuple) else (value,)


def _number(value: object) -> float | None:
    try:
        found = float(value)  # type: ignore[arg-type] # whatever is no number raises
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and abs(found) < 1e9 else None
