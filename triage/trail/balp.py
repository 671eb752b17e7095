"""Audit messages as FHIR R4 AuditEvent, in the shape of IHE's Basic Audit Log Patterns."""

import base64
from typing import Any, Final

from triage.trail.message import PATIENT, Message, Participant, Thing

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
OBJECT_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
OBJECT_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
SOURCE_TYPE: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"


def resource(message: Message) -> dict[str, Any]:
    """Give the AuditEvent as JSON's plain values."""
    found: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": _coding(DCM, *message.event),
        "action": message.action,
        "recorded": message.at.isoformat(timespec="milliseconds"),
        "outcome": str(message.outcome),
        "agent": [_agent(one) for one in message.participants],
        "source": {
            "observer": {"display": message.source_id},
            "type": [_coding(SOURCE_TYPE, "4", "Application Server")],
        },
        "entity": [_entity(one) for one in message.things],
    }
    if message.event_type:
        found["subtype"] = [_coding(DCM, *message.event_type)]
    if message.site_id:
        found["source"]["site"] = message.site_id
    return found


def _agent(one: Participant) -> dict[str, Any]:
    found: dict[str, Any] = {
        "who": {"identifier": {"value": one.user_id}, "display": one.user_id},
        "requestor": one.is_requestor,
    }
    if one.role:
        found["type"] = {"coding": [_coding(DCM, *one.role)]}
    if one.own_role:
        found["role"] = [{"text": one.own_role}]
    if one.ae_title:
        found["altId"] = one.ae_title
    if one.network:
        address, kind = one.network
        found["network"] = {"address": address, "type": str(kind)}
    return found


def _entity(one: Thing) -> dict[str, Any]:
    what: dict[str, Any] = {"identifier": {"value": one.id}}
    if one.role == PATIENT:
        what["type"] = "Patient"
    found: dict[str, Any] = {
        "what": what,
        "type": _coding(OBJECT_TYPE, str(one.type)),
        "role": _coding(OBJECT_ROLE, str(one.role)),
    }
    if one.name:
        found["name"] = one.name
    if one.details:
        found["detail"] = [
            {"type": name, "valueBase64Binary": base64.b64encode(value.encode()).decode()}
            for name, value in one.details.items()
        ]
    return found


def _coding(system: str, code: str, display: str = "") -> dict[str, str]:
    found = {"system": system, "code": code}
    return found | {"display": display} if display else found
