"""Audit rows as DICOM audit messages and as FHIR AuditEvent."""

import base64
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given
from hypothesis import strategies as st

from db.audit import Event
from tests.triage.trail.schema import valid
from triage.trail import atna, balp
from triage.trail.message import message


class Root:
    """A valid message; what is asked for is there."""

    def __init__(self, content: bytes) -> None:
        self.root = valid(content)

    def all(self, path: str) -> list[Element]:
        return self.root.findall(path)

    def one(self, path: str) -> Element:
        found = self.root.find(path)
        assert found is not None
        return found


WORDS = [
    "", "instance.received", "report.sent", "login.refused", "logout.done", "user.created",
    "association.refused", "break-glass.opened", "dicomweb.denied", "audit.used", "study.failed",
]  # fmt: skip


def code(of: Element, child: str, name: str = "csd-code") -> str | None:
    found = of.find(child)
    assert found is not None
    return found.get(name)


def row(**changes: object) -> dict[str, Any]:
    plain = {
        "id": 7, "at": datetime(2026, 1, 2, 3, 4, 5, 678900, UTC), "event_id": "110103",
        "event_type": "study.opened", "action": "R", "outcome": 0, "actor": "ada",
        "actor_role": "radiologist", "ae_title": "", "network_address": "10.0.0.9",
        "object_type": "study", "object_id": "1.2.3", "detail": '{"images": 3, "how": "page"}',
        "event_uid": None, "seq": 5, "row_hash": "a" * 64, "patient_id": "P1",
    }  # fmt: skip
    return plain | changes


def xml(**changes: object) -> Root:
    return Root(atna.xml(message(row(**changes), source_id="triage", site_id="Mercy")))


def fhir(**changes: object) -> dict[str, Any]:
    found = balp.resource(message(row(**changes), source_id="triage", site_id="Mercy"))
    AuditEvent.model_validate(found)
    return found


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("of", ["", "study", "user", "audit", "association", "destination"])
def test_every_row_becomes_a_valid_message_in_both_forms(event: Event, of: str) -> None:
    for kind in WORDS:
        changes = {"event_id": event.value, "event_type": kind, "object_type": of, "ae_title": "C"}
        assert code(xml(**changes).one("EventIdentification"), "EventID") == event
        assert fhir(**changes)["type"]["code"] == event


def test_a_study_opened_names_reader_study_and_patient() -> None:
    root = xml()
    asker, us = root.all("ActiveParticipant")
    assert (asker.get("UserID"), asker.get("UserIsRequestor")) == ("ada", "true")
    assert (asker.get("NetworkAccessPointID"), asker.get("NetworkAccessPointTypeCode")) == (
        "10.0.0.9", "2",
    )  # fmt: skip
    assert code(us, "RoleIDCode", "csd-code") == "110150"
    study, patient = root.all("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert code(study, "ParticipantObjectIDTypeCode", "csd-code") == "110180"
    assert patient.get("ParticipantObjectID") == "P1"
    assert code(patient, "ParticipantObjectIDTypeCode", "codeSystemName") == "RFC-3881"
    source = root.one("AuditSourceIdentification")
    assert (source.get("AuditSourceID"), source.get("AuditEnterpriseSiteID")) == ("triage", "Mercy")
    assert root.one("EventIdentification").get("EventDateTime") == "2026-01-02T03:04:05.678+00:00"


def test_the_row_and_its_seal_go_along() -> None:
    study = xml().one("ParticipantObjectIdentification")
    details = {
        one.get("type"): base64.b64decode(one.attrib["value"]).decode()
        for one in study.findall("ParticipantObjectDetail")
    }
    assert details == {
        "audit id": "7", "event": "study.opened", "how": "page", "images": "3", "seal": "5",
        "seal sha256": "a" * 64,
    }  # fmt: skip
    assert "patient_id" not in details


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [("instance.received", "CT1", "triage"), ("report.sent", "triage", "CT1")],
)
def test_a_transfer_goes_from_its_source_who_asks_for_it(
    kind: str, first: str, second: str
) -> None:
    root = xml(event_id="110104", event_type=kind, ae_title="CT1", actor="ingest")
    source, destination = root.all("ActiveParticipant")
    assert (source.get("UserID"), source.get("UserIsRequestor")) == (first, "true")
    assert code(source, "RoleIDCode", "csd-code") == "110153"
    assert (destination.get("UserID"), destination.get("UserIsRequestor")) == (second, "false")
    assert code(destination, "RoleIDCode", "csd-code") == "110152"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("login.refused", "110122"), ("logout", "110123"), ("association.refused", "110126"),
        ("user.created", "110137"), ("token.made", "110129"), ("loginx", None), ("score", None),
    ],
)  # fmt: skip
def test_the_type_is_dicoms_where_dicom_has_one(kind: str, code: str | None) -> None:
    found = xml(event_type=kind).all("EventIdentification/EventTypeCode")
    assert [one.get("csd-code") for one in found] == ([code] if code else [])


def test_fhir_says_the_same() -> None:
    found = fhir(outcome=8, ae_title="CT1")
    assert (found["action"], found["outcome"]) == ("R", "8")
    assert [one["requestor"] for one in found["agent"]] == [True, False]
    assert found["agent"][0]["network"] == {"address": "10.0.0.9", "type": "2"}
    assert found["agent"][0]["altId"] == "CT1"
    assert [one["what"]["identifier"]["value"] for one in found["entity"]] == ["1.2.3", "P1"]


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_a_message(actor: str, what: str, address: str) -> None:
    changes = {"actor": actor, "object_id": what, "network_address": address, "patient_id": what}
    xml(**changes)
    balp.resource(message(row(**changes), source_id="triage"))
