"""A package that is another, or that would write elsewhere, installs nothing."""

import hashlib
import io
import json
import tarfile
from base64 import b64encode
from pathlib import Path

import pytest
from typer.testing import CliRunner

from triage.__main__ import app
from triage.commands import ohif_package
from triage.commands.ohif_package import NotInstalled, install

PAGE = (
    '<html><head><script>window.PUBLIC_URL="/"</script><script defer src="/app.bundle.js">'
    "</script></head><body><div id=root></div></body></html>"
)
GOOD = {
    "package/dist/index.html": PAGE,
    "package/dist/app.bundle.js": '__webpack_require__.p = "/"; x = "/"',
    "package/dist/worker.bundle.js": 'y; __webpack_require__.p = "/";',
    "package/dist/app.bundle.css": "@font-face { src: url(/a.woff2) }",
    "package/dist/assets/logo.svg": "<svg/>",
    "package/dist/app.bundle.js.map": "{}",
    "package/dist/sw.js": "importScripts('https://elsewhere.test/x.js')",
    "package/dist/init-service-worker.js": "import 'https://elsewhere.test/x.js'",
    "package/dist/app-config.js": "window.config = { servers: 'https://elsewhere.test' }",
    "package/dist/ort/big.wasm": "0" * 1000,
    "package/src/secret.js": "no",
}


def packed(path: Path, files: dict[str, str], *extra: tarfile.TarInfo) -> str:
    """Write a package; gives its integrity."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in extra:
            archive.addfile(member)
    return f"sha512-{b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()}"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return tmp_path / "app.tgz"


def test_it_is_moved_below_ohif_and_asks_no_other_host(tmp_path: Path, package: Path) -> None:
    place = install(tmp_path / "state", package, integrity=packed(package, GOOD))
    assert place == tmp_path / "state" / "ohif"
    found = {str(one.relative_to(place)) for one in place.rglob("*") if one.is_file()}
    assert found == {
        "index.html", "app.bundle.js", "worker.bundle.js", "app.bundle.css", "assets/logo.svg",
        "app-config.js", "init-service-worker.js", "triage-inline-1.js", "triage-use.css",
    }  # fmt: skip
    text = {name: (place / name).read_text() for name in found}
    assert text["app.bundle.js"] == '__webpack_require__.p = "/ohif/"; x = "/"'
    assert "/ohif/" in text["worker.bundle.js"]
    assert "url(/ohif/a.woff2)" in text["app.bundle.css"]
    assert "<script>" not in text["index.html"]
    assert 'src="/ohif/app.bundle.js"' in text["index.html"]
    assert text["triage-inline-1.js"] == 'window.PUBLIC_URL="/ohif/"'
    assert "For prioritization only. Not for diagnosis." in text["index.html"]
    config = json.loads(text["app-config.js"].removeprefix("window.config = ").rstrip(";\n"))
    assert config["dataSources"][0]["configuration"]["wadoRoot"] == "/dicomweb"
    assert not any("elsewhere" in one for one in text.values())


def test_another_file_is_not_installed_and_the_former_stays(tmp_path: Path, package: Path) -> None:
    right = packed(package, GOOD)
    install(tmp_path, package, integrity=right)
    package.write_bytes(package.read_bytes() + b"\0")
    with pytest.raises(NotInstalled, match="SHA-512 is another"):
        install(tmp_path, package, integrity=right)
    assert (tmp_path / "ohif" / "index.html").is_file()
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".ohif-")] == []


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "evil",
    [
        "../outside", "package/dist/../../../outside", "/outside",
        "package/dist/..\\..\\outside", "package/dist/a/../../../outside",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_installs_nothing(
    tmp_path: Path, package: Path, evil: str
) -> None:
    state = tmp_path / "a" / "b" / "state"
    integrity = packed(package, GOOD | {evil: "harm"})
    before = set(tmp_path.rglob("outside"))
    with pytest.raises(NotInstalled, match="leads elsewhere"):
        install(state, package, integrity=integrity)
    assert set(tmp_path.rglob("*outside*")) == before
    assert not (state / "ohif").exists()


@pytest.mark.parametrize(
    "member",
    [
        link("package/dist/link.js", "/etc/passwd"),
        link("package/dist/hard.js", "package/dist/index.html", tarfile.LNKTYPE),
        link("package/dist/device", "", tarfile.CHRTYPE),
    ],
)
def test_links_and_devices_install_nothing(
    tmp_path: Path, package: Path, member: tarfile.TarInfo
) -> None:
    with pytest.raises(NotInstalled, match="a link, a device"):
        install(tmp_path, package, integrity=packed(package, GOOD, member))
    assert not (tmp_path / "ohif").exists()


def test_what_unpacks_to_too_much_installs_nothing(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ohif_package, "MOST_BYTES", 500)
    with pytest.raises(NotInstalled, match="more than it may"):
        install(tmp_path, package, integrity=packed(package, GOOD))
    monkeypatch.setattr(ohif_package, "MOST_FILES", 3)
    monkeypatch.setattr(ohif_package, "MOST_BYTES", 10**6)
    with pytest.raises(NotInstalled, match="more files"):
        install(tmp_path, package, integrity=packed(package, GOOD))


def test_the_command_says_why_not(tmp_path: Path, package: Path) -> None:
    package.write_bytes(b"no package")
    ran = CliRunner().invoke(
        app, ["viewer", "install-ohif", "--tarball", str(package), "--state", str(tmp_path / "s")]
    )
    assert ran.exit_code == 1
    assert "Not installed: the package is not @ohif/app" in ran.output
