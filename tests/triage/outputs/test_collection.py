"""Messages and bundles of studies as scanners wrote them, valid for independent libraries."""

import json
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhirclient.models.bundle import Bundle as StrictBundle
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from tests.triage.outputs import received, studies
from triage import outputs

EVERY = 3
"""The whole collection takes half a minute."""


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, on what scanners wrote
def test_messages_and_bundles_of_many_scanners_are_valid(tmp_path: Path) -> None:
    listed = [*received.listed().values()][::EVERY]
    if not listed:
        pytest.skip("no collection of DICOM files here; name it by TRIAGE_TEST_DATA")
    context, valid = studies.context(), 0
    for paths in listed:
        assessment = received.assessed(paths[:20], tmp_path)
        if assessment is None:
            continue
        made = {}
        for kind in ("hl7_oru", "fhir_bundle", "webhook", "mail", "plain_text"):
            output = outputs.load(kind)
            made[kind] = output.build(assessment, context)
            output.check(made[kind], assessment, context)
        message = parse_message(
            made["hl7_oru"].content.decode(),
            validation_level=VALIDATION_LEVEL.STRICT,
            find_groups=True,
        )
        assert message.validate(), paths[0]
        bundle = json.loads(made["fhir_bundle"].content)
        Bundle.model_validate(bundle)
        StrictBundle(bundle, strict=True)
        valid += 1
    assert valid >= len(listed) // 2
