"""Orthanc and DCMTK keep every kind of object, find it, hand it out again and render it."""

import json
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.ko import KeyObjectSelectionDocument
from highdicom.pm import ParametricMap
from highdicom.seg import segread
from highdicom.sr import srread
from pydicom.dataset import Dataset

from tests.servers import Orthanc, Scp, binary, dcmqrscp, orthanc
from tests.triage.outputs import received, studies
from triage import deliver, outputs
from triage.destinations import Dimse
from triage.finding import Assessment, Document
from triage.outputs import fit
from triage.outputs.context import ReportContext

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
KINDS = tuple(fit.SOP_CLASSES)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Assessment, ReportContext]:
    folder = tmp_path_factory.mktemp("results")
    assessment = received.assessed([studies.bundled("CT_small.dcm")], folder)
    assert assessment is not None
    companions = frozenset({"parametric_map", "segmentation"})
    return assessment, studies.context("research", results=folder, companions=companions)


@pytest.fixture(scope="module")
def documents(case: tuple[Assessment, ReportContext]) -> dict[str, Document]:
    return {kind: outputs.load(kind).build(*case) for kind in KINDS}


@pytest.fixture(scope="module")
def pacs(
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, Document]
) -> Iterator[Orthanc]:
    plugins = [str(DICOMWEB)] if DICOMWEB.is_file() else []
    with orthanc(tmp_path_factory.mktemp("orthanc"), Plugins=plugins) as server:
        _stored(documents, server.dicom_port, "ORTHANC")
        yield server


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, Document]
) -> Iterator[Scp]:
    with dcmqrscp(tmp_path_factory.mktemp("dcmqrscp")) as server:
        _stored(documents, server.port, server.ae_title)
        yield server


def _stored(documents: dict[str, Document], port: int, ae_title: str) -> None:
    to = Dimse(name=ae_title, ae_title=ae_title, host="127.0.0.1", port=port)
    with ExitStack() as stack:
        stack.callback(deliver.stop)
        for document in documents.values():
            assert deliver.deliver(document, to).status == 0


READERS: dict[str, Callable[[BytesIO], Dataset]] = {
    "structured_report": srread,
    "key_objects": lambda content: KeyObjectSelectionDocument.from_dataset(
        pydicom.dcmread(content)
    ),
    "presentation_state": pydicom.dcmread,
    "secondary_capture": highdicom.imread,
    "parametric_map": ParametricMap.from_file,
    "segmentation": segread,
}


def same(kind: str, ours: bytes, theirs: bytes) -> bool:
    """Tell whether an archive's copy reads, by highdicom, as what was sent."""
    one, other = (READERS[kind](BytesIO(content)) for content in (ours, theirs))
    return bool(one == other) and pydicom.dcmread(BytesIO(ours)) == pydicom.dcmread(BytesIO(theirs))


@pytest.mark.parametrize("kind", KINDS)
class TestOrthanc:
    def test_it_finds_and_returns_equal_content(
        self,
        kind: str,
        pacs: Orthanc,
        documents: dict[str, Document],
        case: tuple[Assessment, ReportContext],
    ) -> None:
        document = documents[kind]
        (found,) = pacs.find("Instance", SOPInstanceUID=document.sop_instance_uid)
        content = pacs.get_bytes(f"/instances/{found['ID']}/file")
        assert same(kind, document.content, content)
        outputs.load(kind).check(replace(document, content=content), *case)

    def test_qido_lists_it_in_the_studys_own_place(
        self, kind: str, pacs: Orthanc, documents: dict[str, Document]
    ) -> None:
        if not DICOMWEB.is_file():
            pytest.skip("Orthanc has no DICOMweb plug-in here")
        header = pydicom.dcmread(BytesIO(documents[kind].content), stop_before_pixels=True)
        url = (
            f"http://127.0.0.1:{pacs.http_port}/dicom-web/studies/{header.StudyInstanceUID}"
            f"/series/{header.SeriesInstanceUID}/instances"
        )
        with urllib.request.urlopen(url, timeout=20) as answer:
            (found,) = json.loads(answer.read())
        assert found["00080018"]["Value"] == [documents[kind].sop_instance_uid]


def test_orthanc_renders_the_page_and_the_segment(
    pacs: Orthanc, documents: dict[str, Document]
) -> None:
    for kind in ("secondary_capture", "segmentation"):
        uid = documents[kind].sop_instance_uid
        (found,) = pacs.find("Instance", SOPInstanceUID=uid)
        picture = pacs.get_bytes(f"/instances/{found['ID']}/preview")
        assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", KINDS)
def test_dcmtk_finds_and_returns_it(
    kind: str, archive: Scp, documents: dict[str, Document], tmp_path: Path
) -> None:
    header = pydicom.dcmread(BytesIO(documents[kind].content), stop_before_pixels=True)
    keys = [
        "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={header.StudyInstanceUID}",
        "-k", f"SeriesInstanceUID={header.SeriesInstanceUID}",
        "-k", f"SOPInstanceUID={header.SOPInstanceUID}",
    ]  # fmt: skip
    peer = ["-aec", archive.ae_title, "127.0.0.1", str(archive.port)]
    found = subprocess.run(
        [binary("findscu", "/usr/bin"), "-S", *keys, "-X", "-od", tmp_path, *peer],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (answer,) = tmp_path.glob("rsp*.dcm")
    assert pydicom.dcmread(answer, force=True).SOPInstanceUID == header.SOPInstanceUID, found.stderr
    (stored,) = (path for path in archive.folder.rglob("*")
                 if path.is_file() and path.name != "index.dat"
                 and pydicom.dcmread(path).SOPInstanceUID == header.SOPInstanceUID)  # fmt: skip
    assert same(kind, documents[kind].content, stored.read_bytes())


@pytest.mark.parametrize("kind", ["structured_report", "key_objects"])
def test_dcmtk_gets_documents_over_the_wire(
    kind: str, archive: Scp, documents: dict[str, Document], tmp_path: Path
) -> None:
    header = pydicom.dcmread(BytesIO(documents[kind].content))
    keys = [
        "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={header.StudyInstanceUID}",
        "-k", f"SeriesInstanceUID={header.SeriesInstanceUID}",
        "-k", f"SOPInstanceUID={header.SOPInstanceUID}",
    ]  # fmt: skip
    command = [
        binary("getscu", "/usr/bin"), "-S", *keys, "-od", str(tmp_path), "-aec", archive.ae_title,
        "127.0.0.1", str(archive.port),
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True)
    (got,) = (path for path in tmp_path.iterdir() if path.is_file())
    assert same(kind, documents[kind].content, got.read_bytes())


def test_dcmtk_renders_the_page(documents: dict[str, Document], tmp_path: Path) -> None:
    path = tmp_path / "page.dcm"
    path.write_bytes(documents["secondary_capture"].content)
    out = tmp_path / "page.pgm"
    subprocess.run([binary("dcm2pnm", "/usr/bin"), path, out], capture_output=True, check=True)
    assert np.frombuffer(out.read_bytes()[-1024 * 1024 :], np.uint8).max() > 200
