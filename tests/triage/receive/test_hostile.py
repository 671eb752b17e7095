"""The listener against a collection of malformed files; and how a file of one is sent."""

import os
import statistics
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from tests.triage.receive import raw
from tests.triage.receive.conftest import Running, running_listener
from triage.content import _content
from triage.receive.negotiation import is_storage

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("TRIAGE_TEST_DATA", ROOT.parent / "shared" / "data"))
BAD, GOOD = DATA / "dicom-bad", DATA / "dicom"
STATUSES = {0x0000, 0x0117, 0x0122, 0xA900, 0xC000}
REJECTED = -2
"""The association was rejected: no context for this class or syntax."""
NOT_FOR_US = {
    "charsets/chrSQEncoding.dcm": 0xC000,  # no UIDs at all
    "charsets/chrSQEncoding1.dcm": 0xC000,
    "pydicom/nested_priv_SQ.dcm": 0xC000,
    "pydicom/priv_SQ.dcm": 0xC000,
    "pydicom/JPEGLSNearLossless_08.dcm": 0xC000,  # no Study Instance UID
    "pydicom/JPEGLSNearLossless_16.dcm": 0xC000,
    "pydicom/SC_rgb_jls_lossy_line.dcm": 0xC000,
    "pydicom/SC_rgb_jls_lossy_sample.dcm": 0xC000,
    "pydicom/SC_rgb_jpeg.dcm": 0xC000,  # implicit VR in an explicit syntax
    "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm": 0xC000,  # cut in its pixels
    "projection-and-other/GH364.dcm": 0xC000,  # pydicom cannot read it either
}
"""Valid files that are refused all the same, and with what."""


class File(NamedTuple):
    sop_class: str
    sop_instance: bytes
    syntax: str
    data: bytes


def read(path: Path) -> File:
    """Read what is needed to send a file's data set, as well as it can be read."""
    content = path.read_bytes()
    syntax, start = _content(content)
    sop_class, sop_instance = raw.CT, "1.2.3"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = dcmread(path, force=True, stop_before_pixels=True)
            sop_class = str(header.get("SOPClassUID") or sop_class)
            sop_instance = str(header.get("SOPInstanceUID") or sop_instance)
        except (InvalidDicomError, OSError, ValueError, TypeError, NotImplementedError):
            pass
    plain = sop_class if is_storage(sop_class) else raw.CT
    return File(
        plain,
        sop_instance.encode("latin-1", "replace"),
        syntax.decode("latin-1") or raw.IMPLICIT,
        content[start:],
    )


def send(port: int, file: File) -> int:
    """Send one file; gives the status, -1 for an abort and ``REJECTED`` for a rejection."""
    with raw.peer(port) as peer:
        peer.send(raw.associate_rq([(file.sop_class, [file.syntax])]))
        if peer.receive()[0] != raw.ACCEPT:
            return REJECTED
        return peer.store(file.data, file.sop_instance, sop_class=file.sop_class.encode())


def files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".md", ".csv"}
    )


def outside(ours: Running, folder: Path) -> list[Path]:
    """Give files that the listener made anywhere but in ``in`` and the journal."""
    known = [ours.spool / "in", ours.spool / "journal", folder / "config", ours.log]
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(path.is_relative_to(one) for one in known)
    ]


@pytest.mark.skipif(not BAD.is_dir(), reason="no collection of malformed files")
def test_every_malformed_file_is_answered_and_the_listener_stays_as_it_was(tmp_path: Path) -> None:
    hostile = [read(path) for path in files(BAD)]
    # The same again as a peer might send it who forgets to leave preamble and meta out.
    hostile += [file._replace(data=path.read_bytes(), syntax=raw.EXPLICIT)
                for file, path in zip(hostile, files(BAD), strict=True)]  # fmt: skip
    with running_listener(tmp_path) as ours:
        first = Counter(send(ours.port, file) for file in hostile)
        threads, descriptors, rss = _threads(ours), ours.descriptors(), ours.rss_kib()
        second = Counter(send(ours.port, file) for file in hostile)
        assert first == second
        assert set(first) <= STATUSES | {REJECTED}
        assert first[0] == len(ours.waiting()) / 2
        assert first[0xC000] > 100
        assert outside(ours, tmp_path) == []
        assert ours.rss_kib() < rss * 1.1
        assert ours.descriptors() <= descriptors + 1
        assert _threads(ours) <= threads + 1
        assert statistics.median(raw.echo_ms(ours.port) for _ in range(15)) < 100
        assert not [one for one in ours.events() if "bug" in one["event"]]


def _threads(ours: Running) -> int:
    return len(list(Path(f"/proc/{ours.pid}/task").iterdir()))
