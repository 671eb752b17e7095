"""``triage send``: DICOM files to an application entity, grouped so that one association does."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import typer
from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage
from pynetdicom.association import Association
from rich.console import Console
from rich.progress import Progress

from triage import dimse
from triage.commands import common
from triage.dimse import AssociationLost, Item, Peer, Remote, Syntaxes
from triage.errors import Broken, TryAgain
from triage.tls import TlsPeer

PAIRS_PER_ASSOCIATION: Final = dimse.MAX_CONTEXTS // 2
"""A pair of SOP class and transfer syntax takes up to two presentation contexts."""
SHOWN: Final = 20


class Fate(StrEnum):
    """What became of one file."""

    STORED = "stored"
    REFUSED = "refused"
    LATER = "later"
    """Not now: nobody there, busy, or no answer."""
    SKIPPED = "skipped"
    """No DICOM instance."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one file, and why."""

    path: Path
    fate: Fate
    status: int | None = None
    """C-STORE status, where the peer answered with one that stands for stored."""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether the peer has it."""
        return self.fate is Fate.STORED


def send(
    paths: Sequence[Path],
    to: str,
    *,
    calling: str,
    jobs: int,
    as_json: bool,
    tls: TlsPeer | None = None,
) -> int:
    """Send files and folders, show what became of each, give the exit code.

    0: everything that is DICOM is stored; 1: something is not, or there was nothing to send;
    2: ``to`` is not AE@HOST:PORT.
    """
    remote = replace(parse(to, calling), tls=tls)
    files = list(walk(paths))
    console = Console(stderr=True)
    begin = time.monotonic()
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Sending", total=len(files))
        results = send_files(files, remote, jobs=jobs, done=lambda: progress.advance(task))
    _show(results, time.monotonic() - begin, remote, as_json=as_json)
    fates = {one.fate for one in results}
    return common.OK if Fate.STORED in fates <= {Fate.STORED, Fate.SKIPPED} else common.FAILED


def parse(to: str, calling: str = "TRIAGE") -> Remote:
    """Read "AE@HOST:PORT".

    Raises:
        typer.BadParameter: it is not written so (exit code 2).
    """
    ae_title, at, address = to.partition("@")
    host, colon, port = address.rpartition(":")
    titles = all(1 <= len(one) <= 16 and one.isascii() for one in (ae_title, calling))
    if not (at and colon and host and port.isdecimal() and 0 < int(port) < 65536 and titles):
        msg = "write AE@HOST:PORT, for example PACS@10.0.0.5:104; AE titles have 1 to 16 characters"
        raise typer.BadParameter(msg, param_hint="--to")
    return Remote(ae_title, host.strip("[]"), int(port), calling_ae_title=calling)


def walk(paths: Iterable[Path]) -> Iterator[Path]:
    """Give the files named and those below the folders named, in order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path


def send_files(
    files: Sequence[Path], to: Peer, *, jobs: int = 1, done: Callable[[], object] = lambda: None
) -> list[Sent]:
    """Send files over ``jobs`` associations at once; gives their fates in the same order.

    ``done`` is called after each file.
    """
    items: list[Item] = []
    fates: dict[Path, Sent] = {}
    for path in dict.fromkeys(files):
        item = _item(path)
        if isinstance(item, Item):
            items.append(item)
        else:
            fates[path] = item
            done()
    for batch in _batches(items):
        waiting = deque(batch)
        pairs = list(dict.fromkeys(item.syntaxes for item in batch))
        courier = Courier(to, pairs, waiting, done)
        if jobs == 1:
            courier.run()
        else:
            with ThreadPoolExecutor(jobs) as pool:
                running = [pool.submit(courier.run) for _ in range(min(jobs, len(batch)))]
            for one in running:
                one.result()
        fates.update(courier.fates)
    return [fates[path] for path in files]


class Courier:
    """Takes files from a shared heap and sends them, over as many associations as it needs."""

    def __init__(
        self,
        to: Peer,
        pairs: Sequence[Syntaxes],
        waiting: deque[Item],
        done: Callable[[], object],
    ) -> None:
        self.fates: dict[Path, Sent] = {}
        self._to, self._pairs, self._waiting, self._done = to, pairs, waiting, done

    def run(self) -> None:
        """Send until the heap is empty; several threads may run the same courier.

        An association that breaks costs the file under way. One that does not come about costs
        the rest of the heap: the next one would not either.
        """
        while self._waiting:
            try:
                with dimse.associate(self._to, self._pairs) as association:
                    self._over(association)
            except AssociationLost:
                continue
            except (TryAgain, Broken) as why:
                while item := self._take():
                    self._note(item, why)

    def _over(self, association: Association) -> None:
        while item := self._take():
            try:
                status = dimse.store(association, item, self._to)
            except AssociationLost as why:
                self._note(item, why)
                raise
            except (TryAgain, Broken) as why:
                self._note(item, why)
            else:
                self.fates[item.path] = Sent(item.path, Fate.STORED, status)
                self._done()

    def _take(self) -> Item | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _note(self, item: Item, why: TryAgain | Broken) -> None:
        if isinstance(why, Broken):
            sent = Sent(item.path, Fate.REFUSED, detail=why.reason.detail)
        else:
            sent = Sent(item.path, Fate.LATER, detail=str(why))
        self.fates[item.path] = sent
        self._done()


def _item(path: Path) -> Item | Sent:
    try:
        item = dimse.inspect(path)
    except InvalidDicomError:
        return Sent(path, Fate.SKIPPED, detail="no DICOM file")
    except OSError as why:
        return Sent(path, Fate.LATER, detail=f"cannot be read: {why.strerror}")
    if item.sop_class_uid == MediaStorageDirectoryStorage:
        return Sent(path, Fate.SKIPPED, detail="a DICOMDIR, no instance")
    return item


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Group files by what they need, as many kinds together as one association carries."""
    pairs = list(dict.fromkeys(item.syntaxes for item in items))
    for start in range(0, len(pairs), PAIRS_PER_ASSOCIATION):
        some = set(pairs[start : start + PAIRS_PER_ASSOCIATION])
        yield [item for item in items if item.syntaxes in some]


def _show(results: Sequence[Sent], seconds: float, to: Remote, *, as_json: bool) -> None:
    counts = {str(fate): sum(one.fate is fate for one in results) for fate in Fate}
    if as_json:
        common.print_json(
            {
                "to": to.name,
                "seconds": round(seconds, 3),
                "counts": counts,
                "files": [
                    {
                        "path": str(one.path),
                        "fate": str(one.fate),
                        "status": None if one.status is None else f"0x{one.status:04X}",
                        "detail": one.detail,
                    }
                    for one in results
                ],
            }
        )
        return
    told = [one for one in results if not one.ok]
    for one in told[:SHOWN]:
        typer.echo(f"{one.fate}: {one.path}: {one.detail}")
    if len(told) > SHOWN:
        typer.echo(f"... and {len(told) - SHOWN} more; --json lists them all")
    summary = ", ".join(f"{count} {fate}" for fate, count in counts.items() if count)
    typer.echo(f"{to.name}: {summary or 'nothing to send'} in {seconds:.1f} s")
