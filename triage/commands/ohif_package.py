"""The OHIF viewer out of its npm package: checked, unpacked without what is not needed, moved.

The package is pinned by version and by hash. What it carries is made to live below /ohif/ once, at
installation: its bundles' base, its page's addresses, its configuration, no service worker, no
inline script. Nothing of it ever asks another host.
"""

import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

import httpx

from triage.errors import TriageError

VERSION: Final = "3.13.2"
URL: Final = f"https://registry.npmjs.org/@ohif/app/-/app-{VERSION}.tgz"
INTEGRITY: Final = (
    "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5P"
    "Pe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
)
"""As the registry states it (Subresource Integrity)."""
DIST: Final = ("package", "dist")
LEFT_OUT: Final = frozenset(
    ("ort", "dicom-microscopy-viewer", "sw.js", "google.js", "silent-refresh.html",
     "oidc-client.min.js", "_headers", "_redirects", "serve.json")
)  # fmt: skip
"""110 MB of ONNX runtime, microscopy, and what names other hosts."""
OURS: Final = ("app-config.js", "init-service-worker.js")
"""Written by us, whatever the package says."""
MOST_BYTES: Final = 512 * 2**20
MOST_FILES: Final = 5_000
CHUNK: Final = 2**20
TIMEOUT_S: Final = 60.0
BASE: Final = "/ohif"
WEBPACK_ROOT: Final = '__webpack_require__.p = "/"'
INLINE: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
USE: Final = "For prioritization only. Not for diagnosis. Review full images per standard of care."
STYLE: Final = """.triage-use { position: fixed; inset: auto 0 0; z-index: 99; margin: 0;
  padding: 2px;
  font: 12px system-ui, sans-serif; text-align: center; color: #a9b4be; background: #101418;
  pointer-events: none; }
"""
CONFIG: Final = {
    "name": "triage",
    "routerBasename": BASE,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": True,
    "showLoadingIndicator": True,
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "always"},
    "defaultDataSourceName": "triage",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "triage",
            "configuration": {
                "friendlyName": "Triage", "name": "triage", "wadoUriRoot": "/dicomweb",
                "qidoRoot": "/dicomweb", "wadoRoot": "/dicomweb", "imageRendering": "wadors",
                "thumbnailRendering": "wadors", "enableStudyLazyLoad": True,
                "qidoSupportsIncludeField": False, "supportsReject": False,
                "dicomUploadEnabled": False, "supportsFuzzyMatching": False,
                "supportsWildcard": True, "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}  # fmt: skip


class NotInstalled(TriageError):
    """The package is not what it has to be; what was installed before is untouched."""


def install(state: Path, tarball: Path | None = None, *, integrity: str = INTEGRITY) -> Path:
    """Install the viewer into the state folder, in place of an older one; gives where it is.

    Raises:
        NotInstalled: it cannot be fetched, its hash is wrong, or it holds what it must not.
    """
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix=".ohif-") as name:
        work = Path(name)
        packed = tarball or _fetch(work / "app.tgz")
        check(packed, integrity)
        unpacked = work / "ohif"
        unpack(packed, unpacked)
        settle(unpacked)
        return _replace(unpacked, state / "ohif", work / "former")


def check(packed: Path, integrity: str = INTEGRITY) -> None:
    """Hold a file against its hash.

    Raises:
        NotInstalled: it is another file, or cannot be read.
    """
    try:
        with packed.open("rb") as file:
            found = hashlib.file_digest(file, "sha512").digest()
    except OSError as why:
        msg = f"the package cannot be read: {why.strerror}"
        raise NotInstalled(msg) from None
    if f"sha512-{b64encode(found).decode()}" != integrity:
        msg = f"the package is not @ohif/app {VERSION}: its SHA-512 is another"
        raise NotInstalled(msg)


