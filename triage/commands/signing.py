"""Keys that sign, and what an artifact's folder shows of checksums and signatures."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from models import manifest
from models.files import sha256, write_atomically
from models.manifest import BadArtifact
from triage.errors import ConfigError
from triage.sshsig import PublicKey, public, sign
from triage.trust import NAMESPACE, SIGNATURE, Seal, Standing, judge

OTHERS: Final = 0o077
OPENSSH: Final = b"-----BEGIN OPENSSH "
"""The first line of a key in OpenSSH's form; what begins otherwise is PKCS 8."""


def new_key(path: Path, comment: str) -> PublicKey:
    """Make a key pair as ``ssh-keygen -t ed25519`` does: FILE of mode 0600, and FILE.pub.

    Raises:
        ConfigError: one of the files is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    known = public(key, comment)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    beside = path.with_name(f"{path.name}.pub")
    try:
        for file, content, mode in (
            (path, secret, 0o600),
            (beside, f"{known.line}\n".encode(), 0o644),
        ):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
    except OSError as why:
        msg = f"cannot write {why.filename}: {why.strerror}; a key is never written over"
        raise ConfigError(msg) from None
    return known


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key of Ed25519, in OpenSSH's form or PKCS 8.

    Raises:
        ConfigError: others may read it, it has a passphrase, or it is another kind of key.
    """
    try:
        if path.stat().st_mode & OTHERS:
            msg = f"{path} is readable by others; run: chmod 600 {path}"
            raise ConfigError(msg)
        content = path.read_bytes()
        load = load_ssh_private_key if content.startswith(OPENSSH) else load_pem_private_key
        key = load(content, password=None)
    except OSError as why:
        msg = f"cannot read {path}: {why.strerror}"
        raise ConfigError(msg) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        msg = (
            f"{path} is no private key of Ed25519 without a passphrase; make one with `triage "
            "artifact keys new FILE`, or sign with `ssh-keygen -Y sign`, which asks for it"
        )
        raise ConfigError(msg)
    return key


def sign_artifact(folder: Path, key: Ed25519PrivateKey, out: Path | None) -> PublicKey:
    """Sign a whole, unchanged artifact, in its folder or into another file.

    Raises:
        ConfigError: its checksums do not hold, or the signature cannot be written.
    """
    try:
        listed, _ = manifest.read(folder)
        write_atomically(out or folder / SIGNATURE, sign(key, listed, NAMESPACE).encode())
    except BadArtifact as why:
        msg = f"{why}; a damaged artifact is not signed"
        raise ConfigError(msg) from None
    except OSError as why:
        msg = f"cannot sign {folder}: {why.strerror}; --out FILE writes the signature elsewhere"
        raise ConfigError(msg) from None
    return public(key)


@dataclass(frozen=True, slots=True)
class Shown:
    """What an artifact's folder shows."""

    name: str
    folder: Path
    damage: str = ""
    """Why its checksums do not hold; empty where they do."""
    seal: Seal | None = None

    @property
    def is_trusted(self) -> bool:
        """Tell whether it is whole and somebody who is trusted says so."""
        return self.seal is not None and self.seal.standing == Standing.TRUSTED

    @property
    def sentence(self) -> str:
        """Say it to a person."""
        if self.damage or self.seal is None:
            return self.damage
        return f"{self.seal.manifest_sha256[:12]}, {self.seal.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """Give it for programs."""
        seal = self.seal
        return {
            "artifact": self.name,
            "folder": str(self.folder),
            "ok": self.is_trusted,
            "checksums": self.damage or "hold",
            "signature": seal.sentence if seal else "not looked at",
            "standing": seal.standing if seal else None,
            "key_id": seal.key.key_id if seal and seal.key else None,
            "manifest_sha256": seal.manifest_sha256 if seal else None,
        }


def look(folder: Path, places: Iterable[Path], keys: Sequence[PublicKey]) -> Shown:
    """Read every byte of an artifact, and its signatures.

    Args:
        folder: of the artifact.
        places: folders where NAME.sig may lie.
        keys: those that are trusted.
    """
    try:
        listed, _ = manifest.read(folder)
        seal = judge(folder, places, keys)
    except BadArtifact as why:
        return Shown(folder.name, folder, damage=str(why))
    except OSError as why:
        return Shown(folder.name, folder, damage=f"cannot be read: {why.strerror}")
    if sha256(listed) != seal.manifest_sha256:
        return Shown(folder.name, folder, damage="changed while it was read")
    return Shown(folder.name, folder, seal=seal)


def installed(places: Iterable[Path]) -> list[Path]:
    """Give the folder of each artifact, by name; where one lies in two places, that is used."""
    found: dict[str, Path] = {}
    for place in places:
        for folder in sorted(place.glob("*/")):
            if any((folder / name).is_file() for name in (manifest.MANIFEST, manifest.CARD)):
                found.setdefault(folder.name, folder)
    return [found[name] for name in sorted(found)]
