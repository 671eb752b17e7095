"""Generated studies and the ways they reach the spool."""

from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from triage.commands.demo_studies import radiograph
from triage.spool import Spool

NUMBERS = count(1)


def dx(
    *, study: str | None = None, patient: str = "P1", seed: int = 0, instance: int = 1,
    rows: int = 32,
) -> FileDataset:  # fmt: skip
    """A small chest radiograph; the same arguments give the same bytes."""
    pixels = np.random.default_rng(seed).integers(0, 4096, (rows, rows), dtype=np.uint16)
    key = study or f"study-{next(NUMBERS)}"
    dataset = radiograph(pixels, name="Canary^Name", key=key, instance=instance)
    dataset.PatientID = patient
    return dataset


def renamed(dataset: FileDataset) -> FileDataset:
    """The same picture as another SOP instance."""
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def part10(dataset: FileDataset, *, source: str = "MODALITY") -> bytes:
    """The bytes the listener would spool."""
    dataset.file_meta.SendingApplicationEntityTitle = source
    body = BytesIO()
    dataset.save_as(body, enforce_file_format=True)
    return body.getvalue()


def spooled(spool: Spool, *datasets: FileDataset, source: str = "MODALITY") -> list[Path]:
    """Put instances where the listener puts them."""
    return [spool.write(part10(dataset, source=source)) for dataset in datasets]


def file_meta_length(content: bytes) -> int:
    """Where a Part 10 file's data set begins."""
    return 132 + 12 + int.from_bytes(content[140:144], "little")