def unpack(packed: Path, folder: Path) -> None:
    """Write the wanted files of a package, and nothing outside of ``folder``.

    Raises:
        NotInstalled: a name leads elsewhere, a member is no plain file, or it is too much.
    """
    folder.mkdir()
    left = MOST_BYTES
    try:
        with tarfile.open(packed, "r:gz") as archive:
            for member in _members(archive):
                parts = _place(member)
                left -= member.size
                if left < 0:
                    msg = "the package unpacks to more than it may"
                    raise NotInstalled(msg)
                content = archive.extractfile(member) if parts else None
                if content is not None:
                    _write(content, folder.joinpath(*parts))
    except (tarfile.TarError, OSError, EOFError) as why:
        msg = f"the package cannot be unpacked ({type(why).__name__})"
        raise NotInstalled(msg) from None
    if not (folder / "index.html").is_file():
        msg = "the package holds no built viewer"
        raise NotInstalled(msg)


def settle(folder: Path) -> None:
    """Make an unpacked viewer live below /ohif/, with our configuration and no inline script."""
    for path in folder.glob("*.js"):
        _change(path, WEBPACK_ROOT, f'__webpack_require__.p = "{BASE}/"')
    for path in folder.glob("*.css"):
        _change(path, "url(/", f"url({BASE}/")
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8").replace('="/', f'="{BASE}/')
    for number, script in enumerate(INLINE.findall(text), 1):
        name = f"triage-inline-{number}.js"
        (folder / name).write_text(script, encoding="utf-8")
        text = text.replace(
            f"<script>{script}</script>", f'<script src="{BASE}/{name}"></script>', 1
        )
    text = text.replace(
        "</head>", f'<link href="{BASE}/triage-use.css" rel="stylesheet"></head>', 1
    )
    text = text.replace("</body>", f'<p class="triage-use" role="note">{USE}</p></body>', 1)
    page.write_text(text, encoding="utf-8")
    (folder / "triage-use.css").write_text(STYLE, encoding="utf-8")
    config = f"window.config = {json.dumps(CONFIG, indent=1)};\n"
    (folder / "app-config.js").write_text(config, encoding="utf-8")
    (folder / "init-service-worker.js").write_text("// There is none.\n", encoding="utf-8")


def _fetch(path: Path) -> Path:
    try:
        with httpx.stream("GET", URL, timeout=TIMEOUT_S, follow_redirects=False) as answer:
            answer.raise_for_status()
            size = 0
            with path.open("wb") as file:
                for chunk in answer.iter_bytes(CHUNK):
                    size += len(chunk)
                    if size > MOST_BYTES:
                        msg = "the registry sends more than it may"
                        raise NotInstalled(msg)
                    file.write(chunk)
    except httpx.HTTPError as why:
        msg = (
            f"{URL} cannot be fetched ({type(why).__name__}); on a machine that can, fetch it and "
            "give it by --tarball FILE"
        )
        raise NotInstalled(msg) from None
    return path


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for count, member in enumerate(archive):
        if count >= MOST_FILES:
            msg = "the package holds more files than it may"
            raise NotInstalled(msg)
        if not member.isdir():
            yield member


def _place(member: tarfile.TarInfo) -> tuple[str, ...]:
    """Give where a member belongs; nothing where it is not wanted.

    Raises:
        NotInstalled: it is a link or a device, or its name leads out of the folder.
    """
    name = PurePosixPath(member.name)
    if not member.isreg() or name.is_absolute() or ".." in name.parts or "\\" in member.name:
        msg = "the package holds a link, a device or a name that leads elsewhere"
        raise NotInstalled(msg)
    parts = name.parts[len(DIST) :]
    wanted = name.parts[: len(DIST)] == DIST and parts and parts[0] not in LEFT_OUT
    apple = "apple-touch" in name.name
    return parts if wanted and not apple and name.suffix != ".map" else ()


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("xb") as file:
        shutil.copyfileobj(content, file, CHUNK)


def _change(path: Path, old: str, new: str) -> None:
    content = path.read_bytes()
    if old.encode() in content:
        path.write_bytes(content.replace(old.encode(), new.encode()))


def _replace(unpacked: Path, place: Path, former: Path) -> Path:
    if place.exists():
        place.rename(former)
    unpacked.rename(place)
    return place
