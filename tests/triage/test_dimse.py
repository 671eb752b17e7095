"""Outgoing associations: what each answer of a peer means, against real peers."""

import random
import sys
import time
from pathlib import Path

import pydicom
import pytest
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    UltrasoundMultiFrameImageStorage,
)

from tests import servers
from tests.triage.outputs import studies
from tests.triage.peers import REFUSED, Scripted, destination, scripted
from tests.triage.receive.conftest import running_listener
from triage import IMPLEMENTATION_CLASS_UID, dimse
from triage.dimse import Verdict
from triage.errors import Broken, TryAgain


@pytest.fixture
def ct() -> dimse.Item:
    return dimse.inspect(studies.bundled("CT_small.dcm"))


def data_set(path: Path) -> bytes:
    """Give a Part 10 file's bytes after the file meta information."""
    content = path.read_bytes()
    return content[132 + 12 + int.from_bytes(content[140:144], "little") :]


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (0x0000, Verdict.STORED),
        (0xB000, Verdict.STORED),
        (0xB006, Verdict.STORED),
        (0xB007, Verdict.STORED),
        (0x0111, Verdict.DUPLICATE),
        (0xA700, Verdict.LATER),
        (0xA7FF, Verdict.LATER),
        (0x0110, Verdict.LATER),
        (0x0213, Verdict.LATER),
        (0xA900, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0xC210, Verdict.REFUSED),
        (0x0106, Verdict.REFUSED),
        (0x0117, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
        (0xFE00, Verdict.REFUSED),
    ],
)
def test_every_status_has_one_of_four_meanings(status: int, fate: Verdict) -> None:
    assert dimse.verdict(status) is fate


def test_orthanc_keeps_what_we_send_once(ct: dimse.Item, tmp_path: Path) -> None:
    with servers.orthanc(tmp_path / "orthanc") as pacs:
        to = destination(pacs.dicom_port, pacs.ae_title)
        assert [dimse.send(ct, to) for _ in range(3)] == [0, 0, 0]
        (instance,) = pacs.find("Instance", SOPInstanceUID=ct.sop_instance_uid)
        assert dimse.holds(ct, to)
        kept = tmp_path / "kept.dcm"
        kept.write_bytes(pacs.get_bytes(f"/instances/{instance['ID']}/file"))
        assert pydicom.dcmread(kept) == pydicom.dcmread(ct.path)
        pacs.delete(f"/instances/{instance['ID']}")
        assert not dimse.holds(ct, to)


def test_the_files_own_bytes_arrive(ct: dimse.Item) -> None:
    with scripted(script := Scripted()) as to:
        dimse.send(ct, to)
    assert script.stored == [data_set(ct.path)]


def test_only_what_is_needed_is_proposed(ct: dimse.Item) -> None:
    with scripted(script := Scripted()) as to:
        dimse.send(ct, to)
    assert script.requested == [
        (
            f"{CTImageStorage} {ExplicitVRLittleEndian}",
            f"{CTImageStorage} {ImplicitVRLittleEndian}",
        )
    ]


def test_a_peer_with_the_default_transfer_syntax_alone_gets_it_so(ct: dimse.Item) -> None:
    with scripted(script := Scripted(), syntaxes=(ImplicitVRLittleEndian,)) as to:
        assert dimse.send(ct, to) == 0
    (content,) = script.stored
    assert content != data_set(ct.path)
    assert not content[4:6].isalpha()


def test_compressed_files_are_not_touched() -> None:
    item = dimse.Item(Path("x"), UltrasoundMultiFrameImageStorage, "1.2", JPEGLosslessSV1)
    (context,) = dimse.proposals([item.syntaxes])
    assert context.transfer_syntax == [JPEGLosslessSV1]


def test_an_association_carries_no_more_than_128_contexts() -> None:
    with pytest.raises(ValueError, match="129"):
        dimse.proposals((f"1.2.{number}", JPEGLosslessSV1) for number in range(129))


@pytest.mark.parametrize("status", [0xA700, 0x0110])
def test_a_busy_peer_means_later(status: int, ct: dimse.Item) -> None:
    with scripted(Scripted([status])) as to, pytest.raises(TryAgain, match=f"0x{status:04X}"):
        dimse.send(ct, to)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122, 0x0124])
def test_a_refusal_is_final_and_names_only_the_code(status: int, ct: dimse.Item) -> None:
    with scripted(Scripted([status])) as to, pytest.raises(Broken) as caught:
        dimse.send(ct, to)
    assert caught.value.reason.code == "refused"
    assert caught.value.reason.detail == f"pacs refused the object (0x{status:04X})"


