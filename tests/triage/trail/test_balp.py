"""What IHE's Basic Audit Log Patterns ask of a read, held against what a retrieval becomes."""

from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from tests.triage.trail.test_messages import row
from triage.trail import balp
from triage.trail.message import message

CLIENT, SERVER, USER = "110152", "110153", "IRCP"
"""Types of BALP's agents in a read: destination, source, information recipient."""
PROFILES = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."


def told(**changes: object) -> dict[str, Any]:
    values = {"event_type": "dicomweb.retrieve", "detail": '{"outcome": "found", "count": 2}'}
    found = balp.resource(message(row(**values | changes), source_id="triage"))
    AuditEvent.model_validate(found)
    return found


def agents(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["type"]["coding"][0]["code"]: one for one in found["agent"]}


class TestRetrievalByDicomweb:
    def test_it_is_a_restful_read_that_succeeded(self) -> None:
        found = told()
        assert found["type"] == {
            "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
            "code": "rest",
            "display": "Restful Operation",
        }
        read, dicom = found["subtype"]
        assert (read["system"], read["code"]) == ("http://hl7.org/fhir/restful-interaction", "read")
        assert dicom["code"] == "110103"
        assert (found["action"], found["outcome"]) == ("R", "0")

    def test_client_server_and_user_are_one_each_and_machines_have_addresses(self) -> None:
        found = told()
        who = agents(found)
        assert len(found["agent"]) == len(who) == 3
        assert who[CLIENT]["network"] == {"address": "10.0.0.9", "type": "2"}
        assert who[SERVER]["network"]["address"]
        assert who[SERVER]["who"]["identifier"]["value"] == "triage"
        assert not who[CLIENT]["requestor"]
        assert not who[SERVER]["requestor"]
        assert who[USER]["requestor"]
        assert who[USER]["who"]["identifier"]["value"] == "ada"
        assert who[USER]["role"] == [{"text": "radiologist"}]
        assert not {"network", "media"} & set(who[USER])

    def test_with_a_patient_it_is_a_read_of_a_patients_data(self) -> None:
        found = told()
        assert found["meta"]["profile"] == [f"{PROFILES}PatientRead"]
        data, patient = found["entity"]
        assert (data["type"]["code"], data["role"]["code"]) == ("2", "3")
        assert (patient["type"]["code"], patient["role"]["code"]) == ("1", "1")
        assert patient["what"] == {"type": "Patient", "identifier": {"value": "P1"}}

    def test_without_a_patient_it_is_a_read(self) -> None:
        found = told(patient_id=None)
        assert found["meta"]["profile"] == [f"{PROFILES}Read"]
        assert len(found["entity"]) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": 8},
        {"detail": '{"outcome": "none", "count": 0}'},
        {"network_address": ""},
        {"object_id": ""},
        {"event_type": "study.opened"},
        {"event_type": "dicomweb.query", "event_id": "110112", "action": "E"},
        {"event_type": "instance.received", "event_id": "110104", "action": "C"},
        {"event_type": "login", "event_id": "110114", "action": "E"},
    ],
    ids=["refused", "nothing found", "from nowhere", "of no study", "page", "search", "DIMSE",
         "sign-in"],
)  # fmt: skip
def test_what_does_not_fit_claims_no_profile(changes: dict[str, object]) -> None:
    found = told(**changes)
    assert "meta" not in found
    assert found["type"]["system"] == "http://dicom.nema.org/resources/ontology/DCM"
