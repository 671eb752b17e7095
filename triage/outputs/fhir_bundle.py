"""The result as a FHIR R4 transaction: DiagnosticReport, Observation, Device and ImagingStudy.

Source:   FHIR 4.0.1, http.html#transaction and #ccreate; UIDs as identifiers, imagingstudy.html.
Status:   preliminary throughout. Software never finalises.
Once:     every entry is created only if its identifier, a DICOM UID, is not there yet
          (ifNoneExist), so sending it again creates nothing. By setting, a report on a later
          content updates the study.
Patient:  by identifier, never created here; the server may know it under another one.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.finding import Assessment, Document
from triage.outputs import fhir_words as words
from triage.outputs.codes import TRIAGE_RESULT, modality
from triage.outputs.context import ReportContext, uid
from triage.outputs.fhir_words import Json
from triage.outputs.plain_text import lines
from triage.outputs.statements import DIFFERS, Device, Told, hold_back, speaker, tell
from triage.outputs.structured_report import warm

__all__ = ["KIND", "build", "check", "said_in", "warm"]

KIND: Final = "fhir_bundle"
_RADIOLOGY: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
_IMAGING: Final = {
    "system": "http://terminology.hl7.org/CodeSystem/observation-category",
    "code": "imaging",
    "display": "Imaging",
}
_REPLACES: Final = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
_WITH_STATUS: Final = ("DiagnosticReport", "Observation")


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the bundle of one assessment: same input, same identifiers, same bytes.

    Raises:
        Held, Broken, TryAgain: as the structured report's ``build``.
    """
    resources = _resources(assessment, context, tell(assessment, context))
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(one, context) for one in resources],
    }
    return Document(
        kind=KIND,
        sop_class_uid="",
        sop_instance_uid=uid(context, assessment, KIND, "instance"),
        content=json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the bundle back and hold it against the structured report's tree.

    Raises:
        Broken: it must not leave. The detail says why.
    """
    told = tell(assessment, context)
    bundle = json.loads(document.content)
    entries = bundle["entry"]
    resources = [entry["resource"] for entry in entries]
    reports = [one["identifier"] for one in resources if one["resourceType"] == "DiagnosticReport"]
    states = {one["status"] for one in resources if one["resourceType"] in _WITH_STATUS}
    patients = {one["subject"]["identifier"]["value"] for one in resources if "subject" in one}
    wanted = [[words.plain(one) for one in group.statements] for group in told.said.groups]
    problems = {
        DIFFERS: said_in(bundle) != wanted,
        "it is not preliminary": states != {"preliminary"},
        "its report is another one": reports != [[words.dicom_uid(told.report_uid)]],
        "it is about another patient": patients != {words.patient_id(told.source.header)},
        "it could be created twice": not all(_once(one["request"]) for one in entries),
        "a reference leads nowhere": not _references(resources) <= {e["fullUrl"] for e in entries},
    }
    hold_back("bundle", problems)


def said_in(bundle: Json) -> list[list[tuple[str, str, str]]]:
    """Read the statements back: a list an Observation, of (code, system, value)."""
    return [
        [words.said(part) for part in entry["resource"]["component"]]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "Observation"
    ]


def _resources(assessment: Assessment, context: ReportContext, told: Told) -> Iterator[Json]:
    header = told.source.header
    about: Json = {"subject": words.patient(header)}
    if when := words.study_time(header):
        about["effectiveDateTime"] = when
    about["issued"] = words.instant(context.now)
    devices = {device: _device(device, told, context) for device in told.said.devices}
    study = _imaging_study(assessment, told)
    observations = []
    for group in told.said.groups:
        own = group.tracking_uid or uid(context, assessment, KIND, group.name.value)
        device = speaker(group, told.said)
        observations.append(
            {
                "resourceType": "Observation",
                "identifier": [words.dicom_uid(own)],
                "status": "preliminary",
                "category": [{"coding": [_IMAGING]}],
                "code": words.concept(group.name),
                **about,
                **({"device": _reference(devices[device])} if device else {}),
                "derivedFrom": [_reference(study)],
                "component": [words.component(one) for one in group.statements],
            }
        )
    yield from devices.values()
    yield study
    yield from observations
    yield {**_report(told, context, study, observations), **about}


def _report(told: Told, context: ReportContext, study: Json, observations: Sequence[Json]) -> Json:
    report: Json = {
        "resourceType": "DiagnosticReport",
        "text": words.narrative(lines(told.said)),
        "identifier": [words.dicom_uid(told.report_uid)],
        "status": "preliminary",
        "category": [{"coding": [_RADIOLOGY]}],
        "code": words.concept(told.said.title),
        "result": [_reference(one) for one in observations],
        "imagingStudy": [_reference(study)],
    }
    result = told.said.study.value(TRIAGE_RESULT)
    if isinstance(result, Code):
        report["conclusionCode"] = [words.concept(result)]
    if orders := words.orders(told.source.header):
        report["basedOn"] = orders
    if context.replaced_uid not in {"", told.report_uid}:
        replaced = {"identifier": words.dicom_uid(context.replaced_uid)}
        report["extension"] = [{"url": _REPLACES, "valueReference": replaced}]
    return report


def _device(device: Device, told: Told, context: ReportContext) -> Json:
    """One set of weights and thresholds, or the software where none spoke."""
    groups = [group for group in told.said.groups if speaker(group, told.said) is device]
    versions = [group.value(codes.DCM.AlgorithmVersion) for group in groups]
    version = next((one for one in versions if one), context.version)
    return {
        "resourceType": "Device",
        "identifier": [words.dicom_uid(device.uid)],
        "manufacturer": device.manufacturer or "-",
        "deviceName": [
            {"name": device.name, "type": "user-friendly-name"},
            {"name": device.model, "type": "model-name"},
        ],
        "version": [{"value": str(version)}],
    }


def _imaging_study(assessment: Assessment, told: Told) -> Json:
    """The study as it is now. A server that has it keeps its own, unless the site wants it updated.

    Where the PACS feeds the same server, its own account of the study is the better one.
    """
    series = [
        {"uid": one.series_instance_uid, "modality": words.coding(modality(one.modality))}
        for one in assessment.study.series
    ]
    study: Json = {
        "resourceType": "ImagingStudy",
        "identifier": [words.dicom_uid(assessment.study.ref.study_instance_uid)],
        "status": "available",
        "subject": words.patient(told.source.header),
        "procedureCode": [words.concept(told.said.procedure)],
    }
    if when := words.study_time(told.source.header):
        study["started"] = when
    return {**study, "series": series} if series else study


def _entry(resource: Json, context: ReportContext) -> Json:
    identifier = resource["identifier"][0]
    kind = resource["resourceType"]
    query = f"identifier={identifier['system']}|{identifier['value']}"
    request: Json = {"method": "POST", "url": kind, "ifNoneExist": query}
    if kind == "ImagingStudy" and context.reporting.fhir_updates_study and context.replaced_uid:
        request = {"method": "PUT", "url": f"{kind}?{query}"}
    return {"fullUrl": _full_url(resource), "resource": resource, "request": request}


def _once(request: Json) -> bool:
    """Tell whether sending it again creates nothing."""
    return bool(request.get("ifNoneExist")) or "?identifier=" in request["url"]


def _full_url(resource: Json) -> str:
    name = f"{resource['resourceType']} {resource['identifier'][0]['value']}"
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


def _reference(resource: Json) -> Json:
    return {"reference": _full_url(resource)}


def _references(part: object) -> set[str]:
    """Give every literal reference within a resource."""
    if isinstance(part, dict):
        own = {str(part["reference"])} if "reference" in part else set()
        return own.union(*map(_references, part.values()))
    if isinstance(part, list):
        return set[str]().union(*map(_references, part))
    return set()
