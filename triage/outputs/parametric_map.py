"""The anomaly map as a DICOM Parametric Map, pixel for pixel on the source frames. Research mode.

The real world value "Anomaly map" of a pixel is the detector's raw word on it, no unit, in 65,536
even steps from its lowest to its highest: every viewer draws 16 bits, and few draw floats. Every
frame names the source frame it was derived from. Built for the detection that decided, of at most
``reporting.map_frames`` frames.
"""

from typing import Final

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.sr.codedict import codes
from pydicom.uid import ParametricMapStorage

from triage.errors import Broken
from triage.finding import Assessment, Document
from triage.outputs.codes import ANOMALY_MAP, scheme
from triage.outputs.context import RESEARCH_BANNER, ReportContext, uid
from triage.outputs.gate import check_header, must, read_back
from triage.outputs.header import finish, identification, local, say_side, warm, written
from triage.outputs.map_frames import order_of, settled, spatial
from triage.outputs.scene import Overlay, overlay, scene
from triage.outputs.tidy import quiet

__all__ = ["KIND", "build", "check", "warm"]

KIND: Final = "parametric_map"
_PRESENT: Final = (
    "PixelData", "NumberOfFrames", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ContentLabel", "ContentDescription",
    "ContentQualification", "RecognizableVisualFeatures", "CodingSchemeIdentificationSequence",
)  # fmt: skip
_TOP: Final = 65_535
"""The highest stored value."""


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the map of one study: same input, same UIDs, same bytes.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.scene``.
    """
    with quiet():
        shown = scene(assessment)
        laid = overlay(shown, context)
        at = local(context, shown.source)
        lowest, step = _steps(laid)
        made = ParametricMap(
            source_images=list(laid.images),
            pixel_array=_stored(laid)[..., None],
            **identification(KIND, assessment, context, at),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[[_mapping(lowest, step)]],
            voi_lut_transformations=[
                VOILUTTransformation(
                    window_center=_TOP / 2,
                    window_width=_TOP,
                    voi_lut_function="LINEAR_EXACT",
                )
            ],
            content_label="ANOMALY_MAP",
            content_description=RESEARCH_BANNER,
            content_qualification=highdicom.ContentQualificationValues.RESEARCH,
            derived_pixel_contrast="NONE",
            specific_character_set="ISO_IR 192",
            **spatial(laid),
        )
        made.CodingSchemeIdentificationSequence = [scheme()]
        finish(made, assessment, context, shown.source, at)
        settled(made, assessment, context, KIND)
        say_side(made, assessment)
        content = written(made)
    sop_class_uid = str(ParametricMapStorage)
    return Document(KIND, sop_class_uid, uid(context, assessment, KIND, "instance"), content)


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the map back with highdicom and hold each pixel against the kept map.

    Raises:
        Broken: it must not leave.
    """
    if context.mode != "research":
        raise Broken(code="internal", detail="The report may not leave: it marks a location")
    with quiet():
        made = read_back(document, ParametricMap.from_file)
        check_header(made, document, assessment, _PRESENT)
        laid = overlay(scene(assessment), context)
        must(_same_pixels(made, laid), "its pixels are not the map's")
        [measured] = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
        quantity = measured.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue
        must(quantity == ANOMALY_MAP.value, "it does not say what its pixels measure")


def _same_pixels(made: ParametricMap, laid: Overlay) -> bool:
    wanted = _stored(laid)[order_of(made, laid)]
    pixels = np.frombuffer(made.PixelData, dtype="<u2")[: wanted.size]
    return pixels.size == wanted.size and bool((pixels == wanted.ravel()).all())


def _steps(laid: Overlay) -> tuple[float, float]:
    """Give the real world value of stored 0, and of one step."""
    lowest = min(float(laid.values.min()), 0.0)
    return lowest, max(float(laid.values.max()) - lowest, 1e-6) / _TOP


def _stored(laid: Overlay) -> npt.NDArray[np.uint16]:
    """Give the values in steps: frames x rows x columns."""
    lowest, step = _steps(laid)
    return np.rint((laid.values.astype(np.float64) - lowest) / step).astype(np.uint16)


def _mapping(lowest: float, step: float) -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label="ANOMALY",
        lut_explanation="Anomaly map",
        unit=codes.UCUM.NoUnits,
        value_range=(0, _TOP),
        slope=step,
        intercept=lowest,
        quantity_definition=ANOMALY_MAP,
    )
