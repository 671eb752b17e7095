"""``trust`` in site.yaml: whose signature a trained detector needs, and what its folder shows.

An artifact's manifest lists the hash of every file, so a signature of the manifest is one of all.
It lies in the folder, or as NAME.sig in a folder of artifacts: what ships need not be written to.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Annotated, Final

from pydantic import AfterValidator

from triage.errors import ConfigError, NotEligible
from triage.frozen import Frozen
from triage.sshsig import LARGEST, BadSignature, PublicKey, signer

NAMESPACE: Final = "triage-artifact"
"""What the signatures are made for: ``ssh-keygen -Y sign -n triage-artifact``."""
MANIFEST: Final = "MANIFEST.sha256"
SIGNATURE: Final = "MANIFEST.sha256.sig"
DETACHED: Final = ".sig"
"""After the artifact's name, in one of the folders that are searched."""
REFUSED: Final = "untrusted-detector"
"""Key of ``triage.errors.REASONS``."""


def _key_line(value: str) -> str:
    return PublicKey.parse(value).line


KeyLine = Annotated[str, AfterValidator(_key_line)]
"""A public key on one line, as ``triage artifact keys new`` and ``ssh-keygen`` write it."""


class Trust(Frozen):
    """Whose word counts."""

    artifact_keys: tuple[KeyLine, ...] = ()
    """A detector is loaded only if one of these signed it; without any, its checksums suffice."""

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """Give the keys."""
        return tuple(map(PublicKey.parse, self.artifact_keys))


class Standing(StrEnum):
    """What is to be said about a signature."""

    TRUSTED = "signed"
    STRANGER = "signed by a stranger"
    WRONG = "signature wrong"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True)
class Seal:
    """What one artifact's signature comes to."""

    standing: Standing
    manifest_sha256: str
    key: PublicKey | None = None
    """Who signed, where a signature holds."""
    why: str = ""
    """What is wrong with it."""

    @property
    def sentence(self) -> str:
        """Say it to a person."""
        if self.key is None:
            is_wrong = self.standing == Standing.WRONG
            return f"signature wrong: {self.why}" if is_wrong else "unsigned: checksums only"
        by = f"signed by {self.key.key_id}"
        if self.standing == Standing.STRANGER:
            return f"{by}, a key that is not trusted here"
        return f"{by} ({self.key.comment})" if self.key.comment else by


def judge(folder: Path, places: Iterable[Path], keys: Sequence[PublicKey]) -> Seal:
    """Look at the signatures of the artifact in ``folder``; the best that holds counts.

    Args:
        folder: of the artifact.
        places: folders of artifacts, where NAME.sig may lie.
        keys: those that are trusted.

    Raises:
        OSError: the manifest or a signature cannot be read.
    """
    manifest = (folder / MANIFEST).read_bytes()
    written = (folder / SIGNATURE, *(one / f"{folder.name}{DETACHED}" for one in places))
    seals = [_seal(path, manifest, keys) for path in written if path.is_file()]
    for standing in (Standing.TRUSTED, Standing.WRONG, Standing.STRANGER):
        for one in seals:
            if one.standing == standing:
                return one
    return Seal(Standing.UNSIGNED, _sha256(manifest))


def require(folder: Path, places: Iterable[Path], trust: Trust) -> Seal | None:
    """Give the seal that the site asks for; None where it asks for none.

    Raises:
        NotEligible: nobody who is trusted signed this.
    """
    if not trust.artifact_keys:
        return None
    try:
        seal = judge(folder, places, trust.keys)
    except OSError as why:
        what = PurePath(why.filename or folder).name
        raise refusal(folder.name, f"{what} cannot be read ({why.strerror})") from None
    if seal.standing != Standing.TRUSTED:
        raise refusal(folder.name, seal.sentence)
    return seal


def refusal(name: str, why: str) -> NotEligible:
    """Give the reason for which a detector is not used."""
    code, detail = REFUSED, f"artifact {name} is not used: {why}"
    return NotEligible(code, detail)


def read_keys(path: Path) -> tuple[PublicKey, ...]:
    """Read a file of public keys, one on a line; # begins a remark.

    Raises:
        ConfigError: it cannot be read, holds something else, or no key.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found = tuple(PublicKey.parse(line) for line in lines if line and not line.startswith("#"))
    except (OSError, ValueError) as why:
        said = why.strerror if isinstance(why, OSError) else f"{why}"
        msg = f"cannot use {path}: {said}"
        raise ConfigError(msg) from None
    if not found:
        msg = f"{path} holds no key; `triage artifact keys new` writes one into FILE.pub"
        raise ConfigError(msg)
    return found


def _seal(path: Path, manifest: bytes, keys: Sequence[PublicKey]) -> Seal:
    digest = _sha256(manifest)
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1).decode("ascii", "replace")
        by = signer(text, manifest, NAMESPACE)
    except BadSignature as why:
        return Seal(Standing.WRONG, digest, why=f"{path.name}: {why}")
    trusted = next((one for one in keys if one.raw == by.raw), None)
    if trusted is None:
        return Seal(Standing.STRANGER, digest, by)
    return Seal(Standing.TRUSTED, digest, trusted)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
