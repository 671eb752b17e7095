"""``triage release verify``: every file of a release is there, unchanged, and signed.

triage-VERSION-py3-none-any.whl   the program
requirements.lock                 what it runs on, each with its hash
triage.cdx.json                   the same as a bill, CycloneDX
release.json                      the commit, and what built it
NAME.sig                          a signature of each detector that ships
SHA256SUMS                        sha256sum's format, over all of the above
SHA256SUMS.sig                    OpenSSH's form, for the purpose "triage-release"
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State
from triage.errors import ConfigError
from triage.sshsig import LARGEST, BadSignature, PublicKey, sign, signer
from triage.trust import read_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAMESPACE: Final = "triage-release"
SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.sig"
LOCK: Final = "requirements.lock"
BILL: Final = "triage.cdx.json"
FACTS: Final = "release.json"
NEEDED: Final = {"a wheel": "triage-*.whl", "the lock": LOCK, "the bill": BILL, "its facts": FACTS}
KEYS: Final = "release-keys"
"""In the state folder: whose releases this site takes."""
LINE: Final = re.compile(r"([0-9a-f]{64})  ([\w.+-]+)")

app = typer.Typer(no_args_is_help=True, help="Releases: is it what was released?")


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder with a release shows."""

    by: PublicKey | None
    """Who signed it, of those that are trusted."""
    files: int
    problems: tuple[str, ...]


def seal(folder: Path, key: "Ed25519PrivateKey | None") -> None:
    """Write the hash of every file in the folder, and sign that list if there is a key."""
    names = sorted(path.name for path in folder.iterdir() if path.name not in {SUMS, SIGNATURE})
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    content = "".join(lines).encode()
    (folder / SUMS).write_bytes(content)
    (folder / SIGNATURE).unlink(missing_ok=True)
    if key is not None:
        (folder / SIGNATURE).write_text(sign(key, content, NAMESPACE), encoding="ascii")


def examine(folder: Path, keys: Sequence[PublicKey]) -> Found:
    """Hold a folder against its list, and the list against its signature.

    Without a trusted signature nothing else is looked at: a list of anybody's proves nothing.
    """
    try:
        content = _small(folder / SUMS)
        by = _signer(folder, content, keys)
    except (OSError, BadSignature) as why:
        said = f"{why.filename}: {why.strerror}" if isinstance(why, OSError) else str(why)
        return Found(None, 0, (said,))
    matches = [(line, LINE.fullmatch(line)) for line in content.decode("utf-8").splitlines()]
    odd = [f"{SUMS} holds a line that names no file" for _, match in matches if not match]
    listed = {match[2]: match[1] for _, match in matches if match}
    problems = [*odd, *_lacking(listed), *_differing(folder, listed)]
    return Found(by, len(listed), tuple(problems))


def _signer(folder: Path, content: bytes, keys: Sequence[PublicKey]) -> PublicKey:
    try:
        by = signer(_small(folder / SIGNATURE).decode("ascii", "replace"), content, NAMESPACE)
    except BadSignature as why:
        msg = f"{SIGNATURE}: {why}"
        raise BadSignature(msg) from None
    for one in keys:
        if one.raw == by.raw:
            return one
    msg = f"{SIGNATURE} is by {by.key_id}, a key that is not trusted"
    raise BadSignature(msg)


def _lacking(listed: dict[str, str]) -> list[str]:
    from fnmatch import fnmatch

    return [
        f"{SUMS} lists not {what}"
        for what, pattern in NEEDED.items()
        if not any(fnmatch(name, pattern) for name in listed)
    ]


def _differing(folder: Path, listed: dict[str, str]) -> list[str]:
    problems = []
    there = {path.name for path in folder.iterdir()} - {SUMS, SIGNATURE}
    for name in sorted({*listed, *there}):
        path = folder / name
        if name not in there:
            problems.append(f"{name} is missing")
        elif name not in listed:
            problems.append(f"{name} is not of this release")
        elif path.is_symlink() or not path.is_file():
            problems.append(f"{name} is no plain file")
        elif _sha256(path) != listed[name]:
            problems.append(f"{name} was changed")
    return problems


def _small(path: Path) -> bytes:
    """Read a file that has a few lines; of a larger one the beginning, which then is wrong."""
    with path.open("rb") as file:
        return file.read(16 * LARGEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@app.command("verify")
def release_verify(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The release.")],
    trusted: Annotated[
        Path | None,
        typer.Option(
            help="Public keys, one on a line, from somewhere else than the release; by default "
            "STATE/release-keys."
        ),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - options are arguments
    state: State = None,
    config: Config = None,
) -> None:
    """Check that every file is the one that was released, by a key that you trust; 1 if not."""
    keys = trusted or common.load(state, config).state / KEYS
    if not keys.is_file():
        msg = (
            f"{keys} is not there: put the project's public key into it, or name it: --trusted FILE"
        )
        raise ConfigError(msg)
    found = examine(folder, read_keys(keys))
    if as_json:
        common.print_json(
            {
                "ok": not found.problems,
                "key_id": found.by.key_id if found.by else None,
                "files": found.files,
                "problems": list(found.problems),
            }
        )
    else:
        for line in found.problems:
            typer.echo(line, err=True)
        if found.by and not found.problems:
            typer.echo(f"{found.files} files as released, signed by {found.by.key_id}")
    raise typer.Exit(common.FAILED if found.problems else common.OK)
