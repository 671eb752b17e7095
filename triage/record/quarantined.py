"""The files that lie in quarantine, by the digests that are their names."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def quarantined(root: Path) -> Iterator[tuple[str, Path]]:
    """Give digest and path of each file in a spool's quarantine, sorted; other names are not ours.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in sorted((root / "quarantine").iterdir()):
        if path.suffix == ".dcm" and DIGEST.fullmatch(path.stem):
            yield path.stem, path