def test_a_warning_means_stored(ct: dimse.Item) -> None:
    with scripted(Scripted([0xB000])) as to:
        assert dimse.send(ct, to) == 0xB000


def test_a_duplicate_that_the_peer_finds_is_stored(ct: dimse.Item) -> None:
    with scripted(script := Scripted([0x0111])) as to:
        assert dimse.send(ct, to) == 0x0111
    (query,) = script.queries
    assert query.QueryRetrieveLevel == "IMAGE"
    assert query.SOPInstanceUID == ct.sop_instance_uid


def test_a_duplicate_that_the_peer_does_not_find_is_in_doubt(ct: dimse.Item) -> None:
    with scripted(Scripted([0x0111], finds=False)) as to, pytest.raises(TryAgain, match="0x0111"):
        dimse.send(ct, to)


def test_an_abort_instead_of_an_answer_means_later(ct: dimse.Item) -> None:
    with scripted(Scripted(abort=True)) as to, pytest.raises(TryAgain, match="no answer"):
        dimse.send(ct, to)


@pytest.mark.parametrize("option", ["--refuse", "--abort-after", "--abort-during"])
def test_a_hostile_storescp_means_later(option: str, ct: dimse.Item, tmp_path: Path) -> None:
    with servers.storescp(tmp_path / "scp", option) as scp, pytest.raises(TryAgain):
        dimse.send(ct, destination(scp.port, scp.ae_title))


@REFUSED
def test_nobody_there_means_later(ct: dimse.Item) -> None:
    to = destination(servers.free_port(), "NOBODY")
    with pytest.raises(TryAgain, match="no association"):
        dimse.send(ct, to)


def test_a_peer_that_does_not_know_the_class_says_so_by_name(ct: dimse.Item) -> None:
    with scripted(Scripted(), storage=()) as to, pytest.raises(Broken, match="CT Image Storage"):
        dimse.send(ct, to)


def test_a_silent_peer_is_left_after_the_deadline(ct: dimse.Item, tmp_path: Path) -> None:
    with servers.storescp(tmp_path / "scp", "--sleep-during", "20") as scp:
        begin = time.monotonic()
        with pytest.raises(TryAgain, match="in doubt"):
            dimse.send(ct, destination(scp.port, scp.ae_title, deadline_s=1.0))
        assert time.monotonic() - begin < 4


@REFUSED
def test_dcmqrscp_answers_the_echo(tmp_path: Path) -> None:
    with servers.dcmqrscp(tmp_path / "scp") as scp:
        dimse.echo(destination(scp.port, scp.ae_title))
    with pytest.raises(TryAgain):
        dimse.echo(destination(scp.port, scp.ae_title))


def test_we_introduce_ourselves(ct: dimse.Item) -> None:
    with scripted(script := Scripted()) as to:
        dimse.send(ct, to)
    assert script.callers == [("TRIAGE", IMPLEMENTATION_CLASS_UID)]


def test_several_files_share_an_association(ct: dimse.Item) -> None:
    mr = dimse.inspect(studies.bundled("MR_small.dcm"))
    with scripted(script := Scripted()) as to, dimse.associate(to, [ct.syntaxes]) as association:
        assert [dimse.store(association, ct, to) for _ in range(2)] == [0, 0]
        with pytest.raises(Broken, match="MR Image Storage"):
            dimse.store(association, mr, to)
    assert len(script.requested) == 1


def test_an_answer_reaches_its_request_however_late_the_reactor_wakes(
    ct: dimse.Item, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an Event of Python's in its place one of some fifty answers does not."""
    woken, late = dimse.Checkpoint.wait, random.Random(0)

    def wait(checkpoint: dimse.Checkpoint, timeout: float | None = None) -> bool:
        is_open = woken(checkpoint, timeout)
        time.sleep(late.random() * 0.006)  # as on a busy machine
        return is_open

    monkeypatch.setattr(dimse.Checkpoint, "wait", wait)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with running_listener(tmp_path) as ours:
            to = destination(ours.port, "TRIAGE", deadline_s=3.0)
            with dimse.associate(to, [ct.syntaxes]) as association:
                assert {dimse.store(association, ct, to) for _ in range(400)} == {0}
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("content", [b"", b"not DICOM at all", b"\0" * 128 + b"DICM"])
def test_what_is_no_dicom_file_is_told_apart(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(InvalidDicomError):
        dimse.inspect(path)


def test_the_verification_class_is_not_mixed_into_storage(ct: dimse.Item) -> None:
    assert dimse.VERIFICATION not in {one.abstract_syntax for one in dimse.proposals([ct.syntaxes])}
