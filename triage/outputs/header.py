"""What the header of every object of ours says: whose study, which series, made by what, when."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Any, Final

from highdicom.base_content import ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.finding import Assessment, Detector
from triage.outputs.context import (
    MODEL_NAME,
    ReportContext,
    device_uid,
    software_uid,
    uid,
)
from triage.outputs.source import Place, Source
from triage.outputs.tidy import clean
from triage.study import Study

FIRST_SERIES_NUMBER: Final = 9700
"""Above what scanners use; the study's next free number from here on."""
_SERIES: Final[Mapping[str, tuple[int, str]]] = {
    "structured_report": (0, "Triage result, not for diagnosis"),
    "key_objects": (100, "Triage flag, not for diagnosis"),
    "presentation_state": (200, "Triage note, not for diagnosis"),
    "secondary_capture": (300, "Triage page, not for diagnosis"),
    "parametric_map": (400, "Anomaly map, not for diagnosis"),
    "segmentation": (500, "Anomaly region, not for diagnosis"),
}
"""A kind's series: how far its number is from the first one, and its description."""


UNPAIRED: Final[Mapping[str, str]] = {
    **{part: part for part in ("ABDOMEN", "BRAIN", "CHEST", "HEAD", "NECK", "PELVIS", "SKULL")},
    "THORAX": "CHEST",
}
"""Body parts that have no side, in the standard's words (PS3.16 annex L)."""


def identification(
    kind: str, assessment: Assessment, context: ReportContext, at: datetime
) -> dict[str, Any]:
    """Give highdicom's arguments that say which object this is and what made it."""
    number, description = _SERIES[kind]
    research = "RESEARCH " if context.mode == "research" else ""
    return {
        "series_instance_uid": uid(context, assessment, kind, "series"),
        "series_number": _series_number(assessment.study, number),
        "sop_instance_uid": uid(context, assessment, kind, "instance"),
        "instance_number": 1,
        "manufacturer": clean(context.reporting.manufacturer, 64),
        "manufacturer_model_name": MODEL_NAME,
        "device_serial_number": context.installation,
        "software_versions": clean(context.version, 64),
        "series_description": f"{research}{description}",
        "content_date": at.date(),
        "content_time": at.time().replace(microsecond=0),
    }


def first_image(source: Source, place: Place | None = None) -> Dataset:
    """Give the data set that highdicom copies patient and study from."""
    first = Dataset()
    first.update(source.header)
    first.update(reference(source, place or source.evidence[0]))
    return first


def reference(source: Source, place: Place) -> Dataset:
    """Give an image as far as it takes to point at it."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = place.sop_class_uid, place.sop_instance_uid
    image.SeriesInstanceUID, image.Modality = place.series_instance_uid, place.modality
    image.StudyInstanceUID = source.study_instance_uid
    image.Rows, image.Columns = place.rows, place.columns
    return image


def finish(
    made: Dataset, assessment: Assessment, context: ReportContext, source: Source, at: datetime
) -> None:
    """Set what the library leaves out, fills from the wall clock or with its own name."""
    made.InstanceCreationDate = at.date()
    made.InstanceCreationTime = at.time().replace(microsecond=0)
    if offset := source.header.get("TimezoneOffsetFromUTC"):
        made.TimezoneOffsetFromUTC = offset
    for element in source.header:  # the library copies all of it for some classes only
        if element.tag not in made and element.keyword != "ReferencedRequestSequence":
            made.add(element)
    if institution := clean(context.reporting.institution_name, 64):
        made.InstitutionName = institution
    made.ContributingEquipmentSequence = _equipment(assessment, context, at)
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    made.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME


def say_side(made: Dataset, assessment: Assessment) -> None:
    """Name the body part; where it may be one of a pair, leave the side empty (PS3.3 C.7.3.1)."""
    because = assessment.decision.because
    parts = {one.series_instance_uid: one.body_part_examined for one in assessment.study.series}
    part = parts.get(because.series_instance_uid if because else "", "")
    if part in UNPAIRED:
        made.BodyPartExamined = UNPAIRED[part]
    else:
        made.Laterality = None


def written(made: Dataset) -> bytes:
    """Give the whole Part 10 file."""
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def warm() -> None:
    """Do nothing: what the first build of a companion costs more is paid by the report's own."""


def local(context: ReportContext, source: Source) -> datetime:
    """Give the time on the study's clock: its own UTC offset, else this host's zone."""
    offset = source.header.get("TimezoneOffsetFromUTC")
    if not offset:
        return context.now.astimezone()
    sign = -1 if offset[0] == "-" else 1
    shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return context.now.astimezone(timezone(sign * shift))


def detectors(assessment: Assessment) -> tuple[Detector, ...]:
    """Give each detector once, in the order it spoke."""
    return tuple(dict.fromkeys(detection.detector for detection in assessment.detections))


def _series_number(study: Study, above: int) -> int:
    taken = {series.series_number for series in study.series}
    return next(
        number
        for number in range(FIRST_SERIES_NUMBER + above + study.ref.generation - 1, 2**31)
        if number not in taken
    )


def _equipment(
    assessment: Assessment, context: ReportContext, at: datetime
) -> list[ContributingEquipment]:
    """Give one item an algorithm (PS3.3 C.12.1.1.5), or one for the software alone."""
    made: list[tuple[str, tuple[str, ...]]] = [
        (device_uid(detector), (context.version, detector.version, detector.weights_sha256))
        for detector in detectors(assessment)
    ] or [(software_uid(context), (context.version,))]
    items = []
    for device, versions in made:
        item = ContributingEquipment(
            manufacturer=clean(context.reporting.manufacturer, 64),
            purpose_of_reference=codes.cid7005.ProcessingEquipment,
            manufacturer_model_name=MODEL_NAME,
            software_versions=[clean(version, 64) or "-" for version in versions],
            device_serial_number=context.installation,
            contribution_datetime=f"{at:%Y%m%d%H%M%S}",
            contribution_description="Anomaly triage",
        )
        item.DeviceUID = device
        items.append(item)
    return items
