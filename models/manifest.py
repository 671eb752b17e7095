"""An artifact's manifest: which files it is made of, and that each is the one that was packed.

    MANIFEST.sha256       sha256sum's format, over the four files of ``FILES``, and over those of
                          ``OPTIONAL`` that are there
    MANIFEST.sha256.sig   may be there: who vouches for the manifest, hence for all of it

No tensor library is needed to check a folder. Whether a signature holds is for others to judge.
"""

from pathlib import Path
from typing import Final

from models.files import sha256

WEIGHTS: Final = "weights.safetensors"
CARD: Final = "card.json"
CALIBRATION: Final = "calibration.json"
README: Final = "README.md"
MANIFEST: Final = "MANIFEST.sha256"
SIGNATURE: Final = "MANIFEST.sha256.sig"
REFERENCES: Final = "references.safetensors"
FILES: Final = (README, CALIBRATION, CARD, WEIGHTS)
OPTIONAL: Final = (REFERENCES,)


class BadArtifact(ValueError):
    """The folder is no whole, unchanged artifact. It is not used."""


def write(contents: dict[str, bytes]) -> bytes:
    """Give the manifest of these files."""
    names = [*FILES, *(name for name in OPTIONAL if name in contents)]
    return "".join(f"{sha256(contents[name])}  {name}\n" for name in names).encode()


def read(folder: Path) -> tuple[bytes, dict[str, bytes]]:
    """Give the manifest and the bytes of every file, each read once: what was checked is used.

    Raises:
        BadArtifact: a file is missing, unknown or changed.
    """
    manifest = _read(folder, MANIFEST)
    lines = manifest.decode("ascii", "replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {path.name for path in folder.iterdir()} - {SIGNATURE}
    wanted = {*FILES, *(name for name in OPTIONAL if name in listed)}
    if strangers := found ^ {*wanted, MANIFEST}:
        msg = f"{folder} lacks or should not hold: {', '.join(sorted(strangers))}"
        raise BadArtifact(msg)
    if set(listed) != wanted:
        msg = f"{folder / MANIFEST} does not list exactly {', '.join(FILES)}"
        raise BadArtifact(msg)
    contents = {name: _read(folder, name) for name in sorted(wanted)}
    for name, content in contents.items():
        if sha256(content) != listed[name]:
            msg = f"{folder / name} is not what {MANIFEST} says; install the artifact again"
            raise BadArtifact(msg)
    return manifest, contents


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        msg = f"{path} is missing or no plain file"
        raise BadArtifact(msg)
    return path.read_bytes()
