"""A flag on a prioritised study: a Key Object Selection Document, TID 2010, "Of Interest".

In triage mode it names every image that was analysed, so that it flags the study and no place in
it; in research mode the strangest image of each series. It is built for prioritised studies only.
"""

from io import BytesIO
from typing import Final

import pydicom
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import KeyObjectSelectionDocumentStorage

from triage.finding import Assessment, Document
from triage.outputs.context import (
    DISCLAIMER,
    MODEL_NAME,
    RESEARCH_BANNER,
    ReportContext,
    device_uid,
    software_uid,
    uid,
)
from triage.outputs.gate import check_header, must, read_back
from triage.outputs.header import (
    detectors,
    finish,
    first_image,
    identification,
    local,
    reference,
    warm,
    written,
)
from triage.outputs.source import Source, read
from triage.outputs.tidy import clean, quiet

__all__ = ["KIND", "build", "check", "warm"]

KIND: Final = "key_objects"
_PRESENT: Final = (
    "ReferencedPerformedProcedureStepSequence", "CurrentRequestedProcedureEvidenceSequence",
    "ContentDate", "ContentTime",
)  # fmt: skip


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the flag of one prioritised study: same input, same UIDs, same bytes.

    Raises:
        Held, Broken, TryAgain: as ``triage.outputs.source.read``.
    """
    with quiet():
        source = read(assessment)
        at = local(context, source)
        images = _datasets(source, _wanted(assessment, context))
        identity = identification(KIND, assessment, context, at)
        made = KeyObjectSelectionDocument(
            evidence=images,
            content=KeyObjectSelection(
                document_title=codes.cid7010.OfInterest,
                referenced_objects=images,
                observer_device_context=_observer(assessment, context),
                description=_description(assessment, context),
            ),
            requested_procedures=list(source.header.ReferencedRequestSequence) or None,
            **identity,
        )
        finish(made, assessment, context, source, at)
        content = written(made)
    sop_class_uid = str(KeyObjectSelectionDocumentStorage)
    return Document(KIND, sop_class_uid, uid(context, assessment, KIND, "instance"), content)


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the flag back with highdicom and hold it against the assessment.

    Raises:
        Broken: it must not leave.
    """
    with quiet():
        made = read_back(document, _reader)
        check_header(made, document, assessment, _PRESENT)
        title = made.content[0].name == codes.cid7010.OfInterest
        must(title, "its title is not Of Interest")
        names = {
            str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for item in made.content.get_references()
        }
        wanted = _wanted(assessment, context)
        must(names == wanted, "it names other images than it should")
        for instance in names:
            study, _, _ = made.resolve_reference(instance)
            same = study == assessment.study.ref.study_instance_uid
            must(same, "its evidence is of another study")
        said = [str(item.get("TextValue", "")) for item in made.ContentSequence]
        described = _description(assessment, context) in said
        must(described, "its description is not the assessment's")


def _reader(content: BytesIO) -> KeyObjectSelectionDocument:
    return KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(content))


def _wanted(assessment: Assessment, context: ReportContext) -> set[str]:
    if context.mode == "research":
        return {found.key_sop_instance_uid for found in assessment.detections}
    return {one for found in assessment.detections for one in found.sop_instance_uids}


def _datasets(source: Source, wanted: set[str]) -> list[Dataset]:
    """Give the images to name; the first one also says whose they are."""
    places = [place for place in source.evidence if place.sop_instance_uid in wanted]
    return [first_image(source, places[0]), *(reference(source, place) for place in places[1:])]


def _observer(assessment: Assessment, context: ReportContext) -> ObserverContext:
    ours = detectors(assessment)
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(ours[0]) if ours else software_uid(context),
            name=clean(f"{ours[0].name} {ours[0].version}" if ours else MODEL_NAME),
            manufacturer_name=clean(context.reporting.manufacturer),
            model_name=MODEL_NAME,
            serial_number=context.installation,
        ),
    )


def _description(assessment: Assessment, context: ReportContext) -> str:
    banner = f"{RESEARCH_BANNER}. " if context.mode == "research" else ""
    return clean(f"{banner}{assessment.decision.sentence} {DISCLAIMER}", 1024)
