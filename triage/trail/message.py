"""One audit row as an audit message: who did what to what (PS3.15 A.5.2)."""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from db.audit import Event
from triage.trail import codes

PERSON, SYSTEM = 1, 2
"""ParticipantObjectTypeCode."""
PATIENT, REPORT, SECURITY_USER, SECURITY_RESOURCE, QUERY = 1, 3, 11, 13, 24
"""ParticipantObjectTypeCodeRole."""
MACHINE_NAME, IP_ADDRESS = 1, 2
"""NetworkAccessPointTypeCode."""
SENT: Final = ("report.", "commitment.", "rejection-note.", "feedback.")
"""Words of what we transfer to others; every other transfer came to us."""
NODES: Final = ("association", "node", "connection")
"""Objects that are nodes of the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """ActiveParticipant."""

    user_id: str
    is_requestor: bool
    role: tuple[str, str] | None = None
    ae_title: str = ""
    network: tuple[str, int] | None = None
    """NetworkAccessPointID and its type code."""
    own_role: str = ""
    """A person's role here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """ParticipantObjectIdentification."""

    id: str
    id_type: tuple[str, str]
    type: int
    role: int
    name: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """AuditMessage, before it is XML or FHIR."""

    event: tuple[str, str]
    kind: str
    event_type: tuple[str, str] | None
    action: str
    at: datetime
    outcome: int
    participants: tuple[Participant, ...]
    source_id: str
    site_id: str
    things: tuple[Thing, ...]


def message(row: Mapping[str, Any], *, source_id: str, site_id: str = "") -> Message:
    """Give a row of the audit table in the standard's terms.

    ``row`` has the table's columns and, where the object is a study that we have, ``patient_id``;
    with ``seq`` and ``row_hash`` the seal goes along, so that whoever keeps the messages can tell
    a rewritten trail.
    """
    at = row["at"]
    return Message(
        event=(row["event_id"], codes.EVENTS.get(row["event_id"], row["event_id"])),
        kind=row["event_type"],
        event_type=codes.event_type(row["event_type"]),
        action=row["action"],
        at=at if at.tzinfo else at.replace(tzinfo=UTC),
        outcome=row["outcome"],
        participants=_participants(row, source_id),
        source_id=source_id,
        site_id=site_id,
        things=tuple(_things(row)),
    )


def _participants(row: Mapping[str, Any], source_id: str) -> tuple[Participant, ...]:
    peer_network = _network(row["network_address"])
    if row["event_id"] == Event.INSTANCES_TRANSFERRED:
        is_sent = row["event_type"].startswith(SENT)
        ours, theirs = codes.SOURCE, codes.DESTINATION
        if not is_sent:
            ours, theirs = theirs, ours
        us = Participant(user_id=source_id, is_requestor=is_sent, role=ours)
        name = row["ae_title"] or row["network_address"] or "unknown"
        peer = Participant(
            user_id=name, is_requestor=not is_sent, role=theirs, ae_title=row["ae_title"],
            network=peer_network,
        )  # fmt: skip
        return (us, peer) if is_sent else (peer, us)
    actor = Participant(
        user_id=row["actor"] or "unknown", is_requestor=True, ae_title=row["ae_title"],
        network=peer_network, own_role=row["actor_role"],
    )  # fmt: skip
    return actor, Participant(user_id=source_id, is_requestor=False, role=codes.APPLICATION)


def _things(row: Mapping[str, Any]) -> list[Thing]:
    kind, name = row["object_type"], row["object_id"]
    if kind == "study" and name:
        patient = row.get("patient_id")
        study = Thing(
            id=name, id_type=codes.STUDY_UID, type=SYSTEM, role=REPORT, details=_details(row)
        )
        who = Thing(id=patient or "", id_type=codes.PATIENT_NUMBER, type=PERSON, role=PATIENT)
        return [study, who] if patient else [study]
    return [_other(row, kind, name)]


def _other(row: Mapping[str, Any], kind: str, name: str) -> Thing:
    details = _details(row)
    if kind == "user":
        return Thing(
            id=name or "unknown", id_type=codes.USER_IDENTIFIER, type=PERSON, role=SECURITY_USER,
            details=details,
        )  # fmt: skip
    if kind == "audit":
        return Thing(
            id="urn:triage:audit", id_type=codes.URI, type=SYSTEM, role=SECURITY_RESOURCE,
            name="Security Audit Log", details=details,
        )  # fmt: skip
    if kind in NODES or (not kind and row["ae_title"]):
        node = name or row["ae_title"] or row["network_address"] or "unknown"
        return Thing(
            id=node, id_type=codes.NODE_ID, type=SYSTEM, role=SECURITY_RESOURCE, details=details
        )
    role = QUERY if row["event_id"] == Event.QUERY else SECURITY_RESOURCE
    what = f"urn:triage:{kind or 'event'}:{name or row['id']}"
    return Thing(id=what, id_type=codes.URI, type=SYSTEM, role=role, details=details)


def _details(row: Mapping[str, Any]) -> dict[str, str]:
    """Give the row's own codes and counts, its number, and its seal where it has one."""
    found = json.loads(row["detail"] or "{}")
    said = {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in sorted(found.items())
    }
    said |= {"event": row["event_type"], "audit id": str(row["id"])}
    if row.get("seq") is not None:
        said |= {"seal": str(row["seq"]), "seal sha256": row["row_hash"]}
    return said


def _network(address: str) -> tuple[str, int] | None:
    if not address:
        return None
    host = address.rsplit(":", 1)[0] if address.count(":") == 1 else address
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return address, MACHINE_NAME
    return host, IP_ADDRESS
