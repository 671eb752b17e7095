"""``triage conformance``: the chapters of PS3.2, out of the configuration in force."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.triage.commands.cli import triage, write_site
from triage import outputs
from triage import settings as configuration
from triage.commands import conformance_ihe, conformance_network, conformance_objects
from triage.commands.conformance_text import markdown
from triage.deliver.transports import TRANSPORTS
from triage.outputs.codes import SCHEME

CHAPTERS = [
    "# DICOM Conformance Statement: ", "## 1 Overview", "## 2 Introduction", "## 3 Networking",
    "### 3.2 Application entity specifications", "## 4 Media interchange",
    "## 5 Support of character sets", "## 6 Security", "## 7 Annexes", "### 7.3 Private codes",
    "# IHE Integration Statement",
]  # fmt: skip
DESTINATIONS: list[dict[str, Any]] = [
    {"name": "the-dimse", "ae_title": "PACS", "host": "pacs", "port": 104, "commitment": True},
    {"name": "the-stow", "kind": "stow", "url": "https://pacs/dicom-web"},
    {"name": "the-mllp", "kind": "mllp", "host": "ris", "port": 2575},
    {"name": "the-fhir", "kind": "fhir", "url": "https://fhir/r4"},
    {"name": "the-webhook", "kind": "webhook", "url": "https://x", "secret_file": "key"},
    {"name": "the-mail", "kind": "mail", "host": "h", "sender": "a@b", "recipients": ["c@d"]},
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(
        folder,
        destinations=DESTINATIONS,
        listener={"ae_title": "OURS", "port": 11999},
        ups={"manager": {"enabled": True, "peers": [{"ae_title": "RIS"}]}},
    )
    return folder


@pytest.fixture(scope="module")
def both(state: Path) -> tuple[str, str]:
    """The statement as Markdown and as JSON."""
    path = state / "conformance.json"
    written = triage("conformance", "--state", state, "--json", "--out", path)
    assert written.code == 0, written.err
    content = path.read_text()
    return markdown(json.loads(content)), content


def test_its_chapters_are_those_of_the_standard(both: tuple[str, str]) -> None:
    places = [both[0].find(chapter) for chapter in CHAPTERS]
    assert -1 not in places
    assert places == sorted(places)


def test_it_speaks_of_this_configuration(both: tuple[str, str]) -> None:
    text, found = both[0], json.loads(both[1])
    kinds = {str(one.get("kind", "dimse")) for one in DESTINATIONS}
    assert kinds == set(TRANSPORTS)
    assert [one["name"] for one in DESTINATIONS if str(one["name"]) not in text] == []
    assert found["entities"][0]["ae_title"] == "OURS"
    assert found["entities"][0]["where"].endswith(":11999")
    assert "| Storage Commitment | what is reported as kept is not deleted" in text
    assert "UPS MANAGER" in text


@pytest.mark.parametrize(
    ("days", "said"), [(None, ", for ever;"), (0.5, ", for 0.5 days from the report on;")]
)
def test_it_says_for_how_long_we_keep_what_we_committed_to(
    tmp_path: Path, days: float | None, said: str
) -> None:
    write_site(tmp_path, commitment={"keep_days": days})
    site = configuration.load(tmp_path, tmp_path / "configs")
    policies = conformance_network.listener(site).policies or {}
    assert said in policies["Storage Commitment"]


def test_every_kind_of_dicom_object_has_an_annex(both: tuple[str, str]) -> None:
    annexes = {one["kind"]: one for one in json.loads(both[1])["objects"]}
    report = annexes["structured_report"]
    assert report["templates"][:1] == ["TID 1500"]
    assert SCHEME in report["coding_schemes"]
    names = {one["name"] for one in report["attributes"]}
    assert {"Completion Flag", "Preliminary Flag", "Content Sequence", "Patient ID"} <= names
    around = {"hl7_oru", "fhir_bundle", "webhook", "mail", "plain_text"}
    research_only = {"parametric_map", "segmentation"}
    assert set(outputs.OUTPUTS) - around - research_only <= set(annexes)


def test_every_code_of_our_own_in_an_object_is_listed(both: tuple[str, str], state: Path) -> None:
    listed = {one["code"] for one in json.loads(both[1])["private_codes"]}
    assert {one.value for one in conformance_objects.private_codes()} == listed
    assert {"TRIAGE-RESULT", "NOT-PRIORITISED", "P-VALUE"} <= listed
    made = conformance_objects.specimens(configuration.load(state, state / "configs"))
    written = {
        str(item.get("CodeValue") or item.LongCodeValue)
        for one in made.values()
        for item in _items(one.data_set)
        if "CodeMeaning" in item and item.CodingSchemeDesignator == SCHEME
    }
    assert {"TRIAGE-RESULT", "READER-ASSESSMENT"} <= written <= listed


def _items(data_set: Dataset | None) -> Iterator[Dataset]:
    for element in data_set or ():
        for item in element.value if element.VR == "SQ" else ():
            yield item
            yield from _items(item)


def test_ihe_actors_hold_only_where_the_site_plays_them(both: tuple[str, str], state: Path) -> None:
    claimed = {(one["profile"], one["actor"]) for one in json.loads(both[1])["ihe"]}
    assert ("AI Results (AIR)", "Evidence Creator") in claimed
    assert ("AI Workflow for Imaging (AIW-I)", "Task Manager") in claimed
    assert ("AI Workflow for Imaging (AIW-I)", "Task Performer") not in claimed
    assert "RAD-10 Storage Commitment" in both[0]
    assert all(name in both[0] for name in conformance_ihe.NOT_CLAIMED)


def test_a_site_without_destinations_claims_nothing(tmp_path: Path) -> None:
    answer = triage("conformance", "--state", tmp_path)
    assert answer.code == 0
    _, integration = answer.out.split("# IHE Integration Statement\n")
    assert "None.\n\nNot claimed:" in integration
    web, _, _ = answer.out.split("### 3.3 Web services\n\n")[1].partition("###")
    assert "QIDO-RS Search" in web
    assert "STOW-RS" not in web
    assert "#### 3.2.1 LISTENER" in answer.out
    assert "#### 3.2.2" not in answer.out
