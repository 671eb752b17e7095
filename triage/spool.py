"""The spool: received bytes on disk. It is the log; the database is only its index.

``in/<hh>/<uuid>.dcm`` waits for the ingestor, ``store/<hh>/<sha256>.dcm`` is kept, ``quarantine``
holds what could not be indexed, ``tmp`` what is still being written, ``reports`` what a PACS says
about Storage Commitment, and ``journal`` the listener's security events. Names are ours: nothing
a peer sends becomes part of a path.
"""

import hashlib
import heapq
import json
import os
import secrets
import struct
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from mmap import mmap
from pathlib import Path
from typing import Final

Bytes = bytes | bytearray | memoryview | mmap
FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
STALE_S: Final = 3600.0
"""A draft this old is nobody's, whoever its name says it belongs to."""
SETTLED_NS: Final = 1_000_000_000
"""A folder whose modification time is older than this cannot change without changing it."""
MAX_META_BYTES: Final = 65_536
MAX_JOURNAL_KEYS: Final = 200
"""Different events in one batch; beyond, only their kinds are told apart."""
MAX_JOURNAL_BATCHES: Final = 1000
"""Batches on disk; beyond, events are only counted until the ingestor has caught up."""


def stored_path(root: Path, sha256: str) -> Path:
    """Give where ``Spool.store`` keeps a content, whether it is there or not."""
    return root / "store" / sha256[:2] / f"{sha256}.dcm"


def digest(path: Path) -> str:
    """Give the SHA-256 of a Part 10 file's content: its transfer syntax and its data set.

    The file meta is left out. It says who brought the instance and from where, so with it the
    same instance sent twice would look like two contents under one SOP Instance UID.
    """
    with path.open("rb") as file:
        syntax, start = _content(file.read(MAX_META_BYTES))
        seeded = hashlib.sha256(syntax + b"\n")
        file.seek(start)
        return hashlib.file_digest(file, lambda: seeded).hexdigest()


