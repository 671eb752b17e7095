"""What the map calls strange, as a region: a binary DICOM Segmentation. Research mode.

One segment: the pixels whose map value is at least ``reporting.region_from`` of the highest, on
the source frames themselves. Its tracking identifiers are those of the report's measurement group.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription, segread
from pydicom.sr.codedict import codes
from pydicom.uid import SegmentationStorage

from triage.errors import Broken
from triage.finding import Assessment, Document
from triage.outputs.context import RESEARCH_BANNER, ReportContext, uid
from triage.outputs.gate import check_header, must, read_back
from triage.outputs.header import finish, identification, local, warm, written
from triage.outputs.map_frames import order_of, settled, spatial
from triage.outputs.report_groups import tracking
from triage.outputs.scene import Overlay, Scene, overlay, scene
from triage.outputs.tidy import clean, quiet

__all__ = ["KIND", "build", "check", "warm"]

KIND: Final = "segmentation"
_PRESENT: Final = (
    "SegmentSequence", "SegmentationType", "PixelData", "NumberOfFrames", "ContentLabel",
    "ContentDescription", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the segmentation of one study: same input, same UIDs, same bytes.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.scene``.
    """
    with quiet():
        shown = scene(assessment)
        laid = overlay(shown, context)
        at = local(context, shown.source)
        made = Segmentation(
            source_images=list(laid.images),
            pixel_array=mask(laid, context),
            segmentation_type="BINARY",
            segment_descriptions=[_segment(shown, assessment, context)],
            **identification(KIND, assessment, context, at),
            content_label="ANOMALY_REGION",
            content_description=RESEARCH_BANNER,
            omit_empty_frames=False,
            specific_character_set="ISO_IR 192",
            **spatial(laid),
        )
        finish(made, assessment, context, shown.source, at)
        settled(made, assessment, context, KIND)
        content = written(made)
    sop_class_uid = str(SegmentationStorage)
    return Document(KIND, sop_class_uid, uid(context, assessment, KIND, "instance"), content)


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the segmentation back with highdicom and hold each pixel against the kept map.

    Raises:
        Broken: it must not leave.
    """
    if context.mode != "research":
        raise Broken(code="internal", detail="The report may not leave: it marks a location")
    with quiet():
        made: Any = read_back(document, segread)
        check_header(made, document, assessment, _PRESENT)
        shown = scene(assessment)
        laid = overlay(shown, context)
        pixels = np.stack(
            [made.get_frame(number) for number in range(1, int(made.NumberOfFrames) + 1)]
        )
        wanted = mask(laid, context)[order_of(made, laid)]
        must(bool((pixels == wanted).all()), "its pixels are not the map's")
        segment = made.get_segment_description(1)
        _, unique = tracking(shown.detection, assessment, context)
        must(str(segment.tracking_uid) == unique, "its Tracking UID is not the report's")
        automatic = segment.algorithm_type.value == "AUTOMATIC"
        must(automatic, "it does not say that an algorithm made it")


def mask(laid: Overlay, context: ReportContext) -> npt.NDArray[np.uint8]:
    """Give the region: (frames, rows, columns), 1 inside."""
    highest = float(laid.values.max())
    if highest <= 0.0:
        return np.zeros(laid.values.shape, np.uint8)
    return (laid.values >= context.reporting.region_from * highest).astype(np.uint8)


def _segment(shown: Scene, assessment: Assessment, context: ReportContext) -> SegmentDescription:
    detector = shown.detection.detector
    name, unique = tracking(shown.detection, assessment, context)
    return SegmentDescription(
        segment_number=1,
        segment_label="Anomalous region",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Abnormal,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=clean(detector.name, 64) or "-",
            version=clean(detector.version, 64) or "-",
            family=codes.cid7162.ArtificialIntelligence,
            source=clean(context.reporting.manufacturer, 64),
            parameters={
                "weights sha256": detector.weights_sha256,
                "region from": f"{context.reporting.region_from:g} of the highest value",
            },
        ),
        tracking_id=clean(name, 64),
        tracking_uid=unique,
    )
