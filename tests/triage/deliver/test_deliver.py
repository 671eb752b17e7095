"""Delivery: the stored bytes, once, and never beyond the deadline."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from tests import servers
from tests.triage.deliver.stuck import stopping_midway
from tests.triage.outputs import studies
from tests.triage.peers import Scripted, destination, scripted
from triage import deliver as package
from triage.deliver import Sender, deliver
from triage.errors import Broken, TryAgain
from triage.finding import Document
from triage.outputs import structured_report


@pytest.fixture(scope="module")
def report() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return structured_report.build(assessment, studies.context())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """A document of 32 MiB."""
    image = pydicom.dcmread(studies.bundled("CT_small.dcm"))
    image.Rows = image.Columns = 4096
    image.PixelData = np.zeros((4096, 4096), np.int16).tobytes()
    path = studies.written(image, tmp_path_factory.mktemp("large") / "ct.dcm")
    return Document("image", CTImageStorage, str(image.SOPInstanceUID), path.read_bytes())


@pytest.fixture(scope="module")
def shared_sender() -> Iterator[Sender]:
    one = Sender()
    yield one
    one.stop()


@pytest.fixture
def sender(shared_sender: Sender) -> Sender:
    """A sender with a child, whatever the test before did to it."""
    shared_sender.start()
    return shared_sender


@pytest.fixture(autouse=True, scope="module")
def no_child_left() -> Iterator[None]:
    yield
    package.stop()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_a_resent_report_is_one_report_at_the_pacs(report: Document, tmp_path: Path) -> None:
    with servers.orthanc(tmp_path / "orthanc") as pacs:
        to = destination(pacs.dicom_port, pacs.ae_title, name="archive")
        receipts = {deliver(report, to) for _ in range(3)}
        (receipt,) = receipts
        assert (receipt.destination, receipt.status) == ("archive", 0)
        assert receipt.sop_instance_uid == report.sop_instance_uid
        (kept,) = pacs.find("Instance", SOPInstanceUID=report.sop_instance_uid)
        (study,) = pacs.find("Study", PatientID="1CT1")
        assert len(study["Series"]) == 1
        assert pacs.get(f"/instances/{kept['ID']}/simplified-tags")["Modality"] == "SR"


def test_the_very_bytes_arrive(report: Document, sender: Sender) -> None:
    with scripted(script := Scripted()) as to:
        assert sender.send(report, to) == 0
    (content,) = script.stored
    assert report.content.endswith(content)


def test_one_child_serves_many_documents(report: Document, sender: Sender) -> None:
    with scripted(script := Scripted()) as to:
        pids = {(sender.send(report, to), sender.pid) for _ in range(3)}
    assert len(pids) == 1
    assert len(script.stored) == 3


@pytest.mark.parametrize("status", [0xA700, 0x0110])
def test_busy_means_later(status: int, report: Document, sender: Sender) -> None:
    with scripted(Scripted([status])) as to, pytest.raises(TryAgain, match=f"0x{status:04X}"):
        sender.send(report, to)


def test_a_refusal_is_final(report: Document, sender: Sender) -> None:
    with scripted(Scripted([0xC000])) as to, pytest.raises(Broken) as caught:
        sender.send(report, to)
    assert str(caught.value) == "refused: pacs refused the object (0xC000)"


def test_what_is_no_dicom_file_is_broken(sender: Sender) -> None:
    with scripted(Scripted()) as to, pytest.raises(Broken, match="internal"):
        sender.send(Document("x", "1.2", "1.2.3", b"no DICOM"), to)


def test_nobody_there_means_later(report: Document, sender: Sender) -> None:
    with pytest.raises(TryAgain, match="no association"):
        sender.send(report, destination(servers.free_port(), "NOBODY"))


@pytest.mark.parametrize("option", ["--refuse", "--abort-after", "--abort-during"])
def test_a_hostile_pacs_means_later(
    option: str, report: Document, sender: Sender, tmp_path: Path
) -> None:
    with servers.storescp(tmp_path / "scp", option) as scp, pytest.raises(TryAgain):
        sender.send(report, destination(scp.port, scp.ae_title))


def test_a_stopped_pacs_costs_no_more_than_the_deadline(
    large: Document, sender: Sender, tmp_path: Path
) -> None:
    with servers.storescp(tmp_path / "scp") as scp:
        os.kill(scp.process.pid, signal.SIGSTOP)
        begin = time.monotonic()
        with pytest.raises(TryAgain):
            sender.send(large, destination(scp.port, scp.ae_title, deadline_s=2.0))
        assert time.monotonic() - begin < 4.0


def test_a_pacs_stopped_in_mid_object_costs_no_more_than_the_deadline(
    large: Document, report: Document, sender: Sender, tmp_path: Path
) -> None:
    pid = sender.pid
    assert pid is not None
    with servers.storescp(tmp_path / "scp", "+xa") as scp, stopping_midway(scp) as port:
        begin = time.monotonic()
        with pytest.raises(TryAgain, match="the sending process was ended"):
            sender.send(large, destination(port, scp.ae_title, deadline_s=3.0))
        assert 3.0 <= time.monotonic() - begin < 5.0
        assert not alive(pid)
    with scripted(Scripted()) as to:
        assert sender.send(report, to) == 0


def test_a_child_killed_between_documents_is_replaced(report: Document, sender: Sender) -> None:
    pid = sender.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert gone(pid, within_s=3.0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # its other threads end after the first one
    with scripted(Scripted()) as to:
        assert sender.send(report, to) == 0


def test_a_child_killed_while_sending_means_later(
    report: Document, sender: Sender, tmp_path: Path
) -> None:
    pid = sender.pid
    assert pid is not None
    with servers.storescp(tmp_path / "scp", "--sleep-during", "20") as scp:
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        with pytest.raises(TryAgain, match="ended"):
            sender.send(report, destination(scp.port, scp.ae_title))


def test_no_child_outlives_its_parent() -> None:
    code = (
        "import os, signal; from triage import deliver; deliver.warm(['pacs']);"
        "print(deliver._senders['pacs'].pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL
    assert gone(int(run.stdout), within_s=3.0)


def test_the_kernel_ends_a_send_that_nobody_watches(large: Document, tmp_path: Path) -> None:
    code = (
        "import os, sys; from tests.triage.deliver.orphan import orphan;"
        "orphan(int(sys.argv[1]), sys.argv[2])"
    )
    path = tmp_path / "large.dcm"
    path.write_bytes(large.content)
    with servers.storescp(tmp_path / "scp", "+xa") as scp, stopping_midway(scp) as port:
        run = subprocess.run(
            [sys.executable, "-c", code, str(port), str(path)],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert gone(int(run.stdout), within_s=6.0)


def test_a_forked_process_has_a_sender_of_its_own() -> None:
    package.warm(["pacs"])
    mine = package._senders["pacs"]
    pid = os.fork()
    if pid == 0:
        os._exit(0 if package.sender("pacs") is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert mine.pid is not None
    assert alive(mine.pid)


def test_stopping_ends_the_child() -> None:
    package.warm(["pacs"])
    pid = package._senders["pacs"].pid
    assert pid is not None
    package.stop()
    assert not alive(pid)