class Spool:
    """Folders of received bytes, and the only code that moves them.

    Every promise is kept by order: the bytes are fsync'ed, then named, then the folder is
    fsync'ed, and only then does a function return.
    """

    def __init__(self, root: Path) -> None:
        """Make the folders that are missing.

        Raises:
            OSError: the place cannot be written.
        """
        self.root = root
        self.tmp = root / "tmp"
        self.journal = Journal(root / "journal")
        self._owner = f"{os.getpid()}-{_start_ticks(os.getpid())}"
        self._drafts = f"{self.tmp}/{self._owner}-"
        self._in = {name: str(root / "in" / name) for name in FOLDERS}
        self._empty: dict[str, int] = {}
        _make_folders(root)

    def write(self, *parts: Bytes) -> Path:
        """Write one file to ``in``; when this returns, a power cut does not lose it.

        Raises:
            OSError: it is not there, and nothing is left behind.
        """
        descriptor, draft = self.draft()
        try:
            for part in parts:
                write_all(descriptor, part)
            return self.admit(descriptor, draft)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)  # noqa: PTH108 - a path that is a text stays one, here and below
            raise
        finally:
            os.close(descriptor)

    def draft(self) -> tuple[int, str]:
        """Open a file to write to, which nobody sees yet; gives its descriptor and its path.

        Raises:
            OSError: it cannot be made.
        """
        path = f"{self._drafts}{_time_ordered_uuid()}.dcm"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(path, flags, 0o600), path

    def admit(self, descriptor: int, draft: str) -> Path:
        """Let a whole draft wait in ``in``; when this returns, a power cut does not lose it.

        Raises:
            OSError: it is not there; the draft may be.
        """
        os.fsync(descriptor)
        name = draft[-36:]
        folder = self._in[name[-6:-4]]
        final = f"{folder}/{name}"
        os.rename(draft, final)  # noqa: PTH104
        try:
            _sync_folder(folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(final)  # noqa: PTH108
            raise
        return Path(final)

    def write_report(self, *parts: Bytes) -> Path:
        """Write one report on Storage Commitment to ``reports``, as safely.

        Raises:
            OSError: it is not there, and nothing is left behind.
        """
        return self._write(self.root / "reports" / f"{_time_ordered_uuid()}.dcm", parts)

    def reports(self, limit: int) -> list[Path]:
        """Give up to ``limit`` waiting reports on Storage Commitment, oldest first."""
        folder = self.root / "reports"
        return [folder / name for name in sorted(self._names(str(folder)))[:limit]]

    def _write(self, final: Path, parts: tuple[Bytes, ...]) -> Path:
        draft = self.tmp / f"{self._owner}-{final.name}"
        try:
            _write_synced(draft, parts)
            draft.rename(final)
            _sync_folder(final.parent)
        except BaseException:
            for path in (draft, final):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        return final

    def incoming(self, limit: int) -> list[Path]:
        """Give up to ``limit`` waiting files, oldest first."""
        waiting = (
            (name, folder)
            for folder in self._in.values()
            for name in self._names(folder)
            if name.endswith(".dcm")
        )
        return [Path(folder, name) for name, folder in heapq.nsmallest(limit, waiting)]

    def store(self, path: Path) -> tuple[str, Path]:
        """Keep a waiting file under its content's digest; the waiting name stays.

        Doing it again, or with another copy of the same content, changes nothing.
        """
        sha256 = digest(path)
        return sha256, _keep(path, stored_path(self.root, sha256))

    def quarantine(self, path: Path, sha256: str) -> Path:
        """Keep a file that could not be indexed; the waiting name stays."""
        return _keep(path, self.root / "quarantine" / f"{sha256}.dcm")

    def release(self, path: Path) -> None:
        """Forget a waiting file, after its rows are committed."""
        path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Give how many bytes can still be written."""
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize

    def free_inodes(self) -> int:
        """Give how many files can still be made; file systems without a limit give the largest."""
        facts = os.statvfs(self.root)
        return facts.f_favail if facts.f_files else sys.maxsize

    def sweep(self) -> int:
        """Remove what a killed process left half written; gives how many files.

        A process in another PID namespace looks dead from here, so only the listener, which is
        the only writer, calls this, and only when it starts.
        """
        swept = 0
        for path in [*self.tmp.iterdir(), *self.journal.folder.glob("*.part")]:
            if not _is_alive(path):
                path.unlink(missing_ok=True)
                swept += 1
        return swept

    def _names(self, folder: str) -> list[str]:
        """List a folder, unless it was seen empty and has not changed since."""
        modified = os.stat(folder).st_mtime_ns  # noqa: PTH116 - 256 of them, ten times a second
        if self._empty.get(folder) == modified:
            return []
        names = os.listdir(folder)  # noqa: PTH208 - the same
        if not names and time.time_ns() - modified > SETTLED_NS:
            self._empty[folder] = modified
        return names


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """A security event of the listener, possibly many of the same. No patient data."""

    uuid: str
    """The same event may be read twice; its UUID stays."""
    at: str
    """ISO 8601, UTC: when the batch was written, at most seconds after the events."""
    kind: str
    """For example "association.rejected"."""
    code: str
    ae_title: str
    """As claimed by the peer, control characters replaced."""
    address: str
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Events on disk that nobody has acknowledged."""

    path: Path
    events: tuple[JournalEvent, ...]

    def done(self) -> None:
        """Forget the batch, after its rows are committed."""
        self.path.unlink(missing_ok=True)


class Journal:
    """The listener's security events on their way to the audit trail.

    Events are counted in memory and written as one immutable file of JSON lines a flush, so a
    flood costs one fsync a second, and writer and reader need no lock. What a flush has written
    is never lost; a kill loses what was counted since.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._counts: Counter[tuple[str, str, str, str]] = Counter()
        self._lock = threading.Lock()

    def note(self, kind: str, *, code: str = "", ae_title: str = "", address: str = "") -> None:
        """Count one event. Cheap, never blocks on the disk, never raises."""
        key = (kind, code, _clean(ae_title), _clean(address))
        with self._lock:
            if key not in self._counts and len(self._counts) >= MAX_JOURNAL_KEYS:
                key = (kind, "", "", "")
            self._counts[key] += 1

    def flush(self) -> list[JournalEvent]:
        """Write what was counted since the last flush, and give it.

        Raises:
            OSError: nothing was written, and the counts are kept for the next time.
        """
        with self._lock:
            counts, self._counts = self._counts, Counter()
        try:
            if counts and len(list(self.folder.glob("*.jsonl"))) < MAX_JOURNAL_BATCHES:
                return self._write(counts)
        except OSError:
            with self._lock:
                self._counts.update(counts)
            raise
        with self._lock:
            self._counts.update(counts)
        return []

    def batches(self) -> Iterator[Batch]:
        """Give the batches on disk, oldest first."""
        for path in sorted(self.folder.glob("*.jsonl")):
            lines = path.read_text(encoding="utf-8").splitlines()
            yield Batch(path, tuple(_event(path, line) for line in lines))

    def _write(self, counts: Counter[tuple[str, str, str, str]]) -> list[JournalEvent]:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        events = [JournalEvent(str(uuid.uuid4()), at, *key, n) for key, n in counts.items()]
        lines = "".join(json.dumps(asdict(event)) + "\n" for event in events)
        name = f"{os.getpid()}-{_start_ticks(os.getpid())}-{_time_ordered_uuid()}"
        draft = self.folder / f"{name}.part"
        try:
            _write_synced(draft, (lines.encode(),))
            draft.rename(self.folder / f"{name.rpartition('-')[2]}.jsonl")
            _sync_folder(self.folder)
        finally:
            draft.unlink(missing_ok=True)
        return events


def _event(path: Path, line: str) -> JournalEvent:
    try:
        return JournalEvent(**json.loads(line))
    except (ValueError, TypeError):
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{path.name}:{line}"))
        return JournalEvent(name, "", "journal.damaged", "", "", "", 1)


def _clean(text: str) -> str:
    return "".join(one if " " <= one <= "~" else "?" for one in text[:64])


def _make_folders(root: Path) -> None:
    if not root.is_dir():
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync_folder(root.parent)
    for parent, names in (
        (root, ("tmp", "in", "store", "quarantine", "journal", "reports")),
        (root / "in", FOLDERS),
        (root / "store", FOLDERS),
    ):
        missing = [parent / name for name in names if not (parent / name).is_dir()]
        for folder in missing:
            folder.mkdir(exist_ok=True, mode=0o700)
        if missing:
            _sync_folder(parent)


def write_all(descriptor: int, data: Bytes) -> None:
    """Write all of it, however little the file takes at a time.

    Raises:
        OSError: the disk refuses, or a limit.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _write_synced(path: Path, parts: tuple[Bytes, ...]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for part in parts:
            write_all(descriptor, part)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path | str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep(path: Path, final: Path) -> Path:
    """Link and sync, also when the name is there: whoever made it may not have got to the sync."""
    with suppress(FileExistsError):
        final.hardlink_to(path)
    _sync_folder(final.parent)
    return final


def _time_ordered_uuid() -> str:
    """Give a version 7 UUID in hexadecimal (RFC 9562 5.7): sorting names sorts by time."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return f"{number:032x}"


def _start_ticks(pid: int) -> str:
    """Give when a process started, in clock ticks since boot; "" if there is no such process."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return facts.rpartition(")")[2].split()[19]


def _is_alive(draft: Path) -> bool:
    """Tell whether a draft's writer, whose PID and start its name holds, may still be at work."""
    pid, _, rest = draft.name.partition("-")
    ticks = rest.partition("-")[0]
    with suppress(OSError):
        if time.time() - draft.stat().st_mtime > STALE_S:
            return False
    return pid.isdigit() and _start_ticks(int(pid)) == ticks


def _content(head: bytes) -> tuple[bytes, int]:
    """Give the transfer syntax UID and the offset of the data set in a Part 10 file (PS3.10 7.1).

    Anything else is all content.
    """
    position, syntax = 132, b""
    if head[128:132] != b"DICM":
        return b"", 0
    while head[position : position + 2] == b"\x02\x00" and position + 12 <= len(head):
        element, vr, length = struct.unpack_from("<xxH2sH", head, position)
        position += 8
        if vr in (b"OB", b"UN", b"UT", b"UR", b"UC"):
            (length,) = struct.unpack_from("<I", head, position)
            position += 4
        if element == 0x0010:
            syntax = head[position : position + length].rstrip(b"\0 ")
        position += length
    return (syntax, position) if position < len(head) else (b"", 0)
