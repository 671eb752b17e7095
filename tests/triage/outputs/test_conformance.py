"""Every kind of object, made for studies as scanners wrote them, before independent validators."""

import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from tests.servers import binary
from tests.triage.outputs import received, studies
from triage import outputs
from triage.finding import Assessment, Document
from triage.outputs import fit

WARNINGS = Path(__file__).parents[3] / "docs" / "conformance-warnings.md"
STUDIES = {
    name: paths
    for name, paths in received.listed().items()
    if name.startswith(("series", "charsets", "projection", "transfer", "dicomdir"))
}
DOCUMENTS = frozenset({"structured_report", "key_objects"})
AT_LEAST = 40
NAME = Tag("PatientName")
MOST_FILES = 3
OF_THE_SOURCE = re.compile(
    r"Illegal root for UID|Leading zeroes in embedded|invalid data values for Value Rep"
    r"|StudyInstanceUID has same value as FrameOfReferenceUID"
    r"|LUT Descriptor number of bits = 16 but maximum LUT Data value"
)
"""What a UID or a lookup table that is copied can be blamed for."""


OTHER_BYTES = re.compile(r"String attribute has different value - Element=<PatientName>")


def name_in(path: Path) -> str:
    """Give the patient's name, whatever it is encoded in."""
    with path.open("rb") as file:
        return str(read_partial(file, lambda tag, *_: tag > NAME).PatientName).rstrip("^= ")


@lru_cache(maxsize=1)
def explained() -> tuple[re.Pattern[str], ...]:
    rows = re.findall(r"^\| `(.+?)` \|", WARNINGS.read_text(), re.MULTILINE)
    return tuple(re.compile(row.replace("\\|", "|")) for row in rows)


def complaints(tool: str, *paths: Path) -> list[str]:
    run = subprocess.run(
        [binary(tool), *paths], capture_output=True, text=True, errors="replace", check=False
    )
    text = f"{run.stdout}\n{run.stderr}"
    return [line for line in text.splitlines() if line.startswith(("Error", "Warning"))]


def dumped(path: Path) -> str:
    """Give DCMTK's text of a document; it ends with an error where it cannot read all of it."""
    command = [binary("dsrdump", "/usr/bin"), "+Pl", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    return run.stdout


def objects(assessment: Assessment, results: Path) -> Iterator[Document]:
    """Build every kind that fits; each of the modes' own, and the report in both."""
    for mode, kinds in (
        ("triage", ("structured_report", "key_objects", "presentation_state", "secondary_capture")),
        ("research", ("structured_report", "parametric_map", "segmentation")),
    ):
        companions = frozenset({"parametric_map", "segmentation"} if mode == "research" else ())
        context = studies.context(mode, results=results, companions=companions)
        for kind in kinds:
            if fit.fits(kind, assessment, context):
                output = outputs.load(kind)
                document = output.build(assessment, context)
                output.check(document, assessment, context)
                yield document


def unexplained(lines: list[str], source: list[str]) -> list[str]:
    """Leave out explained warnings, and errors about UIDs where the source's own are wrong."""
    source_is_wrong = any(OF_THE_SOURCE.search(line) for line in source)
    return [
        line
        for line in lines
        if not (source_is_wrong and OF_THE_SOURCE.search(line))
        and not (line.startswith("Warning") and any(one.search(line) for one in explained()))
    ]


@pytest.mark.slow
@pytest.mark.skipif(not STUDIES, reason="no shared test data")
@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_validators_find_no_fault_with_any_kind(name: str, tmp_path: Path) -> None:
    assessment = received.assessed(STUDIES[name][:MOST_FILES], tmp_path / "results")
    if assessment is None:
        pytest.skip("no study that the pipeline takes")
    source_path = assessment.study.series[0].images[0].ref.path
    source = complaints("dciodvfy", source_path)
    made = []
    for number, document in enumerate(objects(assessment, tmp_path / "results")):
        path = tmp_path / f"{number}-{document.kind}.dcm"
        path.write_bytes(document.content)
        assert unexplained(complaints("dciodvfy", path), source) == [], document.kind
        if document.kind in DOCUMENTS and not any(map(OF_THE_SOURCE.search, source)):
            assert "Source" in dumped(path)
        made.append(path)
    known = set(complaints("dcentvfy", source_path))
    entities = [line for line in complaints("dcentvfy", source_path, *made) if line not in known]
    if all(name_in(path) == name_in(source_path) for path in made):
        entities = [line for line in entities if not OTHER_BYTES.search(line)]
    assert unexplained(entities, source) == []


@pytest.mark.skipif(not STUDIES, reason="no shared test data")
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_there_are_enough_studies_to_say_so(tmp_path: Path) -> None:
    taken = [name for name, paths in STUDIES.items() if received.assessed(paths[:1], tmp_path)]
    assert len(taken) >= AT_LEAST


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm"])
def test_bundled_files_are_served_too(name: str, tmp_path: Path) -> None:
    path = studies.bundled(name)
    assessment = received.assessed([path], tmp_path)
    assert assessment is not None
    kinds = set()
    for document in objects(assessment, tmp_path):
        made = tmp_path / "made.dcm"
        made.write_bytes(document.content)
        assert unexplained(complaints("dciodvfy", made), complaints("dciodvfy", path)) == []
        kinds.add(document.kind)
    assert kinds == set(fit.SOP_CLASSES)


def test_dsrdump_renders_what_is_a_document(tmp_path: Path) -> None:
    assessment = received.assessed([studies.bundled("CT_small.dcm")], tmp_path)
    assert assessment is not None
    for document in objects(assessment, tmp_path):
        if document.kind in DOCUMENTS:
            path = tmp_path / "x.dcm"
            path.write_bytes(document.content)
            assert "Source" in dumped(path)


def test_a_warning_nobody_explained_would_be_seen() -> None:
    assert unexplained(["Warning - Something new"], []) == ["Warning - Something new"]
    assert unexplained(["Error - Illegal root for UID"], []) != []
