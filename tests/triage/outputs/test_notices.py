"""Webhooks and mails name a study by what the site allows, and never a person."""

import base64
import email
import json
from email import policy
from pathlib import Path

import pytest

from tests.triage.outputs import studies
from triage.outputs import mail, webhook
from triage.outputs.context import RESEARCH_BANNER
from triage.settings import Reporting

PERSON = {
    "PatientName": "Sécret^Person", "PatientID": "PID-77", "PatientBirthDate": "19700102",
    "AccessionNumber": "ACC-9", "ReferringPhysicianName": "Doctor^Who",
    "StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5", "SOPInstanceUID": "1.2.3.6",
    "SpecificCharacterSet": "ISO_IR 192",
}  # fmt: skip
NEVER = ("Sécret", "Person", "19700102", "Doctor", "1.2.3.5", "1.2.3.6")
SETTINGS = [
    ((), ()),
    (("study_instance_uid",), ("1.2.3.4",)),
    (("accession_number", "patient_id"), ("ACC-9", "PID-77")),
]


@pytest.mark.parametrize(("names", "shown"), SETTINGS)
def test_only_what_the_site_allows_leaves(
    names: tuple[str, ...], shown: tuple[str, ...], tmp_path: Path
) -> None:
    path = studies.generated(tmp_path / "dx.dcm", studies.DX, **PERSON)
    assessment = studies.assessed([path])
    reporting = Reporting.model_validate({"notice_identifiers": names})
    context = studies.context(reporting=reporting)
    hook, letter = (one.build(assessment, context) for one in (webhook, mail))
    webhook.check(hook, assessment, context)
    mail.check(letter, assessment, context)
    head, _, body = letter.content.partition(b"\r\n\r\n")
    texts = [hook.content.decode(), head.decode() + base64.b64decode(body).decode()]
    hidden = {"1.2.3.4", "ACC-9", "PID-77"} - set(shown)
    for text in texts:
        assert all(value in text for value in shown)
        assert not [value for value in (*NEVER, *hidden) if value in text]
    assert json.loads(hook.content)["data"]["identifiers"] == dict(zip(names, shown, strict=True))


def test_a_subject_names_no_study(tmp_path: Path) -> None:
    path = studies.generated(tmp_path / "dx.dcm", studies.DX, **PERSON)
    subjects = []
    for mode in ("triage", "research"):
        document = mail.build(studies.assessed([path]), studies.context(mode))
        message = email.message_from_bytes(document.content, policy=policy.SMTP)
        subjects.append(message["Subject"])
    assert subjects == ["Triage: Prioritised", f"Triage: Prioritised ({RESEARCH_BANNER})"]
