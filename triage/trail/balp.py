"""Audit messages as FHIR R4 AuditEvent, in the shape of IHE's Basic Audit Log Patterns (BALP 1.1).

BALP's profiles are about RESTful operations that succeeded, so only a retrieval by DICOMweb claims
one. A search claims none: its profile wants the search itself, and the trail holds no value that
somebody searched for. Everything else keeps the DICOM code of its event as its type.
"""

import base64
import socket
from typing import Any, Final

from triage.trail.codes import DESTINATION, SOURCE, STUDY_UID
from triage.trail.message import MACHINE_NAME, PATIENT, Message, Participant, Thing

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
OBJECT_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
OBJECT_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
SOURCE_TYPE: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"
EVENT_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
PROFILE: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
RETRIEVED: Final = "dicomweb.retrieve"


def resource(message: Message) -> dict[str, Any]:
    """Give the AuditEvent as JSON's plain values."""
    found = _plain(message)
    return _read(message, found) if _is_read(message) else found


def _is_read(message: Message) -> bool:
    """Tell whether somebody read something over HTTP, and all that the profile asks is known."""
    asker, things = message.participants[0], message.things
    was_found = things[0].details.get("outcome") == "found"
    of_study = things[0].id_type == STUDY_UID
    is_success = message.kind == RETRIEVED and message.outcome == 0 and message.action == "R"
    return is_success and was_found and of_study and asker.network is not None


def _read(message: Message, plain: dict[str, Any]) -> dict[str, Any]:
    """Give it as BALP's PatientRead, or Read where we do not know the patient.

    Client and server are told apart from the person or program that is the user: the bytes go from
    our host, the source, to the address that asked, the destination.
    """
    asker, us = message.participants
    user = {name: value for name, value in _agent(asker).items() if name != "network"}
    address, kind = asker.network or ("", 0)
    profile = "PatientRead" if any(one.role == PATIENT for one in message.things) else "Read"
    return plain | {
        "meta": {"profile": [PROFILE + profile]},
        "type": _coding(EVENT_TYPE, "rest", "Restful Operation"),
        "subtype": [_coding(INTERACTION, "read", "read"), _coding(DCM, *message.event)],
        "agent": [
            _machine(DESTINATION, address, (address, kind)),
            _machine(SOURCE, us.user_id, (socket.gethostname(), MACHINE_NAME)),
            user | {"type": {"coding": [_coding(PARTICIPATION, "IRCP", "information recipient")]}},
        ],
    }


def _machine(role: tuple[str, str], name: str, network: tuple[str, int]) -> dict[str, Any]:
    return _agent(Participant(user_id=name, is_requestor=False, role=role, network=network))


def _plain(message: Message) -> dict[str, Any]:
    """Give it with the DICOM code of its event as its type; it claims no profile."""
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
