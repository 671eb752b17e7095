"""The header is a Part 10 header, says who sent it, and hides nothing."""

import json
from datetime import datetime
from pathlib import Path

from pydicom import dcmread

from tests.triage.receive import build
from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.receive.part10 import Caller, file_header
from triage.receive.scan import scan
from triage.spool import digest

CALLER = Caller("MODALITY", "TRIAGE", "10.0.0.5", 50123, "10.0.0.1", 11112)


def written(path: Path, caller: Caller = CALLER) -> Path:
    data = build.ct_bytes()
    path.write_bytes(file_header(scan(data, build.EXPLICIT), build.EXPLICIT, caller) + data)
    return path


def test_pydicom_reads_every_element_of_the_meta(tmp_path: Path) -> None:
    meta = dcmread(written(tmp_path / "file")).file_meta
    assert meta.MediaStorageSOPClassUID == build.CT
    assert meta.MediaStorageSOPInstanceUID == build.SOP
    assert meta.TransferSyntaxUID == build.EXPLICIT
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == "MODALITY"
    assert meta.SendingApplicationEntityTitle == "MODALITY"
    assert meta.ReceivingApplicationEntityTitle == "TRIAGE"
    assert meta.SourcePresentationAddress == "dicom:10.0.0.5:50123"
    assert meta.SendingPresentationAddress == "dicom:10.0.0.5:50123"
    assert meta.ReceivingPresentationAddress == "dicom:10.0.0.1:11112"


def test_the_group_length_is_right_and_the_preamble_empty(tmp_path: Path) -> None:
    content = written(tmp_path / "file").read_bytes()
    length = int.from_bytes(content[140:144], "little")
    assert content[:132] == bytes(128) + b"DICM"
    assert content[144 + length :] == build.ct_bytes()


def test_odd_titles_and_ipv6_are_padded_and_bracketed(tmp_path: Path) -> None:
    caller = Caller("ABC", "TRIAGE", "fe80::1", 104, "::1", 11112)
    meta = dcmread(written(tmp_path / "file", caller)).file_meta
    assert meta.SendingApplicationEntityTitle == "ABC"
    assert meta.SendingPresentationAddress == "dicom:[fe80::1]:104"


def test_the_sender_does_not_change_the_digest(tmp_path: Path) -> None:
    other = Caller("ROUTER", "TRIAGE", "10.0.0.77", 1, "10.0.0.1", 11112)
    assert digest(written(tmp_path / "1")) == digest(written(tmp_path / "2", other))


def test_it_tells_the_index_which_association_brought_it_and_when(tmp_path: Path) -> None:
    meta = dcmread(written(tmp_path / "file")).file_meta
    assert meta.PrivateInformationCreatorUID == IMPLEMENTATION_CLASS_UID
    told = json.loads(meta.PrivateInformation)
    assert told["association"] == CALLER.association_id
    assert datetime.fromisoformat(told["opened"]) <= datetime.fromisoformat(told["spooled"])


def test_two_associations_of_one_peer_are_told_apart() -> None:
    again = Caller("MODALITY", "TRIAGE", "10.0.0.5", 50123, "10.0.0.1", 11112)
    assert again.association_id != CALLER.association_id
