"""Closed generations, noted beside the bytes: an index made anew closes the same ones again.

A report's UIDs are made of its generation's number and members. Were they lost with the database,
a study analysed anew would be reported under other UIDs, and a PACS would show two reports.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from triage.errors import TryAgain
from triage.study import StudyRef

FOLDER: Final = "generations"


@dataclass(frozen=True, slots=True)
class ClosedGeneration:
    """What one closed generation was made of. UIDs and digests only."""

    study_instance_uid: str
    number: int
    digest: str
    evidence: str
    members: Sequence[tuple[str, str]]
    """SOP Instance UID and SHA-256 of each, sorted."""


def note(ref: StudyRef, digest: str) -> None:
    """Note a generation in the spool its files are in; when this returns, it is safe there.

    The same number noted again takes the place of the first: its transaction did not hold.

    Raises:
        TryAgain: it could not be written.
    """
    if not ref.instances or ref.instances[0].path.parent.parent.name != "store":
        return  # files that are not in a spool
    root = ref.instances[0].path.parents[2]
    members = sorted((one.sop_instance_uid, one.sha256) for one in ref.instances)
    closed = ClosedGeneration(
        ref.study_instance_uid, ref.generation, digest, ref.evidence, members
    )  # fmt: skip
    try:
        _write(_path(root, closed), json.dumps(asdict(closed)).encode())
    except OSError as why:
        msg = f"the generation cannot be noted in the spool ({why.strerror})"
        raise TryAgain(msg) from None


def noted(root: Path, study_instance_uid: str) -> Iterator[ClosedGeneration]:
    """Give the noted generations of a study, the first one first; what is damaged is left out."""
    key = _key(study_instance_uid)
    found = []
    for path in (root / FOLDER / key[:2]).glob(f"{key}.*.json"):
        with suppress(OSError, ValueError, TypeError):
            facts = json.loads(path.read_bytes())
            members = [(str(uid), str(sha256)) for uid, sha256 in facts.pop("members")]
            found.append(ClosedGeneration(**facts, members=members))
    yield from sorted(found, key=lambda one: one.number)


def _path(root: Path, closed: ClosedGeneration) -> Path:
    key = _key(closed.study_instance_uid)
    return root / FOLDER / key[:2] / f"{key}.{closed.number}.json"


def _key(study_instance_uid: str) -> str:
    """Give a file name that no peer chose."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
