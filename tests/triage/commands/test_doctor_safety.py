"""The doctor finds weak packages, weak or open secrets, missing decoders and studies left alone."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from db.engine import connect
from tests.db.builders import add_study
from tests.triage.commands.cli import triage, write_site
from triage.commands.common import FAILED, SETUP
from triage.commands.doctor_safety import secrets
from triage.keys import UID_KEY, site_key
from triage.settings import Site, load
from triage.sharing import Sharing
from triage.spool import Spool

Lines = dict[str, dict[str, object]]


def doctor(state: Path, **environment: str) -> Lines:
    return {line["name"]: line for line in triage("doctor", "--json", "--state", state,
                                                  **environment).json}  # fmt: skip


def plant(folder: Path, name: str, version: str) -> None:
    """Install a package of which there is nothing but the name."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write_site(tmp_path)
    triage("db", "upgrade", "--state", tmp_path)
    return tmp_path


def test_a_sound_installation_has_no_cross_among_these(site: Path) -> None:
    site_key(site / "secrets")
    lines = doctor(site)
    names = {"weaknesses", "database's clock", "state folder", "secrets folder",
             f"secret {UID_KEY}", f"strength of {UID_KEY}", "overdue studies",
             "studies without instances", "clock"}  # fmt: skip
    assert {name: lines[name]["ok"] for name in names} == dict.fromkeys(names, True)


def test_every_transfer_syntax_we_take_has_its_decoder(site: Path) -> None:
    decoders = {name: one for name, one in doctor(site).items() if name.startswith("decode ")}
    assert len(decoders) == 12
    assert all(one["ok"] for one in decoders.values())


def test_weak_packages_are_crosses(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {"starlette": "0.48.0", "pynetdicom": "3.0.3", "pydicom": "3.0.1", "torch": "2.9.0"}
    for name, version in planted.items():
        plant(tmp_path / "planted", name, version)
    monkeypatch.syspath_prepend(str(tmp_path / "planted"))
    lines = doctor(site)
    assert not any(lines[name]["ok"] for name in planted)
    assert not any(lines[f"weakness of {name}"]["ok"] for name in planted)
    assert "CVE-2025-62727" in str(lines["weakness of starlette"]["found"])


def test_a_weak_package_keeps_a_service_from_starting(site: Path, tmp_path: Path) -> None:
    plant(tmp_path / "planted", "starlette", "0.48.0")
    command = [sys.executable, "-m", "triage", "listen", "--state", str(site)]
    environment = {"PYTHONPATH": str(tmp_path / "planted"), "PATH": "/usr/bin"}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert ended.returncode == SETUP
    assert "triage: starlette 0.48.0 has CVE-2025-62727" in ended.stderr


def test_what_is_not_as_released_is_a_cross(site: Path) -> None:
    assert triage("sbom", "--out", site / "sbom.json").code == 0
    assert doctor(site)["bill of materials"]["ok"]
    text = (site / "sbom.json").read_text().replace('"name": "starlette"', '"name": "stranger"')
    (site / "sbom.json").write_text(text)
    found = doctor(site)["bill of materials"]
    assert not found["ok"]
    assert "stranger" in str(found["found"])


def test_a_secret_that_others_may_read_or_guess_is_a_cross(site: Path) -> None:
    site_key(site / "secrets")
    key = site / "secrets" / UID_KEY
    key.write_bytes(b"\0" * 32)
    key.chmod(0o640)
    (site / "secrets").chmod(0o755)
    lines = doctor(site)
    assert lines["secrets folder"]["fix"] == f"chmod 700 {site / 'secrets'}"
    assert lines[f"secret {UID_KEY}"]["fix"] == f"chmod 600 {key}"
    assert not lines[f"strength of {UID_KEY}"]["ok"]


def test_a_short_password_in_a_file_for_everybody_is_two_crosses(tmp_path: Path) -> None:
    path = write_site(tmp_path, broker={"url": "redis://user:hidden@10.9.8.7:1/0"})
    path.chmod(0o644)
    lines = doctor(tmp_path)
    assert lines["broker.url holds a password"]["fix"] == f"chmod 600 {path}"
    assert not lines["password in broker.url"]["ok"]
    assert "hidden" not in str({name: one["found"] for name, one in lines.items()})


def test_a_broker_and_a_web_open_to_the_network_are_crosses(tmp_path: Path) -> None:
    write_site(tmp_path, broker={"url": "redis://10.9.8.7:1/0"}, web={"host": "0.0.0.0"})
    lines = doctor(tmp_path)
    assert not lines["broker's password"]["ok"]
    assert not lines["web"]["ok"]


def test_a_study_that_nothing_moves_is_a_cross(site: Path) -> None:
    database = connect(f"sqlite:///{site / 'triage.sqlite'}")
    with database.begin() as session:
        study = add_study(session)
        study.last_instance_at -= timedelta(hours=1)
    database.dispose()
    answer = triage("doctor", "--json", "--state", site)
    lines: Lines = {line["name"]: line for line in answer.json}
    assert answer.code == FAILED
    assert (lines["overdue studies"]["ok"], lines["overdue studies"]["found"]) == (False, "1")
    assert not lines["studies without instances"]["ok"]


def test_what_the_readers_may_not_reach_or_others_may_is_a_cross(tmp_path: Path) -> None:
    site = Site(sharing=Sharing(readers=str(os.getegid())))
    settings = load(tmp_path / "state").model_copy(update={"site": site})
    Spool(settings.spool, settings.readers)
    site_key(settings.secrets / "triage-worker")
    settings.state.chmod(0o750)
    settings.secrets.chmod(0o710)

    def crosses() -> set[str]:
        return {line.name for line in secrets(settings) if not line.ok}

    assert crosses() == set()
    (settings.spool / "store").chmod(0o700)
    (settings.secrets / "triage-worker" / UID_KEY).chmod(0o640)
    settings.state.chmod(0o755)
    assert crosses() == {"kept studies", "state folder", f"secret triage-worker/{UID_KEY}"}
