"""OHIF below /ohif/, where it is installed: static files for who sees images, and no one else.

It speaks to /dicomweb with the same session, so what it shows is checked and noted there.
"""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from triage.worklist import context

router = APIRouter()
FOLDER: Final = "ohif"
MISSING: Final = "OHIF is not installed here: triage viewer install-ohif."
TYPES: Final = {".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}


@router.get("/ohif")
def root() -> Response:
    """Lead to its list."""
    return RedirectResponse("/ohif/", 303)


@router.get("/ohif/{path:path}")
def file(request: Request, path: str) -> Response:
    """Give one of its files; its page for every address that is none."""
    folder = context.of(request).settings.state / FOLDER
    if not (folder / "index.html").is_file():
        raise HTTPException(404, MISSING)
    found = _inside(folder, path)
    if found is None:
        raise HTTPException(404)
    return FileResponse(found, media_type=TYPES.get(found.suffix))


def _inside(folder: Path, path: str) -> Path | None:
    """Give the file of that name, never one outside of the folder."""
    if "\0" in path:
        return None
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()):
        return None
    if found.is_file():
        return found
    return None if found.suffix else folder / "index.html"
