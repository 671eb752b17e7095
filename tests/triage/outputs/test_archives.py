"""Orthanc and DCMTK keep every kind of object, find it, and hand it out again by every road."""

import json
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.ko import KeyObjectSelectionDocument
from highdicom.pm import ParametricMap
from highdicom.seg import segread
from highdicom.sr import srread
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt

from tests.servers import Orthanc, Scp, binary, dcmqrscp, free_port, orthanc
from tests.triage.outputs import received, studies
from triage import deliver, outputs
from triage.destinations import Dimse
from triage.finding import Assessment, Document
from triage.outputs import fit
from triage.outputs.context import ReportContext

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
KINDS = tuple(fit.SOP_CLASSES)
MOVER = "MOVER"
STUDY_ROOT_GET = UID("1.2.840.10008.5.1.4.1.2.2.3")
NOT_PROPOSED = {"parametric_map"}
"""What DCMTK 3.6.7 stores and returns, but does not propose when it is the one who sends."""


@pytest.fixture(scope="module")
def mover_port() -> Iterator[int]:
    """Give where C-MOVE is to deliver: both archives are told before they start.

    The port is bound until then, so that no server of another test takes it meanwhile.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port := free_port()))
        yield port


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
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, Document], mover_port: int
) -> Iterator[Orthanc]:
    settings: dict[str, Any] = {
        "Plugins": [str(DICOMWEB)] if DICOMWEB.is_file() else [],
        "DicomModalities": {"mover": [MOVER, "127.0.0.1", mover_port]},
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
    }
    with orthanc(tmp_path_factory.mktemp("orthanc"), **settings) as server:
        _stored(documents, server.dicom_port, "ORTHANC")
        yield server


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, Document], mover_port: int
) -> Iterator[Scp]:
    with dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), MOVER=mover_port) as server:
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


@pytest.mark.parametrize("kind", ["secondary_capture", "segmentation", "parametric_map"])
def test_orthanc_draws_what_has_pixels(
    kind: str, pacs: Orthanc, documents: dict[str, Document]
) -> None:
    document = documents[kind]
    (found,) = pacs.find("Instance", SOPInstanceUID=document.sop_instance_uid)
    drawn = Image.open(BytesIO(pacs.get_bytes(f"/instances/{found['ID']}/preview")))
    made = pydicom.dcmread(BytesIO(document.content))
    assert drawn.size == (made.Columns, made.Rows)
    if kind == "parametric_map":
        stored = made.pixel_array.reshape(-1, made.Rows, made.Columns)[0]
        shown = np.asarray(drawn.convert("L"), float)
        assert np.corrcoef(shown.ravel(), stored.ravel())[0, 1] > 0.99


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


def got(document: Document, port: int, ae_title: str) -> bytes:
    """Give what an archive returns by C-GET, as it came over the wire."""
    received: list[bytes] = []

    def take(event: evt.Event) -> int:
        received.append(event.encoded_dataset())
        return 0x0000

    ae = AE(ae_title="GETTER")
    ae.add_requested_context(STUDY_ROOT_GET)
    ae.add_requested_context(document.sop_class_uid, ExplicitVRLittleEndian)
    association = ae.associate(
        "127.0.0.1",
        port,
        ae_title=ae_title,
        ext_neg=[build_role(UID(document.sop_class_uid), scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, take)],
    )
    header = pydicom.dcmread(BytesIO(document.content), stop_before_pixels=True)
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "IMAGE"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(wanted, keyword, header[keyword].value)
    answers = association.send_c_get(wanted, STUDY_ROOT_GET)
    statuses = [answer.get("Status") for answer, _ in answers]
    association.release()
    assert statuses[-1] == 0x0000
    (content,) = received
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_both_return_it_by_c_get(
    kind: str,
    pacs: Orthanc,
    archive: Scp,
    documents: dict[str, Document],
    case: tuple[Assessment, ReportContext],
) -> None:
    document = documents[kind]
    for port, ae_title in ((pacs.dicom_port, pacs.ae_title), (archive.port, archive.ae_title)):
        content = got(document, port, ae_title)
        assert same(kind, document.content, content)
        outputs.load(kind).check(replace(document, content=content), *case)


def test_both_move_what_they_can_send_to_a_third_one(
    pacs: Orthanc,
    archive: Scp,
    documents: dict[str, Document],
    mover_port: int,
    tmp_path: Path,
) -> None:
    wanted = {one.sop_instance_uid: one for one in documents.values()}
    first = pydicom.dcmread(BytesIO(next(iter(wanted.values())).content), stop_before_pixels=True)
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={first.StudyInstanceUID}"]
    for port, ae_title in ((pacs.dicom_port, pacs.ae_title), (archive.port, archive.ae_title)):
        out = tmp_path / ae_title
        out.mkdir()
        command: list[str | Path] = [
            binary("movescu", "/usr/bin"), "-S", *keys, "-od", out, "-aet", MOVER, "-aec", ae_title,
            "-aem", MOVER, "+P", str(mover_port), "127.0.0.1", str(port),
        ]  # fmt: skip
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        moved = {pydicom.dcmread(path).SOPInstanceUID: path for path in out.iterdir()}
        left = {wanted[uid].kind for uid in wanted.keys() - moved.keys()}
        assert left == (set() if ae_title == pacs.ae_title else NOT_PROPOSED), asked.stderr
        for uid, path in moved.items():
            assert same(wanted[uid].kind, wanted[uid].content, path.read_bytes())
