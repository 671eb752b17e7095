"""A reader's words as a DICOM Structured Report: TID 1500 in Comprehensive 3D SR, by a person.

One measurement group (TID 1501) a finding, under the very tracking identifiers of the algorithm's
report, which is the evidence and from which each word is inferred. It is built of that report, so
it carries its identity. A reader's earlier report is its predecessor. It never says who was right.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Final

import pydicom
from highdicom.base_content import ContributingEquipment
from highdicom.sr import CodedConcept, Comprehensive3DSR, ContainerContentItem, srread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, Comprehensive3DSRStorage

from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.errors import Broken
from triage.finding import Document
from triage.outputs.assessed import Word, tracked
from triage.outputs.codes import scheme
from triage.outputs.context import MODEL_NAME, Predecessor, ReportContext, software_uid
from triage.outputs.feedback_tree import tree
from triage.outputs.tidy import clean, quiet

KIND: Final = "feedback_report"
SERIES_NUMBER: Final = 9800
_COPIED: Final = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
)  # fmt: skip
"""Beside what highdicom copies of patient and study."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who spoke, when last, and which of the reader's words that was."""

    name: str
    """Of the account."""
    at: datetime
    number: int
    """Id of the latest word: with it, twice is once."""


def build(
    words: Sequence[Word],
    reader: Reader,
    report: Document,
    context: ReportContext,
    former: Predecessor | None = None,
) -> Document:
    """Build the report of one reader's words on one report of ours.

    Raises:
        Broken: a word is about a finding that the report does not hold, or what was built does
            not read back as it was meant.
    """
    with quiet():
        found = tracked(report)
        known = {one.tracking_uid for one in found}
        if unknown := {word.tracking_uid for word in words} - known - {""}:
            detail = f"{len(unknown)} words are about findings that the report does not hold"
            raise Broken(code="internal", detail=detail)
        source = pydicom.dcmread(BytesIO(report.content))
        research = context.mode == "research"
        content = tree(words, reader.name, source, found, research=research)
        made = _document(content, reader, source, context, former)
        buffer = BytesIO()
        made.save_as(buffer, enforce_file_format=True)
    document = Document(
        KIND, str(Comprehensive3DSRStorage), str(made.SOPInstanceUID), buffer.getvalue()
    )
    check(document, words, report)
    return document


def check(document: Document, words: Sequence[Word], report: Document) -> None:
    """Read the report back; whatever is amiss, it stays here.

    Raises:
        Broken: the document must not leave.
    """
    with quiet():
        try:
            made = srread(BytesIO(document.content))
        except Exception as why:  # noqa: BLE001 - whatever the reader dislikes means the same
            detail = f"Reading a reader's report back gave {type(why).__name__}"
            raise Broken(code="internal", detail=detail) from None
        source = pydicom.dcmread(
            BytesIO(report.content), specific_tags=["PatientID", "StudyInstanceUID"]
        )
        same = made.PatientID == source.PatientID and (
            made.StudyInstanceUID == source.StudyInstanceUID
        )
        _must(same, "another patient or study")
        evidence = {str(instance) for _, _, instance, _ in made.get_evidence()}
        _must(evidence == {report.sop_instance_uid}, "other evidence")
        named = {one.tracking_uid for one in tracked(document)}
        _must(named == {word.tracking_uid for word in words} - {""}, "other findings")


def _must(ok: bool, otherwise: str) -> None:  # noqa: FBT001 - a condition
    if not ok:
        raise Broken(code="internal", detail=f"A reader's report names {otherwise} than it must")


def _document(
    content: ContainerContentItem,
    reader: Reader,
    source: Dataset,
    context: ReportContext,
    former: Predecessor | None,
) -> Comprehensive3DSR:
    at = reader.at
    made = Comprehensive3DSR(
        evidence=[source],
        content=content,
        series_instance_uid=_uid(context, source, reader, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(context, source, reader, f"instance {reader.number}"),
        instance_number=1,
        manufacturer=clean(context.reporting.manufacturer, 64),
        manufacturer_model_name=MODEL_NAME,
        device_serial_number=context.installation,
        software_versions=clean(context.version, 64),
        institution_name=clean(context.reporting.institution_name, 64) or None,
        series_description="Reader's assessment of a triage result",
        is_complete=True,
        is_final=True,
        is_verified=False,
        content_date=at.date(),
        content_time=at.time().replace(microsecond=0),
        coding_schemes=[scheme()],
        requested_procedures=list(source.get("ReferencedRequestSequence", ())) or None,
        previous_versions=_previous(former),
    )
    for keyword in _COPIED:
        if keyword in source:
            made[keyword] = source[keyword]
    made.ContributingEquipmentSequence = [_equipment(context, at)]
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    made.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    replaced = [CodedConcept.from_code(codes.cid7009.ReplacedReport)]
    for study in made.get("PredecessorDocumentsSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                item.PurposeOfReferenceCodeSequence = replaced
    return made


def _equipment(context: ReportContext, at: datetime) -> ContributingEquipment:
    """Give what turned the reader's words into a document (PS3.3 C.12.1.1.5)."""
    item = ContributingEquipment(
        manufacturer=clean(context.reporting.manufacturer, 64),
        purpose_of_reference=codes.cid7005.ProcessingEquipment,
        manufacturer_model_name=MODEL_NAME,
        software_versions=[clean(context.version, 64) or "-"],
        device_serial_number=context.installation,
        contribution_datetime=f"{at:%Y%m%d%H%M%S}",
        contribution_description="Reader's assessment",
    )
    item.DeviceUID = software_uid(context)
    return item


def _previous(former: Predecessor | None) -> list[Dataset] | None:
    if former is None:
        return None
    item = Dataset()
    item.StudyInstanceUID, item.SeriesInstanceUID = (
        former.study_instance_uid, former.series_instance_uid,
    )  # fmt: skip
    item.SOPClassUID, item.SOPInstanceUID = former.sop_class_uid, former.sop_instance_uid
    return [item]


def uid_of(context: ReportContext, report_uid: str, reader: Reader) -> str:
    """Give the UID that the report of these words has, whenever it is built."""
    return _keyed(context, report_uid, reader.name, f"instance {reader.number}")


def _uid(context: ReportContext, source: Dataset, reader: Reader, which: str) -> str:
    return _keyed(context, str(source.SOPInstanceUID), reader.name, which)


def _keyed(context: ReportContext, report_uid: str, reader: str, which: str) -> str:
    """Hash with the site's key, as every UID of ours: nobody can take it first."""
    parts = json.dumps([KIND, report_uid, reader, which]).encode()
    digest = hmac.new(context.site_key, parts, hashlib.sha256).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
