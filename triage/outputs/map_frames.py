"""What a parametric map and a segmentation share: frames that lie on the source's own."""

from typing import Any

from highdicom import (
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from pydicom.dataset import Dataset

from triage.finding import Assessment
from triage.outputs.context import ReportContext, uid
from triage.outputs.gate import must
from triage.outputs.scene import Overlay


def spatial(laid: Overlay) -> dict[str, Any]:
    """Give highdicom's arguments for where the frames are, where it cannot find out itself.

    It takes them from a multi-frame source as they are.
    """
    first = laid.images[0]
    if "ImagePositionPatient" not in first or "FrameOfReferenceUID" not in first:
        return {}
    return {
        "plane_positions": [
            PlanePositionSequence("PATIENT", list(image.ImagePositionPatient))
            for image in laid.images
        ],
        "plane_orientation": PlaneOrientationSequence(
            "PATIENT", list(first.ImageOrientationPatient)
        ),
        "pixel_measures": PixelMeasuresSequence(
            pixel_spacing=list(first.PixelSpacing),
            slice_thickness=first.SliceThickness,
        ),
    }


def settled(made: Dataset, assessment: Assessment, context: ReportContext, kind: str) -> None:
    """Give what the library numbers anew at every run the same UIDs at every run."""
    organization = uid(context, assessment, kind, "dimensions")
    for item in made.get("DimensionOrganizationSequence", ()):
        item.DimensionOrganizationUID = organization
    for item in made.get("DimensionIndexSequence", ()):
        item.DimensionOrganizationUID = organization


def order_of(made: Dataset, laid: Overlay) -> list[int]:
    """Give for each frame of an object which frame of the overlay it is, by the source it names.

    The library sorts frames by their place in space.

    Raises:
        Broken: sizes differ, or the frames do not name the overlay's sources, each once.
    """
    same = (int(made.Rows), int(made.Columns)) == laid.values.shape[1:]
    must(same, "its frames have another size than the source's")
    several = len(laid.images) == 1 and int(laid.images[0].get("NumberOfFrames") or 1) > 1
    uids = [str(image.SOPInstanceUID) for image in laid.images]
    index_of = {
        (uids[0], frame) if several else (uids[index], 1): index
        for index, frame in enumerate(laid.frames)
    }
    found = [index_of.get(_source(group), -1) for group in made.PerFrameFunctionalGroupsSequence]
    must(sorted(found) == list(range(len(laid.values))), "its frames do not name their sources")
    return found


def _source(group: Dataset) -> tuple[str, int]:
    for derivation in group.get("DerivationImageSequence", ()):
        for image in derivation.SourceImageSequence:
            return str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber") or 1)
    return "", 0
