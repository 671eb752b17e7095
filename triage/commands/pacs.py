"""``triage pacs``: a small test PACS that keeps what it gets. Not for patients."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt

from triage import dimse
from triage.dimse import STUDY_ROOT_FIND, VERIFICATION
from triage.stopping import on_stop_signal

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
OUT_OF_RESOURCES: Final = 0xA700
IDENTIFIER_MISMATCH: Final = 0xA900
LEVELS: Final = {
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
"""Query/Retrieve Level -> its unique key (PS3.4 C.6.2.1)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One instance that the test PACS keeps."""

    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    sha256: str
    """Of the data set as it arrived, without the file meta information."""
    arrived_at: datetime
    path: Path


def serve_pacs(
    folder: Path, port: int, ae_title: str, ready: Callable[[int], object], host: str = "127.0.0.1"
) -> None:
    """Answer C-ECHO, C-STORE and C-FIND until SIGTERM or SIGINT; for a process of its own.

    An instance that comes again is answered with success and keeps its first content.
    ``ready`` is called with the bound port; port 0 takes a free one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _config.UNRESTRICTED_STORAGE_SERVICE = True  # whatever is stored anywhere is stored here
    ae = AE(ae_title=ae_title)
    ae.maximum_associations = 64
    ae.maximum_pdu_size = dimse.MAX_PDU_BYTES
    ae.add_supported_context(VERIFICATION)
    ae.add_supported_context(STUDY_ROOT_FIND)
    stopping = on_stop_signal()
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, dimse.hurry),
        (evt.EVT_C_STORE, _store, [folder]),
        (evt.EVT_C_FIND, _find, [Shelf(folder)]),
    ]
    server: Any = ae.start_server((host, port), block=False, evt_handlers=handlers)
    try:
        ready(server.socket.getsockname()[1])
        stopping.wait()
    finally:
        server.shutdown()


def kept(folder: Path) -> list[Kept]:
    """Read what a test PACS keeps in ``folder``, first arrival first."""
    return sorted(map(_kept, _files(folder)), key=lambda one: one.arrived_at)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def _kept(path: Path) -> Kept:
    header = pydicom.dcmread(path, specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
    content = path.read_bytes()
    return Kept(
        study_instance_uid=str(header.StudyInstanceUID),
        sop_instance_uid=str(header.file_meta.MediaStorageSOPInstanceUID),
        sop_class_uid=str(header.file_meta.MediaStorageSOPClassUID),
        sha256=hashlib.sha256(content[_meta_length(content) :]).hexdigest(),
        arrived_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        path=path,
    )


def _meta_length(content: bytes) -> int:
    """Give where the data set begins: preamble, "DICM", group length element, its value."""
    return 132 + 12 + int.from_bytes(content[140:144], "little")


def _store(event: evt.Event, folder: Path) -> int:
    request: Any = event.request
    name = hashlib.sha256(str(request.AffectedSOPInstanceUID).encode()).hexdigest()
    path = folder / f"{name}.dcm"
    if path.exists():
        return SUCCESS
    draft = folder / f".{name}.{threading.get_ident()}"
    try:
        with draft.open("wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        return OUT_OF_RESOURCES
    return SUCCESS


class Shelf:
    """The headers of what a folder keeps, each read once; threads share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._headers: dict[Path, Dataset] = {}

    def headers(self) -> list[Dataset]:
        """Give the headers, by file name; a file keeps its first content, so one reading does."""
        with self._lock:
            for path in _files(self._folder):
                if path not in self._headers:
                    self._headers[path] = pydicom.dcmread(path, stop_before_pixels=True)
            return [self._headers[path] for path in sorted(self._headers)]


def _find(event: evt.Event, shelf: Shelf) -> Iterator[tuple[int, Dataset | None]]:
    query = event.identifier
    level = str(query.get("QueryRetrieveLevel", ""))
    if level not in LEVELS:
        yield IDENTIFIER_MISMATCH, None
        return
    headers = shelf.headers()
    answered: set[str] = set()
    for header in headers:
        unique = str(header.get(LEVELS[level], ""))
        if unique not in answered and _matches(query, header):
            answered.add(unique)
            answer = _answer(query, header)
            _count(answer, query, [one for one in headers if one.get(LEVELS[level]) == unique])
            yield PENDING, answer
    yield SUCCESS, None


def _count(answer: Dataset, query: Dataset, mine: Sequence[Dataset]) -> None:
    """Write how much belongs to a study or series, where that is asked (PS3.4 C.3.4)."""
    series = {str(one.get("SeriesInstanceUID", "")) for one in mine}
    for keyword, count in (
        ("NumberOfStudyRelatedInstances", len(mine)),
        ("NumberOfSeriesRelatedInstances", len(mine)),
        ("NumberOfStudyRelatedSeries", len(series)),
    ):
        if keyword in query:
            setattr(answer, keyword, count)


def _matches(query: Dataset, header: Dataset) -> bool:
    """Match single values, UID lists and wild cards (PS3.4 C.2.2.2), without sequences."""
    for element in query:
        asked = element.value
        if element.keyword in {"QueryRetrieveLevel", "SpecificCharacterSet"} or element.VR == "SQ":
            continue
        if asked in (None, "", []) or element.keyword.startswith("NumberOf"):
            continue
        has = str(header.get(element.keyword, ""))
        wanted = [str(one) for one in asked] if element.VM > 1 else [str(asked)]
        if not any(fnmatchcase(has, one) for one in wanted):
            return False
    return True


def _answer(query: Dataset, header: Dataset) -> Dataset:
    answer = Dataset()
    answer.QueryRetrieveLevel = query.QueryRetrieveLevel
    if "SpecificCharacterSet" in header:
        answer.SpecificCharacterSet = header.SpecificCharacterSet
    for element in query:
        if element.keyword in header:
            answer.add(header[element.keyword])
    return answer
