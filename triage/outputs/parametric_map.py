"""The anomaly map as a DICOM Parametric Map, pixel for pixel on the source frames. Research mode.

Float pixels hold the detector's raw word on each pixel, no unit, under the real world value map
"Anomaly map"; every frame names the source frame it was derived from. Built for the detection that
decided, of at most ``reporting.map_frames`` frames.
"""

from typing import Final

import highdicom
import numpy as np
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
    "FloatPixelData", "NumberOfFrames", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ContentLabel", "ContentDescription",
    "ContentQualification", "RecognizableVisualFeatures", "CodingSchemeIdentificationSequence",
)  # fmt: skip


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the map of one study: same input, same UIDs, same bytes.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.scene``.
    """
    with quiet():
        shown = scene(assessment)
        laid = overlay(shown, context)
        at = local(context, shown.source)
        highest = max(float(laid.values.max()), 1e-6)
        made = ParametricMap(
            source_images=list(laid.images),
            pixel_array=laid.values[..., None],
            **identification(KIND, assessment, context, at),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[[_mapping(highest)]],
            voi_lut_transformations=[
                VOILUTTransformation(
                    window_center=highest / 2,
                    window_width=highest,
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
    wanted = laid.values[order_of(made, laid)]
    pixels = np.frombuffer(made.FloatPixelData, dtype="<f4")
    return pixels.size == wanted.size and bool((pixels == wanted.ravel()).all())


def _mapping(highest: float) -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label="ANOMALY",
        lut_explanation="Anomaly map",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, highest),
        slope=1.0,
        intercept=0.0,
        quantity_definition=ANOMALY_MAP,
    )
