"""The result as HL7 v2.5.1 ORU^R01: preliminary, one OBX a statement of the structured report.

Source:   HL7 v2.5.1 chapters 2 (control), 3 (PID), 4 (ORC, OBR) and 7 (ORU, OBX).
Status:   ORC-5 IP, OBR-25 and OBX-11 P. Software never finalises.
Orders:   one ORC, OBR and set of OBX for each request the study answers; one without any.
Not said: OBX-8, because a study that is not prioritised was not read as anything; and the
          algorithm's parameters, which the structured report named in OBX 126000 keeps.
"""

import base64
import hashlib
from collections.abc import Iterator
from typing import Final

import hl7
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from triage.errors import Broken
from triage.finding import Assessment, Document
from triage.outputs import hl7_words as words
from triage.outputs.context import MODEL_NAME, ReportContext, uid
from triage.outputs.statements import (
    DIFFERS,
    Device,
    Group,
    Statement,
    Told,
    hold_back,
    speaker,
    tell,
)
from triage.outputs.structured_report import warm

__all__ = ["KIND", "build", "check", "control_id", "said_in", "warm"]

KIND: Final = "hl7_oru"
VERSION: Final = "2.5.1"
CONTROL_ID_LENGTH: Final = 20
"""MSH-10."""
_STUDY_UID: Final = Code("110180", "DCM", "Study Instance UID")
_SECTION: Final = "RAD"
"""Table 0074."""
_PRELIMINARY: Final = "P"
_ENGLISH: Final = "en^^ISO639"


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the message of one assessment: same input, same control id, same bytes.

    Raises:
        Held, Broken, TryAgain: as the structured report's ``build``.
    """
    own = uid(context, assessment, KIND, "instance")
    told = tell(assessment, context)
    segments = [_msh(own, context), _pid(told.source.header), *_orders(assessment, context, told)]
    content = str(hl7.Message("\r", [_segment(fields) for fields in segments])).encode()
    return Document(kind=KIND, sop_class_uid="", sop_instance_uid=own, content=content)


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Parse the message and hold it against the structured report's tree.

    Raises:
        Broken: it must not leave. The detail says why.
    """
    told = tell(assessment, context)
    try:
        message = hl7.parse(document.content)
        orders = said_in(message)
        header = message.segment("MSH")
        same = str(header(10)) == control_id(document.sop_instance_uid)
        patient = message.unescape(str(message.extract_field("PID", 1, 3, 1, 1)))
        states = {str(one(25)) for one in message.segments("OBR")}
    except (hl7.HL7Exception, LookupError, ValueError) as why:
        detail = f"The message may not leave: reading it back gave {type(why).__name__}"
        raise Broken(code="internal", detail=detail) from None
    wanted = [_written(group) for group in told.said.groups]
    problems = {
        "its control id is not the document's": not same,
        "PID-3 is not the study's patient": patient != words.plain(told.source.header.PatientID),
        "OBR-25 is not P": states != {_PRELIMINARY},
        DIFFERS: any(one != wanted for one in orders) or not orders,
    }
    hold_back("message", problems)


def control_id(document_uid: str) -> str:
    """Give MSH-10: 100 bits of the document's UID, the same whenever it is sent again."""
    digest = hashlib.sha256(document_uid.encode()).digest()
    return base64.b32encode(digest).decode()[:CONTROL_ID_LENGTH]


def said_in(message: hl7.Message) -> list[list[list[tuple[str, str, str]]]]:
    """Read the statements back: an order, its groups, and of each (code, scheme, value)."""
    orders: list[dict[str, list[tuple[str, str, str]]]] = []
    for segment in message:
        if str(segment[0]) == "OBR":
            orders.append({})
        elif str(segment[0]) == "OBX" and str(segment(4)):
            name = str(segment(3)).split("^")
            value = message.unescape(str(segment(5)).split("^")[0])
            said = (message.unescape(name[0]), message.unescape(name[2]), value)
            orders[-1].setdefault(str(segment(4)), []).append(said)
    return [list(order.values()) for order in orders]


