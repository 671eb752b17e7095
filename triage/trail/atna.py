"""Audit messages as XML (PS3.15 A.5.1), as an Audit Record Repository takes them."""

import base64
import re
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from triage.trail.message import Message, Participant, Thing

DCM, RFC3881 = "DCM", "RFC-3881"
APPLICATION_SERVER: Final = "4"
"""AuditSourceTypeCode (PS3.15 A.5.2.3)."""
UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold."""


def xml(message: Message) -> bytes:
    """Give the message in UTF-8, without a declaration, as RFC 5424's MSG wants it."""
    root = Element("AuditMessage")
    event = SubElement(
        root, "EventIdentification",
        EventActionCode=message.action,
        EventDateTime=message.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=str(message.outcome),
    )  # fmt: skip
    _coded(event, "EventID", message.event, DCM)
    if message.event_type:
        _coded(event, "EventTypeCode", message.event_type, DCM)
    for participant in message.participants:
        _participant(root, participant)
    source = SubElement(root, "AuditSourceIdentification", AuditSourceID=_clean(message.source_id))
    if message.site_id:
        source.set("AuditEnterpriseSiteID", _clean(message.site_id))
    SubElement(source, "AuditSourceTypeCode", {"csd-code": APPLICATION_SERVER})
    for thing in message.things:
        _thing(root, thing)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=False))


def _participant(root: Element, one: Participant) -> None:
    found = SubElement(
        root, "ActiveParticipant",
        UserID=_clean(one.user_id), UserIsRequestor=str(one.is_requestor).lower(),
    )  # fmt: skip
    if one.ae_title:
        found.set("AlternativeUserID", _clean(f"AETITLES={one.ae_title}"))
    if one.network:
        found.set("NetworkAccessPointID", _clean(one.network[0]))
        found.set("NetworkAccessPointTypeCode", str(one.network[1]))
    if one.role:
        _coded(found, "RoleIDCode", one.role, DCM)


def _thing(root: Element, one: Thing) -> None:
    found = SubElement(
        root, "ParticipantObjectIdentification",
        ParticipantObjectID=_clean(one.id),
        ParticipantObjectTypeCode=str(one.type), ParticipantObjectTypeCodeRole=str(one.role),
    )  # fmt: skip
    system = DCM if len(one.id_type[0]) > 2 else RFC3881
    _coded(found, "ParticipantObjectIDTypeCode", one.id_type, system)
    SubElement(found, "ParticipantObjectName").text = _clean(one.name or one.id)
    for name, value in one.details.items():
        encoded = base64.b64encode(value.encode()).decode()
        SubElement(found, "ParticipantObjectDetail", type=_clean(name), value=encoded)


def _coded(parent: Element, name: str, coded: tuple[str, str], system: str) -> None:
    value, meaning = coded
    SubElement(
        parent, name,
        {"csd-code": value, "codeSystemName": system, "originalText": meaning},
    )  # fmt: skip


def _clean(text: str) -> str:
    return UNPRINTABLE.sub("\ufffd", text)
