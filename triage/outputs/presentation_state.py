"""A note on the images: a Grayscale Softcopy Presentation State.

It shows the images as they are, with a line of text at the edge of the display that says what the
pipeline came to. In triage mode that line is the same on every image of the series and nothing
else is drawn. In research mode a rectangle encloses what the map calls strange in the key image.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
import pydicom
from highdicom import PresentationLUTTransformation
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from triage.finding import Assessment, Document
from triage.outputs.appearance import alike, polarity, show_through
from triage.outputs.context import RESEARCH_BANNER, ReportContext, uid
from triage.outputs.gate import check_header, must, read_back
from triage.outputs.header import finish, identification, local, say_side, warm, written
from triage.outputs.report_groups import tracking
from triage.outputs.scene import Scene, overlay, scene
from triage.outputs.tidy import quiet

__all__ = ["KIND", "build", "check", "warm"]

KIND: Final = "presentation_state"
LABEL: Final = "TRIAGE"
NOTE: Final = "Triage: {outcome}. AI, unverified, not for diagnosis."
_TOP: Final = (0.0, 0.0, 1.0, 0.05)
"""Of the display, not of the image."""
_PRESENT: Final = (
    "PresentationCreationDate", "PresentationCreationTime", "ContentLabel", "ContentDescription",
    "ContentCreatorName", "ReferencedSeriesSequence", "DisplayedAreaSelectionSequence",
    "PresentationLUTShape", "GraphicAnnotationSequence", "GraphicLayerSequence",
)  # fmt: skip


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the note: same input, same UIDs, same bytes.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.source.read``, or the map is gone.
    """
    with quiet():
        shown = scene(assessment)
        at = local(context, shown.source)
        images = alike(shown)
        identity = identification(KIND, assessment, context, at)
        del identity["content_date"], identity["content_time"]
        layer = GraphicLayer(LABEL, order=1, description="Triage")
        made = GrayscaleSoftcopyPresentationState(
            referenced_images=images,
            **identity,
            content_label=LABEL,
            content_description=_description(context),
            graphic_layers=[layer],
            graphic_annotations=[
                GraphicAnnotation(images, layer, text_objects=[_note(assessment, context)]),
                *_regions(shown, images, layer, assessment, context),
            ],
            presentation_lut_transformation=PresentationLUTTransformation(
                presentation_lut_shape=polarity(images[0])
            ),
        )
        show_through(made, images, shown)
        made.PresentationCreationDate = at.date()
        made.PresentationCreationTime = at.time().replace(microsecond=0)
        finish(made, assessment, context, shown.source, at)
        say_side(made, assessment)
        content = written(made)
    sop_class_uid = str(GrayscaleSoftcopyPresentationStateStorage)
    return Document(KIND, sop_class_uid, uid(context, assessment, KIND, "instance"), content)


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the note back, element by element through highdicom, and hold it to the assessment.

    Raises:
        Broken: it must not leave.
    """
    with quiet():
        made = read_back(document, _reader)
        check_header(made, document, assessment, _PRESENT)
        because = assessment.decision.because
        analysed = set(because.sop_instance_uids if because else ())
        named = {
            str(image.ReferencedSOPInstanceUID)
            for series in made.ReferencedSeriesSequence
            for image in series.ReferencedImageSequence
        }
        must(named and named <= analysed, "it is about other images than were analysed")
        texts, graphics = _drawn(made)
        must([_note(assessment, context).text_value] == texts, "its note is not the assessment's")
        if context.mode == "triage":
            must(not graphics, "it marks a location in triage mode")
            noted = {
                str(image.ReferencedSOPInstanceUID)
                for one in made.GraphicAnnotationSequence
                for image in one.ReferencedImageSequence
            }
            must(noted == named, "it notes some of the images only, in triage mode")


def _drawn(made: Dataset) -> tuple[list[str], list[Any]]:
    """Give the texts and the graphics, each made again by highdicom, which checks them."""
    texts, graphics = [], []
    for one in made.GraphicAnnotationSequence:
        for text in one.get("TextObjectSequence", ()):
            corners = (
                *text.BoundingBoxTopLeftHandCorner, *text.BoundingBoxBottomRightHandCorner,
            )  # fmt: skip
            again = TextObject(
                str(text.UnformattedTextValue), str(text.BoundingBoxAnnotationUnits), corners
            )
            texts.append(again.text_value)
        for graphic in one.get("GraphicObjectSequence", ()):
            points = np.reshape(np.asarray(graphic.GraphicData, dtype=float), (-1, 2))
            graphics.append(
                GraphicObject(str(graphic.GraphicType), points, str(graphic.GraphicAnnotationUnits))
            )
    return texts, graphics


def _reader(content: BytesIO) -> Dataset:
    return pydicom.dcmread(content)


def _note(assessment: Assessment, context: ReportContext) -> TextObject:
    banner = f"{RESEARCH_BANNER}. " if context.mode == "research" else ""
    text = banner + NOTE.format(outcome=assessment.decision.outcome.value)
    return TextObject(text, "DISPLAY", bounding_box=_TOP, text_justification="LEFT")


def _description(context: ReportContext) -> str:
    return "RESEARCH triage note" if context.mode == "research" else "Triage note"


def _regions(
    shown: Scene,
    images: Sequence[Dataset],
    layer: GraphicLayer,
    assessment: Assessment,
    context: ReportContext,
) -> list[GraphicAnnotation]:
    """Enclose, in research mode, what the map calls strange in the key image's strangest frame."""
    key = shown.detection.key_sop_instance_uid
    image = next((one for one in images if one.SOPInstanceUID == key), None)
    if context.mode != "research" or not shown.detection.map_sha256 or image is None:
        return []
    laid = overlay(shown, context)
    owners = [str(one.SOPInstanceUID) for one in laid.images]
    indices = range(len(laid.frames)) if len(owners) == 1 else [
        index for index, owner in enumerate(owners) if owner == key
    ]  # fmt: skip
    index = max(indices, key=lambda one: laid.values[one].max(), default=None)
    if index is None or owners[index if len(owners) > 1 else 0] != key:
        return []
    strange = laid.values[index]
    mask = strange >= context.reporting.region_from * max(float(strange.max()), 1e-30)
    rows, columns = np.nonzero(mask)
    top, bottom = float(rows.min()), float(rows.max() + 1)
    left, right = float(columns.min()), float(columns.max() + 1)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    name, unique = tracking(shown.detection, assessment, context)
    graphic = GraphicObject(
        "POLYLINE", np.asarray(corners), "PIXEL", tracking_id=name[:64], tracking_uid=unique
    )
    frame = laid.frames[index] if int(image.get("NumberOfFrames") or 1) > 1 else None
    return [GraphicAnnotation([image], layer, frame, graphic_objects=[graphic])]
