"""FHIR R4 data types written from DICOM values: identifiers, codes, numbers, times, narrative."""

import html
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from triage.outputs.statements import Statement

Json = dict[str, Any]

DICOM_UID: Final = "urn:dicom:uid"
SYSTEMS: Final = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    "UMLS": "http://www.nlm.nih.gov/research/umls",
    "RADLEX": "http://radlex.org",
    "99TRIAGE": "urn:oid:2.25.146129590594670031837449483123438799569",
}
"""PS3.16 Table 8-1, and a UUID for our own scheme, once and for all."""
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_DATE: Final = re.compile(r"(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)?(\.\d+)?")
_OFFSET: Final = re.compile(r"([+-])(\d{2})(\d{2})")


def dicom_uid(uid: str) -> Json:
    """Give Identifier of anything that DICOM names by a UID."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def coding(code: Code) -> Json:
    """Give Coding; a scheme without a known URI stands as the text beside the code."""
    system = SYSTEMS.get(code.scheme_designator)
    given = {"system": system} if system else {}
    return {**given, "code": code.value, "display": code.meaning}


def concept(code: Code) -> Json:
    """Give CodeableConcept."""
    return {"coding": [coding(code)], "text": code.meaning}


def component(statement: Statement) -> Json:
    """Give Observation.component of one statement."""
    value = statement.value
    given: Json
    if isinstance(value, Code):
        given = {"valueCodeableConcept": concept(value)}
    elif isinstance(value, float):
        unit = statement.unit
        units = (
            {"unit": unit.meaning, "system": SYSTEMS["UCUM"], "code": unit.value} if unit else {}
        )
        given = {"valueQuantity": {"value": value, **units}}
    else:
        given = {"valueString": value}
    return {"code": concept(statement.name), **given}


def said(part: Json) -> tuple[str, str, str]:
    """Read a component back: code, system, and the value as ``plain`` gives it."""
    name = part["code"]["coding"][0]
    if "valueCodeableConcept" in part:
        value = part["valueCodeableConcept"]["coding"][0]["code"]
    elif "valueQuantity" in part:
        value = repr(float(part["valueQuantity"]["value"]))
    else:
        value = part["valueString"]
    return name["code"], name.get("system", ""), value


def plain(statement: Statement) -> tuple[str, str, str]:
    """Give what ``said`` must find of a statement."""
    name, value = statement.name, statement.value
    text = value.value if isinstance(value, Code) else value
    words = repr(text) if isinstance(text, float) else text
    return name.value, SYSTEMS.get(name.scheme_designator, ""), words


def patient(header: Dataset) -> Json:
    """Give Reference to the patient, by identifier and issuer as the images have them."""
    qualifiers = next(iter(header.get("IssuerOfPatientIDQualifiersSequence", ())), Dataset())
    identifier: Json = {"type": {"coding": [{"system": _TYPES, "code": "PI"}]}}
    if qualifiers.get("UniversalEntityIDType") == "ISO" and qualifiers.get("UniversalEntityID"):
        identifier["system"] = f"urn:oid:{qualifiers.UniversalEntityID}"
    identifier["value"] = patient_id(header)
    if issuer := str(header.get("IssuerOfPatientID") or ""):
        identifier["assigner"] = {"display": issuer}
    return {"type": "Patient", "identifier": identifier}


def patient_id(header: Dataset) -> str:
    """Give Patient ID; FHIR knows no empty text."""
    return str(header.get("PatientID") or "") or "-"


def orders(header: Dataset) -> list[Json]:
    """Give References to the requests that the study answers, by accession or placer number."""
    references = []
    for order in header.ReferencedRequestSequence or [header]:
        for keyword, kind in (
            ("AccessionNumber", "ACSN"),
            ("PlacerOrderNumberImagingServiceRequest", "PLAC"),
        ):
            if value := str(order.get(keyword) or ""):
                of_kind = {"coding": [{"system": _TYPES, "code": kind}]}
                identifier = {"type": of_kind, "value": value}
                references.append({"type": "ServiceRequest", "identifier": identifier})
                break
    return references


def study_time(header: Dataset) -> str:
    """Give dateTime of the study; the time of day only with its zone, as FHIR wants; "" if none."""
    date = _DATE.fullmatch(str(header.get("StudyDate") or ""))
    if date is None:
        return ""
    day = "-".join(date.groups())
    clock = _CLOCK.fullmatch(str(header.get("StudyTime") or ""))
    offset = _OFFSET.fullmatch(str(header.get("TimezoneOffsetFromUTC") or ""))
    if clock is None or offset is None:
        return day
    return f"{day}T{clock[1]}:{clock[2]}:{clock[3] or '00'}{offset[1]}{offset[2]}:{offset[3]}"


def instant(at: datetime) -> str:
    """Give instant of an aware time."""
    return at.isoformat(timespec="seconds")


def narrative(lines: Iterable[str]) -> Json:
    """Give Narrative: the plain text in paragraphs, for a reader whose program knows no codes."""
    paragraphs = "".join(f"<p>{html.escape(line, quote=False)}</p>" for line in lines)
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'
    return {"status": "generated", "div": div}
