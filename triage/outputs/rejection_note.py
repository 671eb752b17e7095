"""A rejection note: tells an archive that objects of ours are no longer to be used.

IHE IOCM (RAD TF-1 33, RAD-66): a Key Object Selection Document whose title says why, in a series of
its own in the study of the objects it names. It is built of the very objects, so it carries their
identity whatever became of the study's images.
"""

import hashlib
import hmac
import io
import json
import uuid
import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import pydicom
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.errors import Broken
from triage.finding import Document
from triage.outputs.context import MODEL_NAME, ReportContext, software_uid

KIND: Final = "rejection_note"
SERIES_NUMBER: Final = 9900
COPIED: Final = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
)  # fmt: skip
"""Beside what highdicom copies of patient and study."""
TITLES: Final[Mapping[str, Code]] = {
    "quality": codes.cid7010.RejectedForQualityReasons,
    "patient-safety": codes.cid7010.RejectedForPatientSafetyReasons,
    "wrong-order": codes.cid7010.IncorrectModalityWorklistEntry,
}
"""Document titles of a rejection note (CID 7010)."""


def build(
    rejected: Sequence[Document], title: str, description: str, context: ReportContext
) -> Document:
    """Build the note that rejects these documents: same input, same UIDs, same bytes.

    Raises:
        Broken: they are not of one patient and one study, or are no DICOM objects.
    """
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")  # they quote values; identity is copied as it is
        document = _built(_evidence(rejected), rejected, title, description, context)
    check(document, rejected, title)
    return document


def _built(
    named: list[Dataset],
    rejected: Sequence[Document],
    title: str,
    description: str,
    context: ReportContext,
) -> Document:
    uids = sorted(one.sop_instance_uid for one in rejected)
    note = KeyObjectSelectionDocument(
        evidence=named,
        content=KeyObjectSelection(
            document_title=TITLES[title],
            referenced_objects=named,
            observer_device_context=_observer(context),
            description=description,
        ),
        series_instance_uid=_uid(context, "series", uids, title),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(context, "instance", uids, title),
        instance_number=1,
        manufacturer=context.reporting.manufacturer[:64],
        institution_name=context.reporting.institution_name[:64] or None,
    )
    _finish(note, named[0], context)
    buffer = io.BytesIO()
    note.save_as(buffer, enforce_file_format=True)
    return Document(
        kind=KIND,
        sop_class_uid=str(KeyObjectSelectionDocumentStorage),
        sop_instance_uid=str(note.SOPInstanceUID),
        content=buffer.getvalue(),
    )


def check(document: Document, rejected: Sequence[Document], title: str) -> None:
    """Read a note back; it may not leave unless it names exactly what it rejects, and why.

    Raises:
        Broken: it does not.
    """
    note = pydicom.dcmread(io.BytesIO(document.content))
    evidence = {
        str(item.ReferencedSOPInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    [name] = note.ConceptNameCodeSequence
    wanted = {one.sop_instance_uid for one in rejected}
    if evidence != wanted or name.CodeValue != TITLES[title].value:
        raise Broken(code="internal", detail="a rejection note did not name what it rejects")


def _evidence(rejected: Sequence[Document]) -> list[Dataset]:
    try:
        named = [pydicom.dcmread(io.BytesIO(one.content)) for one in rejected]
    except pydicom.errors.InvalidDicomError:
        raise Broken(code="internal", detail="only DICOM objects can be rejected") from None
    whose = {(str(one.get("PatientID", "")), str(one.StudyInstanceUID)) for one in named}
    if len(whose) != 1:
        raise Broken(code="internal", detail="a rejection note is about one study of one patient")
    return list(named)


def _observer(context: ReportContext) -> ObserverContext:
    """Say that this software rejects (TID 1004)."""
    return ObserverContext(
        observer_type=codes.cid270.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=software_uid(context),
            name=MODEL_NAME,
            manufacturer_name=context.reporting.manufacturer[:64],
            model_name=MODEL_NAME,
            serial_number=context.installation,
        ),
    )


def _finish(note: Dataset, first: Dataset, context: ReportContext) -> None:
    """Set what the library fills from the wall clock or with its own name."""
    at = context.now.astimezone()
    note.InstanceCreationDate = note.ContentDate = f"{at:%Y%m%d}"
    note.InstanceCreationTime = note.ContentTime = f"{at:%H%M%S}"
    note.SeriesDescription = "Rejection note"
    for keyword in COPIED:
        if keyword in first:
            note[keyword] = first[keyword]
    for item in note.ContributingEquipmentSequence:
        item.ContributionDateTime = f"{at:%Y%m%d%H%M%S}"
    note.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    note.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME


def _uid(context: ReportContext, which: str, uids: list[str], title: str) -> str:
    """Give a UID that only the holder of the site's key can predict (PS3.5 B.2)."""
    parts = json.dumps([KIND, which, uids, title]).encode()
    digest = hmac.new(context.site_key, parts, hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