def _written(group: Group) -> list[tuple[str, str, str]]:
    """Give what ``said_in`` must find of a group."""
    return [
        (
            one.name.value,
            words.coded(one.name).split("^")[2],
            one.value.value
            if isinstance(one.value, Code)
            else words.number(one.value)
            if isinstance(one.value, float)
            else words.plain(one.value),
        )
        for one in _spoken(group)
    ]


def _segment(fields: list[str]) -> hl7.Segment:
    """Give a segment without empty fields at its end."""
    while not fields[-1]:
        fields = fields[:-1]
    return hl7.Segment("|", [hl7.Field("~", [one]) for one in fields])


def _msh(own: str, context: ReportContext) -> list[str]:
    """MSH. Who receives it, MSH-5 and MSH-6, is the destination's and is set when it is sent."""
    return [
        "MSH", words.SEPARATOR, words.ENCODING,
        words.text(MODEL_NAME.upper()), words.text(context.reporting.institution_name), "", "",
        words.moment(context.now), "", "ORU^R01^ORU_R01", control_id(own),
        "P" if context.mode == "triage" else "T", VERSION,
        "", "", "", "", "", words.CHARACTER_SET, _ENGLISH,
    ]  # fmt: skip


def _pid(header: Dataset) -> list[str]:
    return [
        "PID", "1", "", words.patient_id(header), "", words.person(header.get("PatientName") or ""),
        "", words.birth_date(header), words.sex(header),
    ]  # fmt: skip


def _orders(assessment: Assessment, context: ReportContext, told: Told) -> Iterator[list[str]]:
    for number, order in enumerate(told.source.header.ReferencedRequestSequence or [Dataset()], 1):
        placer = words.text(order.get("PlacerOrderNumberImagingServiceRequest") or "")
        accession = order.get("AccessionNumber") or told.source.header.get("AccessionNumber")
        filler = words.text(
            order.get("FillerOrderNumberImagingServiceRequest") or accession or ""
        ) or words.oid(assessment.study.ref.study_instance_uid)
        yield ["ORC", "RE", placer, filler, "", "IP"]
        yield [
            "OBR", str(number), placer, filler, words.coded(told.said.procedure), "", "",
            words.study_moment(told.source.header), *[""] * 10,
            words.text(accession or ""), words.text(order.get("RequestedProcedureID") or ""),
            "", "", words.moment(context.now), "", _SECTION, _PRELIMINARY,
        ]  # fmt: skip
        yield from _observations(assessment, context, told)


def _observations(
    assessment: Assessment, context: ReportContext, told: Told
) -> Iterator[list[str]]:
    """Give the OBX of one order: the statements, in groups by OBX-4, then two references."""
    number = 0
    for sub_id, group in enumerate(told.said.groups, 1):
        device = speaker(group, told.said)
        for statement in _spoken(group):
            number += 1
            yield _obx(number, str(sub_id), statement, context, device)
    for name, value in (
        (_STUDY_UID, assessment.study.ref.study_instance_uid),
        (told.said.title, told.report_uid),
    ):
        number += 1
        yield _obx(number, "", Statement(name, value), context, None)


def _spoken(group: Group) -> list[Statement]:
    return [one for one in group.statements if not one.is_detail]


def _obx(
    number: int, sub_id: str, statement: Statement, context: ReportContext, device: Device | None
) -> list[str]:
    value, unit = statement.value, statement.unit
    if isinstance(value, Code):
        kind, field = "CWE", words.coded(value)
    elif isinstance(value, float):
        kind, field = "NM", words.number(value)
    else:
        kind, field = "TX", words.text(value)
    equipment = words.oid(device.uid, device.name) if device else ""
    return [
        "OBX", str(number), kind, words.coded(statement.name), sub_id, field,
        words.coded(unit) if unit else "", "", "", "", "", _PRELIMINARY, "", "",
        words.moment(context.now), "", "", "", equipment,
    ]  # fmt: skip
