"""``triage send``: every file's fate is told, and the exit code says whether all is well."""

import json
import shutil
import time
from pathlib import Path

import pydicom
import pytest
import typer
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from tests import servers
from tests.triage.outputs import studies
from tests.triage.peers import REFUSED, Scripted, scripted
from triage.commands.send import Fate, parse, send, send_files, walk
from triage.destinations import Dimse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three CT and one MR instance, a DICOMDIR and a text, in two levels."""
    root = tmp_path / "studies"
    (root / "deep").mkdir(parents=True)
    for number in range(3):
        copy(studies.bundled("CT_small.dcm"), root / "deep" / f"{number}.dcm")
    shutil.copy(studies.bundled("MR_small.dcm"), root / "mr.dcm")
    shutil.copy(studies.bundled("DICOMDIR"), root / "DICOMDIR")
    (root / "README").write_text("not an image")
    return root


def copy(source: Path, path: Path) -> None:
    image = pydicom.dcmread(source)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.save_as(path)


def aet(to: Dimse) -> str:
    return f"{to.ae_title}@{to.host}:{to.port}"


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    answer = json.loads(capsys.readouterr().out)
    return {Path(one["path"]).name: one for one in answer["files"]}


def test_a_folder_arrives_at_orthanc(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with servers.orthanc(tmp_path / "orthanc") as pacs:
        to = f"{pacs.ae_title}@127.0.0.1:{pacs.dicom_port}"
        assert send([folder], to, calling="MODALITY", jobs=2, as_json=False) == 0
        assert len(pacs.find("Instance")) == 4
        one = pacs.find("Instance")[0]["ID"]
        assert pacs.get_bytes(f"/instances/{one}/metadata/RemoteAET") == b"MODALITY"
    out = capsys.readouterr().out
    assert f"{to}: 4 stored, 2 skipped in " in out
    assert "README: no DICOM file" in out


def test_json_tells_every_files_fate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(Scripted([0xB000])) as to:
        assert send([folder], aet(to), calling="TRIAGE", jobs=1, as_json=True) == 1
    files = shown(capsys)
    assert files["0.dcm"] | {"path": ""} == {
        "path": "", "fate": "stored", "status": "0xB000", "detail": "",
    }  # fmt: skip
    assert files["mr.dcm"]["fate"] == "refused"
    assert "MR Image Storage" in str(files["mr.dcm"]["detail"])
    assert files["README"]["fate"] == files["DICOMDIR"]["fate"] == "skipped"


def test_one_association_carries_all_kinds(folder: Path) -> None:
    classes = (CTImageStorage, MRImageStorage)
    with scripted(script := Scripted(), storage=classes) as to:
        sent = send_files(list(walk([folder])), to)
    assert [one.detail for one in sent if one.fate is Fate.LATER] == []
    assert [one.fate for one in sent].count(Fate.STORED) == 4
    assert len(script.requested) == 1
    assert f"{MRImageStorage} {ExplicitVRLittleEndian}" in script.requested[0]


def test_jobs_are_associations_at_once(folder: Path) -> None:
    with scripted(script := Scripted()) as to:
        fates = send_files(list(walk([folder / "deep"])), to, jobs=3)
    assert [one.fate for one in fates] == [Fate.STORED] * 3
    assert len(script.stored) == 3
    assert 1 <= len(script.requested) <= 3


def test_an_abort_costs_one_file_and_not_the_rest(folder: Path) -> None:
    class AbortsOnce(Scripted):
        def answer_store(self, event: object) -> int:
            self.abort = not self.stored
            return super().answer_store(event)  # type: ignore[arg-type]

    with scripted(AbortsOnce()) as to:
        fates = [one.fate for one in send_files(list(walk([folder / "deep"])), to)]
    assert fates == [Fate.LATER, Fate.STORED, Fate.STORED]


@REFUSED
def test_with_nobody_there_every_file_is_for_later(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = f"NOBODY@127.0.0.1:{servers.free_port()}"
    begin = time.monotonic()
    assert send([folder], to, calling="TRIAGE", jobs=1, as_json=True) == 1
    assert time.monotonic() - begin < 5
    assert shown(capsys)["1.dcm"]["fate"] == "later"


def test_nothing_to_send_is_a_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send([folder / "README"], "A@127.0.0.1:104", calling="T", jobs=1, as_json=False) == 1
    assert "no DICOM file" in capsys.readouterr().out


def test_an_unreadable_file_is_a_failure(tmp_path: Path) -> None:
    (sent,) = send_files([tmp_path / "missing.dcm"], parse("A@127.0.0.1:104"))
    assert (sent.fate, sent.detail) == (Fate.LATER, "cannot be read: No such file or directory")


def test_progress_counts_every_file(folder: Path) -> None:
    files = list(walk([folder]))
    with scripted(Scripted()) as to:
        ticks: list[int] = []
        send_files(files, to, done=lambda: ticks.append(1))
    assert len(ticks) == len(files) == 6


def test_the_callers_title_is_passed_on(folder: Path) -> None:
    with scripted(script := Scripted()) as to:
        send([folder / "deep"], aet(to), calling="CT99", jobs=1, as_json=True)
    assert {title for title, _ in script.callers} == {"CT99"}


@pytest.mark.parametrize(
    "to",
    [
        "",
        "PACS",
        "PACS@host",
        "@host:1",
        "PACS@:1",
        "PACS@host:x",
        "PACS@host:0",
        f"{'A' * 17}@h:1",
    ],
)
def test_a_wrong_address_says_how_to_write_it(to: str) -> None:
    with pytest.raises(typer.BadParameter, match="AE@HOST:PORT"):
        parse(to)


def test_an_address_is_read() -> None:
    remote = parse("PACS@[::1]:104", "US1")
    assert (remote.ae_title, remote.host, remote.port) == ("PACS", "::1", 104)
    assert remote.calling_ae_title == "US1"


def test_files_are_walked_in_order(folder: Path) -> None:
    names = [path.name for path in walk([folder / "mr.dcm", folder / "deep"])]
    assert names == ["mr.dcm", "0.dcm", "1.dcm", "2.dcm"]
