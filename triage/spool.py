"""The spool: received bytes on disk. It is the log; the database is only its index.

``in/<hh>/<uuid>.dcm`` waits for the ingestor, ``store/<hh>/<sha256>.dcm`` is kept, ``quarantine``
holds what is no part of a study, ``tmp`` what is still being written, ``ready`` files made ahead,
``reports`` what a PACS says about Storage Commitment, and ``journal`` the listener's security
events. Names are ours: nothing a peer sends becomes part of a path.
"""

import heapq
import os
import re
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from triage import log
from triage.content import digest
from triage.durable import (
    Bytes,
    disk_of,
    hand_over,
    has_room,
    is_alive,
    room,
    start_ticks,
    sync_file,
    sync_folder,
    time_ordered_uuid,
    write_all,
    write_synced,
)
from triage.journal import Journal, JournalEvent
from triage.ready import Blank, Ready
from triage.sealed import Content
from triage.sharing import NOBODY, Readers

__all__ = [
    "FOLDERS", "Bytes", "Journal", "JournalEvent", "Spool", "digest", "has_room", "room",
    "stored_path", "write_all",
]  # fmt: skip
FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
STALE_S: Final = 3600.0
"""A draft this old is nobody's, whoever its name says it belongs to."""
SETTLED_NS: Final = 1_000_000_000
"""A folder whose modification time is older than this cannot change without changing it."""
MADE_READY: Final = re.compile(r"([0-9a-f]{32})-([1-9][0-9]{0,5})\.dcm")
"""The name of a file that waits and is longer than its instance: its own, and the bytes of that."""


def stored_path(root: Path, sha256: str) -> Path:
    """Give where ``Spool.store`` keeps a content, whether it is there or not."""
    return root / "store" / sha256[:2] / f"{sha256}.dcm"


