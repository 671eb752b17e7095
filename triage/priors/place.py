"""Where priors rest: in the spool's ``priors``, apart from what is triaged and from its index.

Whoever rebuilds rows from the spool's ``store``, or purges it, does not meet them.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from triage.sharing import NOBODY, Readers
from triage.spool import Bytes, Spool, digest, write_all

FOLDER: Final = "priors"
ARRIVING: Final = "prior_in"
"""Where the listener puts what comes for ``listener.prior_ae_title``."""


def prior_path(root: Path, sha256: str) -> Path:
    """Give where a prior's content is kept, whether it is there or not."""
    return root / FOLDER / sha256[:2] / f"{sha256}.dcm"


def write(spool: Spool, *parts: Bytes) -> Path:
    """Write one instance as a draft; when this returns, its bytes are synced.

    Raises:
        OSError: it is not there, and nothing is left behind.
    """
    descriptor, draft = spool.draft()
    try:
        for part in parts:
            write_all(descriptor, part)
        os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            Path(draft).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return Path(draft)


def keep(
    root: Path, path: Path, readers: Readers = NOBODY, *, let_go: bool = True
) -> tuple[str, Path]:
    """Keep a file under its content's digest, for readers too, and let its former name go.

    Doing it again, or with another copy of the same content, changes nothing.
    """
    sha256 = digest(path)
    final = prior_path(root, sha256)
    if not final.parent.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        readers.open(final.parent.parent)
        readers.open(final.parent)
        _sync(final.parent.parent)
        _sync(root)
    readers.give(path)
    with suppress(FileExistsError):
        final.hardlink_to(path)
    readers.give(final)
    _sync(final.parent)
    if let_go:
        path.unlink(missing_ok=True)
    return sha256, final


def arrivals(root: Path, limit: int) -> list[Path]:
    """Give up to ``limit`` files that came by C-MOVE, oldest first."""
    folder = root / ARRIVING
    if not folder.is_dir():
        return []
    return [folder / name for name in sorted(os.listdir(folder))[:limit]]  # noqa: PTH208 - names alone


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
