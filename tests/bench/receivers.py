"""Receivers side by side, what their processes cost, and studies to send them."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from tests.servers import binary, orthanc, storescp
from tests.triage.receive.conftest import running_listener

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CT = {"rows": 512, "columns": 512, "sop_class": CTImageStorage, "modality": "CT"}
DX = {
    "rows": 2500, "columns": 2000, "sop_class": DigitalXRayImageStorageForPresentation,
    "modality": "DX",
}  # fmt: skip


@dataclass(frozen=True)
class Receiver:
    """Something that takes C-STORE."""

    name: str
    port: int
    ae_title: str
    pid: int
    stored: Callable[[], int]
    """How many instances it has."""
    empty: Callable[[], None]
    rest: Callable[[], None] = lambda: time.sleep(0.2)
    """Let it do what it does when nothing comes."""


@contextmanager
def receivers(folder: Path) -> Iterator[list[Receiver]]:
    """Run storescp (tuned, no sync), the same synced, Orthanc (storage synced), and ours twice.

    The first of ours has a process for each core, the second a single one; both sync file and
    folder before each answer, as the synced storescp does. TCP_NODELAY=1 is in the environment of
    the others, or each of their answers waits 40 ms for the sender's acknowledgement.
    """
    options = ("+B", "-pdu", "131072", "-dhl", "--fork")
    with ExitStack() as stack:
        ours = [
            (name, stack.enter_context(
                running_listener(
                    folder / name.replace(" ", "-"), processes=processes,
                    max_associations_per_address=32,
                )
            ))
            for name, processes in (("triage", 0), ("triage, 1 process", 1))
        ]  # fmt: skip
        scps = [("storescp", stack.enter_context(storescp(folder / "storescp", *options)))]
        shim = _shim(folder)
        if shim is not None:
            with _preloaded(shim):
                synced = stack.enter_context(storescp(folder / "synced", *options))
            scps.append(("storescp, synced", synced))
        pacs = stack.enter_context(orthanc(folder / "orthanc", SyncStorageArea=True))

        def forget() -> None:
            for patient in pacs.get("/patients"):
                pacs.delete(f"/patients/{patient}")

        yield [
            *(
                Receiver(
                    name, scp.port, scp.ae_title, scp.process.pid,
                    stored=lambda scp=scp: len(scp.files()),  # type: ignore[misc]
                    empty=lambda scp=scp: _remove(scp.folder),  # type: ignore[misc]
                )
                for name, scp in scps
            ),
            Receiver(
                "Orthanc", pacs.dicom_port, pacs.ae_title, pacs.process.pid,
                stored=lambda: int(pacs.get("/statistics")["CountInstances"]),
                empty=forget,
            ),
            *(
                Receiver(
                    name, one.port, "TRIAGE", one.pid,
                    stored=lambda one=one: len(one.waiting()),  # type: ignore[misc]
                    empty=lambda one=one: _remove(one.spool / "in"),  # type: ignore[misc]
                    rest=lambda one=one: _wait_until_still(one.spool / "ready"),  # type: ignore[misc]
                )
                for name, one in ours
            ),
        ]  # fmt: skip


def _wait_until_still(folder: Path) -> None:
    """Wait until no more files are made ready: as many as were used, once it was quiet for 2 s."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 3.5:
        count = len(list(folder.iterdir()))
        if count != seen:
            seen, since = count, time.monotonic()
        time.sleep(0.1)


def _shim(folder: Path) -> Path | None:
    """Build what makes a program sync each file that it writes; None without a compiler."""
    compiler, built = shutil.which("cc"), folder / "synced.so"
    if compiler is None:
        print("no C compiler, so storescp is not measured with syncs")  # noqa: T201
        return None
    source = Path(__file__).with_name("synced.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


@contextmanager
def _preloaded(library: Path) -> Iterator[None]:
    """Start programs with a library before all others."""
    os.environ["LD_PRELOAD"] = str(library)
    try:
        yield
    finally:
        del os.environ["LD_PRELOAD"]


def _remove(folder: Path) -> None:
    """Move what was received aside, on the same disk.

    ext4 does not use a deleted file's inode again for a minute, and looks past each of them when
    it makes a file: after 300 deletions that alone is half a millisecond a file.
    """
    aside = folder.parent / f"aside-{time.monotonic_ns()}"
    aside.mkdir()
    for path in list(folder.rglob("*.dcm") if folder.name == "in" else folder.iterdir()):
        path.rename(aside / path.name)


def send(receiver: Receiver, parts: list[list[Path]], *, no_delay: bool = True) -> float:
    """Send all parts at once by DCMTK's storescu, one association each; gives seconds."""
    program = binary("storescu", "/usr/bin")
    to = ["-aec", receiver.ae_title, "-pdu", "131072", "127.0.0.1", str(receiver.port)]
    environment = {**os.environ, **({"TCP_NODELAY": "1"} if no_delay else {})}
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            [program, *to, *map(str, part)], env=environment, stderr=subprocess.DEVNULL
        )
        for part in parts
    ]
    codes = [sender.wait() for sender in senders]
    assert not any(codes), receiver.name
    return time.perf_counter() - started


def family(pid: int) -> list[int]:
    """Give a process and its descendants."""
    found = [pid]
    for one in found:
        with suppress(OSError):  # it ended meanwhile
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_s(pid: int) -> float:
    """Give CPU seconds of a process and its descendants, ended ones included."""
    total = 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICKS_PER_S


def memory_mib(pid: int) -> float:
    """Give resident memory of a process and its descendants, what they share counted once."""
    total = 0
    for one in family(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(text.split("Pss:")[1].split()[0])
    return total / 1024


@contextmanager
def peak_memory(pid: int) -> Iterator[list[float]]:
    """Look at the memory ten times a second; the list's last value is the peak."""
    found, done = [memory_mib(pid)], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            found.append(max(found[-1], memory_mib(pid)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def write_study(
    folder: Path, images: int, *, rows: int, columns: int, sop_class: str, modality: str
) -> list[Path]:
    """Write one series of made-up images of 16 bits."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    pixels = random.integers(0, 4096, (rows, columns), dtype=np.uint16)
    paths = []
    for number in range(images):
        one = pydicom.Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = UID(sop_class)
        one.SOPInstanceUID = generate_uid()
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.FrameOfReferenceUID = frame
        one.Modality, one.PatientID, one.PatientName = modality, "BENCH", "BENCH^RECEIVE"
        one.StudyDate, one.StudyTime, one.InstanceNumber = "20260101", "120000", number + 1
        one.ImageType, one.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "BENCH"
        one.Rows, one.Columns = rows, columns
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [0.5, 0.5], "1"
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.RescaleIntercept, one.RescaleSlope = "-1024", "1"
        one.PixelData = np.roll(pixels, number).tobytes()
        path = folder / f"{number:04d}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def real_disk(asked: Path | None) -> tuple[Path, str]:
    """Give a folder to measure in and its file system's type; a RAM disk syncs for nothing."""
    folder = asked or Path("/var/tmp")
    kind = subprocess.run(
        [shutil.which("stat") or "stat", "-f", "-c", "%T", str(folder)],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    if kind in {"tmpfs", "ramfs"}:
        msg = f"{folder} is a RAM disk; name a folder on a disk with --scratch"
        raise SystemExit(msg)
    return folder, kind
