"""Scripts, styles and pictures under a name that changes with their bytes, so that they are kept.

A browser that holds ``/static/<build>/triage.css`` asks for it never again: nothing of a patient is
in it, and another release has another build. The plain path serves the same file, not to be kept.
"""

import hashlib
from pathlib import Path
from typing import Final

from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER: Final = Path(__file__).parent / "static"
FOREVER: Final = "public, max-age=31536000, immutable"


def _build() -> str:
    files = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.relative_to(FOLDER)}\0{path.stat().st_size}\0".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


BUILD: Final = _build()
PLACE: Final = f"/static/{BUILD}"
"""Where pages find their files; a script's relative imports stay below it."""


class Assets(StaticFiles):
    """The files of the pages, with or without the build in their path."""

    def __init__(self) -> None:
        super().__init__(directory=str(FOLDER))

    def get_path(self, scope: Scope) -> str:
        """Give the path inside the folder."""
        return super().get_path(scope).removeprefix(f"{BUILD}/")