class Spool:
    """Folders of received bytes, and the only code that moves them.

    Every promise is kept by order: the bytes are fsync'ed, then named, then the folder is
    fsync'ed, and only then does a function return. Where the file system keeps the order by
    itself, the bytes are on the disk before they are named, and both syncs come after: the first
    one's commit of the journal then carries the name as well. What is written over a file made
    ready was named, and its name synced, before anything came (``triage.ready``).
    """

    def __init__(self, root: Path, readers: Readers = NOBODY) -> None:
        """Make the folders that are missing; ``readers`` may read what is kept.

        Raises:
            OSError: the place cannot be written.
        """
        self.root = root
        self.tmp = root / "tmp"
        self.journal = Journal(root / "journal")
        self._owner = f"{os.getpid()}-{start_ticks(os.getpid())}"
        self._drafts = f"{self.tmp}/{self._owner}-"
        self._in = {name: str(root / "in" / name) for name in FOLDERS}
        self._empty: dict[str, int] = {}
        self.readers = readers
        _make_folders(root)
        _open_folders(root, readers)
        disk = disk_of(root)
        self.is_ordered = disk.keeps_order
        """Whether one commit of the journal is enough for bytes and name."""
        self.ready = Ready(root / "ready", disk)

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
        path = f"{self._drafts}{time_ordered_uuid()}.dcm"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(path, flags, 0o600), path

    def admit(self, descriptor: int, draft: str, *, as_prior: bool = False) -> Path:
        """Let a whole draft wait in ``in``; when this returns, a power cut does not lose it.

        A prior waits in ``prior_in``, apart from what is triaged.

        Raises:
            OSError: it is not there; the draft may be.
        """
        if self.is_ordered:
            hand_over(descriptor)
        else:
            os.fsync(descriptor)
        name = draft[-36:]
        folder = f"{self.root}/prior_in" if as_prior else self._in[name[-6:-4]]
        final = f"{folder}/{name}"
        os.rename(draft, final)  # noqa: PTH104
        try:
            if self.is_ordered:
                os.fsync(descriptor)
            sync_folder(folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(final)  # noqa: PTH108
            raise
        return Path(final)

    def arrive(self, blank: Blank, content: Content) -> Path:
        """Write over a file made ready, which then waits in ``in``; no power cut loses it.

        Raises:
            OSError: it is not there, and nothing is left behind.
        """
        try:
            self.ready.fill(blank, content)
            final = self._link(blank.path, content.length)
        except BaseException:
            with suppress(OSError):
                os.unlink(blank.path)  # noqa: PTH108
            raise
        finally:
            os.close(blank.descriptor)
        self.ready.linked(blank, final)
        return Path(final)

    def _link(self, path: str, length: int) -> str:
        """Let a file that was made ready wait in ``in``, too; nothing is synced."""
        name = time_ordered_uuid()
        final = f"{self._in[name[-2:]]}/{name}-{length}.dcm"
        os.link(path, final)
        return final

    def cut(self, path: Path) -> None:
        """Cut a waiting file that was made ready to the length in its name, which it keeps.

        Doing it again changes nothing. A name that is not ours is left alone. What is linked and
        synced after it carries it, by the journal's order or because it is synced already.
        """
        if self._cut(path) and not self.is_ordered:
            sync_file(path)

    def _cut(self, path: Path) -> bool:
        """Cut it; tells whether its name says that it was made ready.

        Without a journal its name in ``in`` is made safe first: once it is cut, its tail may be
        anybody's, and then nothing else may tell that it was whole.
        """
        ours = MADE_READY.fullmatch(path.name)
        if ours is not None and path.stat().st_size > int(ours[2]):
            if not self.is_ordered:
                sync_folder(path.parent)
            os.truncate(path, int(ours[2]))
        return ours is not None

    def write_report(self, *parts: Bytes) -> Path:
        """Write one report on Storage Commitment to ``reports``, as safely.

        Raises:
            OSError: it is not there, and nothing is left behind.
        """
        return self._write(self.root / "reports" / f"{time_ordered_uuid()}.dcm", parts)

    def reports(self, limit: int) -> list[Path]:
        """Give up to ``limit`` waiting reports on Storage Commitment, oldest first."""
        folder = self.root / "reports"
        return [folder / name for name in sorted(self._names(str(folder)))[:limit]]

    def _write(self, final: Path, parts: tuple[Bytes, ...]) -> Path:
        draft = self.tmp / f"{self._owner}-{final.name}"
        try:
            write_synced(draft, parts)
            draft.rename(final)
            sync_folder(final.parent)
        except BaseException:
            for path in (draft, final):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        return final

    def incoming(self, limit: int) -> list[Path]:
        """Give up to ``limit`` waiting files, oldest first, cut to their length where possible."""
        waiting = (
            (name, folder)
            for folder in self._in.values()
            for name in self._names(folder)
            if name.endswith(".dcm")
        )
        paths = [Path(folder, name) for name, folder in heapq.nsmallest(limit, waiting)]
        for path in paths:
            with suppress(OSError):  # what is wrong with one file is told when it is taken
                self._cut(path)
        return paths

    def store(self, path: Path) -> tuple[str, Path]:
        """Keep a waiting file under its content's digest; the waiting name stays.

        Doing it again, or with another copy of the same content, changes nothing.
        """
        sha256 = digest(path)
        return sha256, self.keep(path, sha256)

    def keep(self, path: Path, sha256: str) -> Path:
        """Keep a waiting file under the digest of its content, which the caller knows."""
        self.readers.give(path)  # before its new name: the one sync carries both
        final = _keep(path, stored_path(self.root, sha256))
        self.readers.give(final)  # which an earlier copy may hold
        return final

    def mend(self, path: Path, sha256: str) -> bool:
        """Put a waiting file in the place of a kept one whose bytes are no longer its digest's.

        Tells whether it was so. A kept file that cannot be read is such a one.
        """
        final = stored_path(self.root, sha256)
        with suppress(OSError):
            if final.samefile(path) or digest(final) == sha256:
                return False
        fresh = self.tmp / f"{self._owner}-{time_ordered_uuid()}.dcm"
        fresh.hardlink_to(path)
        fresh.replace(final)
        self.readers.give(final)
        sync_folder(final.parent)
        return True

    def quarantine(self, path: Path, sha256: str) -> Path:
        """Keep a file that becomes no part of a study; the waiting name stays."""
        return _keep(path, self.root / "quarantine" / f"{sha256}.dcm")

    def release(self, path: Path) -> None:
        """Forget a waiting file, after its rows are committed."""
        path.unlink(missing_ok=True)

    def room(self) -> tuple[int, int]:
        """Give how many bytes can still be written, and how many files can still be made."""
        return room(self.root)

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

    def recover(self, *, after_all: bool) -> int:
        """Let wait in ``in`` what a power cut left whole in files made ready; gives how many.

        For the listener, as ``sweep`` is: ``after_all`` when it starts, else when one of its
        processes ended.
        """
        names: dict[int, str] = {}
        try:
            found = self.ready.recover(partial(self._admit_whole, names), after_all=after_all)
        except OSError as why:
            log.get().error("ready.unreadable", errno=why.errno)
            return 0
        for name, number in found.unreadable:  # each may hold what was acknowledged: it stays
            log.get().error("ready.unreadable", file=name, errno=number)
        return found.kept

    def _admit_whole(self, names: dict[int, str], path: str, length: int) -> bool:
        """See to it that a whole file has a safe name elsewhere; tells whether it had none.

        ``names`` is what was seen in ``in``, which is looked at again before one is given.
        """
        inode = os.stat(path).st_ino  # noqa: PTH116
        if inode not in names:
            names.update(self._waiting())
        final = names.get(inode) or self._kept(Path(path))
        is_new = not final
        if is_new:
            sync_file(path)
            final = self._link(path, length)
        sync_folder(final.rpartition("/")[0])
        return is_new

    def _waiting(self) -> dict[int, str]:
        """Give the path of each file in ``in``, by its inode."""
        found = {}
        for folder in self._in.values():
            with os.scandir(folder) as entries:
                found.update({entry.inode(): entry.path for entry in entries})
        return found

    def _kept(self, path: Path) -> str:
        """Give where a file is kept for good; "" where it is not."""
        sha256 = digest(path)
        for final in (stored_path(self.root, sha256), self.root / "quarantine" / f"{sha256}.dcm"):
            with suppress(FileNotFoundError):
                if final.samefile(path):
                    return str(final)
        return ""

    def _names(self, folder: str) -> list[str]:
        """List a folder, unless it was seen empty and has not changed since."""
        modified = os.stat(folder).st_mtime_ns  # noqa: PTH116 - 256 of them, ten times a second
        if self._empty.get(folder) == modified:
            return []
        names = os.listdir(folder)  # noqa: PTH208 - the same
        if not names and time.time_ns() - modified > SETTLED_NS:
            self._empty[folder] = modified
        return names


def _make_folders(root: Path) -> None:
    if not root.is_dir():
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(root.parent)
    for parent, names in (
        (root, ("tmp", "in", "store", "quarantine", "journal", "reports", "prior_in")),
        (root / "in", FOLDERS),
        (root / "store", FOLDERS),
    ):
        missing = [parent / name for name in names if not (parent / name).is_dir()]
        for folder in missing:
            folder.mkdir(exist_ok=True, mode=0o700)
        if missing:
            sync_folder(parent)


def _open_folders(root: Path, readers: Readers) -> None:
    """Let the readers find what is kept, and see how much waits; what waits is not theirs."""
    if readers.group is None:
        return
    for folder in (root, *(root / name for name in ("in", "store", "quarantine"))):
        readers.open(folder)
    for name in FOLDERS:
        readers.open(root / "in" / name)
        readers.open(root / "store" / name)


def _keep(path: Path, final: Path) -> Path:
    """Link and sync, also when the name is there: whoever made it may not have got to the sync."""
    with suppress(FileExistsError):
        final.hardlink_to(path)
    sync_folder(final.parent)
    return final


def _is_alive(draft: Path) -> bool:
    """Tell whether a draft's writer, whose PID and start its name holds, may still be at work."""
    with suppress(OSError):
        if time.time() - draft.stat().st_mtime > STALE_S:
            return False
    return is_alive(draft.name)
