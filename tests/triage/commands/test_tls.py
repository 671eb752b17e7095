"""``triage tls``: keys that only we can read, certificates that hold, and what is wrong."""

import shutil
import ssl
import subprocess
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from tests.certificates import Keys, made, spoil
from tests.servers import binary
from tests.triage.commands.cli import triage, write_site
from triage import settings as configuration
from triage.commands import doctor
from triage.commands.common import OK, SETUP


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def keys(sound: Keys, tmp_path: Path) -> Keys:
    """A copy to spoil."""
    shutil.copytree(sound.folder, tmp_path / "tls")
    write_site(tmp_path, listener={"tls": {"enabled": True}})
    return Keys(tmp_path)


def check(keys: Keys) -> dict[str, dict[str, Any]]:
    answer = triage("tls", "check", "--state", keys.state, "--json")
    lines: dict[str, dict[str, Any]] = {line["name"]: line for line in answer.json}
    assert (answer.code == OK) == all(line["ok"] for line in lines.values())
    return lines


def crosses(keys: Keys) -> dict[str, str]:
    found = {name: line for name, line in check(keys).items() if not line["ok"]}
    assert all(line["fix"] for line in found.values())
    return {name: line["found"] for name, line in found.items()}


class TestMaking:
    def test_private_keys_are_ours_alone_and_in_the_state_folder(self, tmp_path: Path) -> None:
        answer = triage("tls", "init", "--state", tmp_path, "--host", "pacs-gate.example")
        assert answer.code == OK, answer.err
        folder = tmp_path / "tls"
        assert S_IMODE(folder.stat().st_mode) == 0o700
        names = {path.name: S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert {name for name, mode in names.items() if mode == 0o600} == {
            "ca.key", "server.key", "client.key",
        }  # fmt: skip
        text = subprocess.run(
            [binary("openssl"), "x509", "-in", folder / "server.pem", "-noout", "-text"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert "DNS:pacs-gate.example" in text
        assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
        for role in ("server", "client"):
            words = ("verify", "-x509_strict", "-CAfile", "ca.pem", f"{role}.pem")
            command = [binary("openssl"), *words]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)

    def test_a_second_init_overwrites_nothing(self, keys: Keys) -> None:
        before = keys.file("server.key").read_bytes()
        answer = triage("tls", "init", "--state", keys.state)
        assert answer.code == SETUP
        assert "--renew" in answer.err
        assert keys.file("server.key").read_bytes() == before

    def test_a_renewal_keeps_the_authority(self, keys: Keys) -> None:
        before = {name: keys.digest(name) for name in ("ca.pem", "server.pem", "client.pem")}
        assert triage("tls", "init", "--renew", "--state", keys.state, "--days", "90").code == OK
        after = {name: keys.digest(name) for name in before}
        assert [name for name in before if before[name] == after[name]] == ["ca.pem"]
        assert "89 days left" in check(keys)["certificate server.pem"]["found"]

    def test_a_peer_without_certificate_is_given_one(self, keys: Keys) -> None:
        words = ("tls", "issue", "CT1", "--host", "ct1.example", "--state", keys.state)
        assert triage(*words).code == OK
        assert S_IMODE(keys.file("issued/CT1.key").stat().st_mode) == 0o600
        of = ssl.create_default_context(cafile=str(keys.file("ca.pem")))
        of.load_cert_chain(keys.file("issued/CT1.pem"), keys.file("issued/CT1.key"))
        assert triage(*words).code == SETUP
        assert triage("tls", "issue", "../x", "--state", keys.state).code == SETUP

    def test_trusting_adds_each_certificate_once(self, keys: Keys, tmp_path: Path) -> None:
        other = made(tmp_path / "other")
        words = ("tls", "trust", other.file("ca.pem"), "--state", keys.state, "--json")
        assert triage(*words).json == {"trusted": [other.digest("ca.pem")]}
        assert triage(*words).json == {"trusted": []}
        assert keys.file("trusted.pem").read_text().count("BEGIN CERTIFICATE") == 2
        assert triage("tls", "trust", other.file("ca.key"), "--state", keys.state).code == SETUP


class TestChecking:
    def test_what_is_sound_has_its_days_left(self, keys: Keys) -> None:
        lines = check(keys)
        assert all(line["ok"] for line in lines.values()), lines
        assert "729 days left" in lines["certificate server.pem"]["found"]
        assert keys.digest("server.pem") in lines["certificate server.pem is fit"]["found"]

    def test_nothing_made_and_nothing_used_is_no_fault(self, tmp_path: Path) -> None:
        assert crosses(Keys(tmp_path)) == {}

    def test_tls_switched_on_before_init_names_the_command(self, tmp_path: Path) -> None:
        write_site(tmp_path, listener={"tls": {"enabled": True}})
        assert check(Keys(tmp_path))["tls of listener"]["fix"] == "run `triage tls init`"

    @pytest.mark.parametrize(
        ("days", "said"), [(-1, "expired on 20"), (29, "28 days left"), (30, "29 days left")]
    )
    def test_an_end_that_is_near_or_past(self, keys: Keys, days: int, said: str) -> None:
        found = crosses(spoil(keys, "server", days=days))
        assert said in found["certificate server.pem"]

    def test_a_key_that_others_can_read(self, keys: Keys) -> None:
        keys.file("server.key").chmod(0o644)
        assert crosses(keys) == {"tls server.key": "mode 0644"}

    def test_a_key_of_another_certificate(self, keys: Keys) -> None:
        shutil.copy(keys.file("client.key"), keys.file("server.key"))
        assert "mismatch" in crosses(keys)["tls of listener"]

    def test_a_key_that_is_too_short(self, keys: Keys) -> None:
        found = crosses(spoil(keys, "client", days=300, bits=1024))
        assert "1024 bits" in found["certificate client.pem is fit"]

    def test_a_key_outside_the_state_folder(self, keys: Keys, tmp_path: Path) -> None:
        elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere.key"
        shutil.copy(keys.file("server.key"), elsewhere)
        files = {"certificate_file": str(keys.file("server.pem")), "key_file": str(elsewhere)}
        write_site(keys.state, listener={"tls": {"enabled": True, **files}})
        assert "outside the state folder" in crosses(keys)["tls key of listener"]

    def test_a_destination_is_examined_as_it_would_be_called(self, keys: Keys) -> None:
        to = {"name": "pacs", "ae_title": "PACS", "host": "h", "port": 104, "tls": {}}
        write_site(keys.state, destinations=[to])
        assert check(keys)["tls of pacs"]["found"] == "client, with our certificate"
        keys.file("trusted.pem").unlink()
        assert "trusted.pem" in crosses(keys)["tls of pacs"]

    def test_the_doctor_shows_the_days_left(self, keys: Keys) -> None:
        assert doctor._tls in doctor.PARTS
        found = {line.name: line.found for line in doctor._tls(configuration.load(keys.state))}
        assert "days left" in found["certificate server.pem"]
