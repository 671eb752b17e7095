"""Ended procedure steps, kept beside the bytes for as long as those may be there.

A step that took the wrong worklist entry holds its study, whose images may carry another patient's
name. Were that lost with the database, an index made anew would have the study analysed. So the
message that ended a step is kept in the spool; it holds UIDs and codes, and no patient.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from triage.durable import sync_folder

FOLDER: Final = Path("ledger", "steps")


def keep(message: Path, sop_instance_uid: str, study_instance_uids: Iterable[str]) -> None:
    """Keep a message that waits in a spool; when this returns, it is safe there.

    Again is once; another message that ends the same step takes the place of the first.

    Raises:
        OSError: it is not kept.
    """
    if message.parent.name != "reports":
        return  # a file that is not in a spool
    root = message.parents[1]
    for uid in study_instance_uids:
        folder = root / FOLDER / _key(uid)[:2]
        _make(folder, root)
        draft = folder / f"{message.stem}.{os.getpid()}.part"
        draft.unlink(missing_ok=True)
        draft.hardlink_to(message)
        draft.replace(folder / f"{_key(uid)}.{_key(sop_instance_uid)}.dcm")
        draft.unlink(missing_ok=True)  # it is there still where both were the same file
        sync_folder(folder)


def of_study(root: Path, study_instance_uid: str) -> Iterator[Path]:
    """Give the kept messages about a study."""
    key = _key(study_instance_uid)
    yield from sorted((root / FOLDER / key[:2]).glob(f"{key}.*.dcm"))


def every(root: Path) -> Iterator[Path]:
    """Give all kept messages; one about two studies is there twice."""
    yield from sorted((root / FOLDER).glob("*/*.dcm"))


def _make(folder: Path, root: Path) -> None:
    """Make a folder and those that it is in, which nobody else reads."""
    for one in (root / "ledger", root / FOLDER, folder):
        if not one.is_dir():
            one.mkdir(exist_ok=True, mode=0o700)
            sync_folder(one.parent)


def _key(uid: str) -> str:
    """Give a file name that no peer chose."""
    return hashlib.sha256(uid.encode()).hexdigest()
