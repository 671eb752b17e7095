"""What was told is taken back in the words of who was told."""

import email
import json
from email import policy
from typing import Any

import hl7
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhirclient.models.bundle import Bundle as StrictBundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from tests.triage.outputs import studies
from triage import outputs
from triage.deliver import webhook
from triage.finding import Document
from triage.outputs import plain_text, retraction
from triage.record.rows import RETRACTABLE

WORDS = "The result is wrong & must not be used"


@pytest.fixture(params=RETRACTABLE)
def told(request: pytest.FixtureRequest) -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return outputs.load(request.param).build(assessment, studies.context())


def taken_back(kind: str) -> tuple[Document, Document]:
    """Give a document, and what takes it back."""
    assessment, context = studies.assessed([studies.bundled("CT_small.dcm")]), studies.context()
    document = outputs.load(kind).build(assessment, context)
    return document, retraction.build(document, WORDS, context)


def test_every_kind_that_the_outbox_takes_back_has_its_writer() -> None:
    assert set(RETRACTABLE) == set(retraction.WRITERS) <= set(outputs.OUTPUTS)


def test_the_same_retraction_is_the_same_document(told: Document) -> None:
    one, two = (retraction.build(told, WORDS, studies.context()) for _ in range(2))
    other = retraction.build(told, "Another reason", studies.context())
    assert one == two
    assert len({one.sop_instance_uid, other.sop_instance_uid, told.sop_instance_uid}) == 3
    assert one.sop_class_uid == ""


def test_a_ris_gets_every_observation_again_as_wrong() -> None:
    document, note = taken_back("hl7_oru")
    message = parse_message(
        note.content.decode(), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True
    )
    assert message.validate()
    before, after = hl7.parse(document.content), hl7.parse(note.content)
    assert {str(one(11)) for one in after.segments("OBX")} == {"W"}
    assert {str(one(25)) for one in after.segments("OBR")} == {"C"}
    assert "\\T\\ must not be used" in str(after.segment("NTE")(3))
    assert str(before.segment("MSH")(10)) != str(after.segment("MSH")(10))
    for field in (3, 5):
        assert [str(one(field)) for one in before.segments("OBX")] == [
            str(one(field)) for one in after.segments("OBX")
        ]
    for segment in ("PID", "ORC"):
        assert str(before.segment(segment)) == str(after.segment(segment))


def test_a_fhir_server_is_told_that_the_report_was_an_error() -> None:
    document, note = taken_back("fhir_bundle")
    bundle: dict[str, Any] = json.loads(note.content)
    Bundle.model_validate(bundle)
    StrictBundle(bundle, strict=True)
    wrong = [one for one in bundle["entry"] if one["request"]["method"] == "PUT"]
    assert {one["resource"]["status"] for one in wrong} == {"entered-in-error"}
    told = [one["resource"] for one in json.loads(document.content)["entry"]]
    kinds = {"Observation", "DiagnosticReport"}
    identifiers = [one["identifier"] for one in told if one["resourceType"] in kinds]
    assert [one["resource"]["identifier"] for one in wrong] == identifiers
    for one in wrong:
        kind, _, token = one["request"]["url"].partition("?identifier=urn:dicom:uid|")
        assert (kind, token) == (
            one["resource"]["resourceType"], one["resource"]["identifier"][0]["value"],
        )  # fmt: skip


def test_a_webhook_names_the_report_and_nothing_of_its_result() -> None:
    document, note = taken_back("webhook")
    before, after = json.loads(document.content)["data"], json.loads(note.content)
    assert after["type"] == "report.withdrawn"
    assert after["data"]["report_uid"] == before["report_uid"]
    assert after["data"]["identifiers"] == before["identifiers"]
    assert "PRIORITISED" not in note.content.decode()


def test_a_mail_answers_the_mail_that_it_takes_back() -> None:
    document, note = taken_back("mail")
    before, after = (
        email.message_from_bytes(one.content, policy=policy.SMTP) for one in (document, note)
    )
    assert after["In-Reply-To"] == before["Message-ID"] != after["Message-ID"]
    assert after["Subject"] == "Triage: Withdrawn"
    assert WORDS in after.get_content()
    assert "study instance uid: 1.3.6" in after.get_content()
    assert "Prioritised" not in after.get_content()


def test_a_text_is_named_by_the_id_that_it_came_under() -> None:
    document, note = taken_back("plain_text")
    text = note.content.decode()
    assert WORDS in text
    assert webhook.identifier(document.content) in text
    assert plain_text.said_in(text) == [[]]
