"""Where results go: told apart by their kind, one name each."""

import pytest
from pydantic import ValidationError

from triage.destinations import ANY, Dimse, Fhir, Mail, Mllp, Stow, Webhook
from triage.settings import Site

PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (PACS, Dimse),
        ({**PACS, "kind": "dimse"}, Dimse),
        ({"kind": "stow", "name": "web", "url": "https://pacs/dicom-web"}, Stow),
        ({"kind": "mllp", "name": "ris", "host": "ris", "port": 2575}, Mllp),
        ({"kind": "fhir", "name": "fhir", "url": "https://fhir/r4"}, Fhir),
        ({"kind": "webhook", "name": "hook", "url": "https://x", "secret_file": "k"}, Webhook),
        ({"kind": "mail", "name": "m", "host": "h", "sender": "a@b", "recipients": ["c@d"]}, Mail),
    ],
)
def test_the_kind_chooses_the_class_and_survives_json(given: dict[str, object], made: type) -> None:
    one = ANY.validate_python(given)
    assert type(one) is made
    assert ANY.validate_python(one.model_dump(mode="json")) == one


@pytest.mark.parametrize(
    "given",
    [
        {**PACS, "kind": "pigeon"},
        {**PACS, "url": "https://of/another/kind"},
        {"kind": "stow", "name": "web"},
        {**PACS, "ae_title": "X" * 17},
    ],
)
def test_what_fits_no_kind_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ANY.validate_python(given)


def test_two_destinations_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two destinations are named pacs"):
        Site.model_validate({"destinations": [PACS, PACS]})
