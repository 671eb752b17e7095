"""How fast the listener takes a CT study from storescu: python -m tests.bench.receive [images]

300 images of 512 x 512 in 16 bits; one and four parallel associations; fsync on. For comparison
DCMTK's storescp, which does not sync. Prints instances per second, median of three.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.servers import binary, storescp
from tests.triage.receive.conftest import running_listener


def write_study(folder: Path, images: int) -> list[Path]:
    """Write one CT series."""
    random = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    paths = []
    for number in range(images):
        one = pydicom.Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.SOPInstanceUID = generate_uid()
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.FrameOfReferenceUID = frame
        one.Modality, one.PatientID, one.PatientName = "CT", "BENCH", "BENCH^RECEIVE"
        one.StudyDate, one.StudyTime, one.InstanceNumber = "20260101", "120000", number + 1
        one.ImageType, one.SeriesDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "HEAD"
        one.Rows = one.Columns = 512
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [0.5, 0.5], "1"
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.RescaleIntercept, one.RescaleSlope = "-1024", "1"
        one.PixelData = random.integers(0, 4096, (512, 512), dtype=np.uint16).tobytes()
        path = folder / f"{number:04d}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def send(port: int, ae_title: str, parts: list[list[Path]]) -> float:
    """Send all parts at once, one association each; gives seconds."""
    program = binary("storescu", "/usr/bin")
    command = [program, "-aec", ae_title, "-pdu", "131072", "127.0.0.1", str(port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    started = time.perf_counter()
    senders = [subprocess.Popen([*command, *map(str, part)], env=environment) for part in parts]
    assert all(sender.wait() == 0 for sender in senders)
    return time.perf_counter() - started


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_study(folder, images)
        with (
            running_listener(folder / "triage") as ours,
            storescp(folder / "theirs", "+B", "-pdu", "131072", "--fork") as theirs,
        ):
            peers = {"triage": (ours.port, "TRIAGE"), "storescp": (theirs.port, theirs.ae_title)}
            for parallel in (1, 4):
                parts = [paths[start::parallel] for start in range(parallel)]
                for who, (port, ae_title) in peers.items():
                    taken = [send(port, ae_title, parts) for _ in range(3)]
                    rate = images / statistics.median(taken)
                    print(f"{who} {parallel} association(s): {rate:.0f} instances/s")  # noqa: T201
            assert len(ours.waiting()) == images * 6
            print(f"listener: {ours.rss_kib() / 1024:.0f} MiB resident")  # noqa: T201


if __name__ == "__main__":
    main()
