"""The test PACS: keeps what it gets, once, and finds it again."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from tests.triage.outputs import studies
from triage import dimse
from triage.commands.pacs import kept
from triage.dimse import STUDY_ROOT_FIND, Remote
from triage.errors import TryAgain

CODE = """
import sys
from pathlib import Path
from triage.commands.pacs import serve_pacs
serve_pacs(Path(sys.argv[1]), 0, "TESTPACS", lambda port: print(port, flush=True))
"""
CT, MR = (dimse.inspect(studies.bundled(f"{name}_small.dcm")) for name in ("CT", "MR"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Remote, Path]]:
    folder = tmp_path_factory.mktemp("pacs") / "kept"
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        remote = Remote("TESTPACS", "127.0.0.1", int(process.stdout.readline()))
        for item in (CT, MR, CT):
            assert dimse.send(item, remote) == 0
        yield remote, folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def found(remote: Remote, level: str, **keys: str) -> list[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    with dimse.associate(remote, [(STUDY_ROOT_FIND, ImplicitVRLittleEndian)]) as association:
        answers = list(association.send_c_find(query, STUDY_ROOT_FIND))
    return [match for _, match in answers if match is not None]


def test_it_answers_the_echo(served: tuple[Remote, Path]) -> None:
    dimse.echo(served[0])


def test_it_keeps_each_instance_once_with_its_bytes(served: tuple[Remote, Path]) -> None:
    first, second = kept(served[1])
    assert [first.sop_instance_uid, second.sop_instance_uid] == [
        CT.sop_instance_uid, MR.sop_instance_uid,
    ]  # fmt: skip
    assert first.sop_class_uid == CT.sop_class_uid
    assert first.study_instance_uid == "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    content = CT.path.read_bytes()
    body = content[132 + 12 + int.from_bytes(content[140:144], "little") :]
    assert first.sha256 == hashlib.sha256(body).hexdigest()
    assert datetime.now(UTC) - first.arrived_at < timedelta(minutes=5)


def test_file_names_owe_nothing_to_what_was_sent(served: tuple[Remote, Path]) -> None:
    names = {one.path.stem for one in kept(served[1])}
    assert names == {
        hashlib.sha256(uid.encode()).hexdigest()
        for uid in (CT.sop_instance_uid, MR.sop_instance_uid)
    }


def test_it_finds_what_it_keeps(served: tuple[Remote, Path]) -> None:
    remote = served[0]
    assert dimse.holds(CT, remote)
    (study,) = found(remote, "STUDY", PatientID="1CT1", StudyInstanceUID="", PatientName="")
    assert study.PatientName == "CompressedSamples^CT1"
    assert len(found(remote, "SERIES", Modality="MR", SeriesInstanceUID="")) == 1
    assert len(found(remote, "STUDY", PatientName="CompressedSamples*")) == 2
    assert found(remote, "IMAGE", SOPInstanceUID="1.2.3") == []


def test_it_counts_what_belongs_together(served: tuple[Remote, Path]) -> None:
    keys = {"NumberOfStudyRelatedInstances": "", "NumberOfStudyRelatedSeries": ""}
    for study in found(served[0], "STUDY", StudyInstanceUID="", **keys):
        assert study.NumberOfStudyRelatedInstances == study.NumberOfStudyRelatedSeries == 1
    [series] = found(
        served[0], "SERIES", Modality="CT", SeriesInstanceUID="", NumberOfSeriesRelatedInstances=""
    )
    assert series.NumberOfSeriesRelatedInstances == 1


def test_it_refuses_a_level_that_does_not_exist(served: tuple[Remote, Path]) -> None:
    assert found(served[0], "HOSPITAL") == []


def test_an_empty_folder_keeps_nothing(tmp_path: Path) -> None:
    assert kept(tmp_path) == []


def test_a_folder_that_went_away_means_out_of_resources(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path / "kept")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        remote = Remote("TESTPACS", "127.0.0.1", int(process.stdout.readline()))
        (tmp_path / "kept").rmdir()
        with pytest.raises(TryAgain, match="0xA700"):
            dimse.send(CT, remote)
        process.send_signal(signal.SIGTERM)
