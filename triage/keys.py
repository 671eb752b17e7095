"""Secrets in files: made on first need, readable by us alone, never logged."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from triage.errors import ConfigError

KEY_BYTES: Final = 32
UID_KEY: Final = "uid.key"
"""Of the report UIDs."""
AUDIT_KEY: Final = "audit.key"
"""Of the audit checkpoints."""
FACTOR_KEY: Final = "factor.key"
"""Of the secrets of second factors."""
COHORT_KEY: Final = "cohort.key"
"""Of the patients in cohorts."""


class Keyed:
    """Gives a name for what must not be told: always the same, and nothing without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, secret: str) -> str:
        """Give 32 hexadecimal digits of the HMAC-SHA-256."""
        return hmac.new(self._key, secret.encode(), hashlib.sha256).hexdigest()[:32]


def site_key(folder: Path, name: str = UID_KEY) -> bytes:
    """Give a 32-byte key, made on the first call. Lose it and report UIDs change: back it up.

    Raises:
        ConfigError: the file is readable by others, or of the wrong length.
    """
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        msg = f"{path} is readable by others; run: chmod 600 {path}"
        raise ConfigError(msg)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        msg = f"{path} holds {len(key)} bytes, not {KEY_BYTES}; restore it from a backup"
        raise ConfigError(msg)
    return key


def _make(path: Path) -> None:
    """Write the whole key under another name, then link it: two makers agree on one key."""
    # Not the process id: in a container it comes again, with the draft of one that was killed.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # the other maker was first
    finally:
        draft.unlink()
