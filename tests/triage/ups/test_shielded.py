"""The DIMSE door behind TLS: who is heard, and that nobody holds it shut."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from db.engine import Database
from tests.certificates import Keys, made
from tests.servers import binary
from tests.triage.commands.cli import triage, write_site
from tests.triage.ups.doors import CALLING, dimse_door, settings, status
from tests.triage.ups.items import new_item, uid
from triage import dimse
from triage import settings as configuration
from triage.dimse import Remote
from triage.errors import ConfigError, TryAgain
from triage.tls import TlsPeer, located
from triage.ups.client_dimse import DimseClient
from triage.ups.words import PUSH, Status
from triage.workflow import DimseManager, WorkManager

pytestmark = [
    # pynetdicom shuts a refused socket down, and leaves closing it to the collector
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("keys"))


def shielded(keys: Keys, **changes: object) -> WorkManager:
    """Give the manager's settings with these files, which ``triage tls init`` made."""
    found = located(settings(tls=changes), keys.state)
    assert isinstance(found, WorkManager)
    return found


def caller(port: int, tls: TlsPeer | None) -> Remote:
    return Remote("TRIAGE_UPS", "localhost", port, CALLING, 10.0, tls)


def test_a_work_item_is_made_and_found_over_tls(sqlite_database: Database, keys: Keys) -> None:
    item = uid()
    with dimse_door(sqlite_database, shielded(keys)) as port:
        with dimse.associate(
            caller(port, keys.caller()), [(PUSH, ExplicitVRLittleEndian)]
        ) as association:
            assert status(association.send_n_create(new_item(), PUSH, item)) == Status.DONE
        us = DimseManager(
            name="m", ae_title="TRIAGE_UPS", host="localhost", port=port,
            calling_ae_title=CALLING, tls=keys.caller(),
        )  # fmt: skip
        assert str(DimseClient(us).get(item).ProcedureStepState) == "SCHEDULED"


def test_dcmtk_is_heard_with_a_certificate(sqlite_database: Database, keys: Keys) -> None:
    command = [binary("echoscu", "/usr/bin"), "-aet", CALLING, "-aec", "TRIAGE_UPS"]
    with dimse_door(sqlite_database, shielded(keys)) as port:
        where = ["localhost", str(port)]
        assert subprocess.run([*command, *keys.dcmtk(), *where], check=False).returncode == 0
        assert subprocess.run([*command, *where], check=False).returncode != 0


@pytest.mark.parametrize("who", ["plain", "without a certificate", "a stranger"])
def test_nobody_else_is_heard(
    sqlite_database: Database, keys: Keys, tmp_path: Path, who: str
) -> None:
    stranger = made(tmp_path).caller(ca_file=keys.file("trusted.pem"))
    tls = {"plain": None, "without a certificate": keys.caller(""), "a stranger": stranger}[who]
    with dimse_door(sqlite_database, shielded(keys)) as port:
        with pytest.raises(TryAgain):
            dimse.echo(caller(port, tls))
        dimse.echo(caller(port, keys.caller()))


def test_callers_without_a_certificate_are_heard_where_the_site_wants_it(
    sqlite_database: Database, keys: Keys
) -> None:
    with dimse_door(sqlite_database, shielded(keys, client_certificates="none")) as port:
        dimse.echo(caller(port, keys.caller("")))


def test_a_caller_that_says_nothing_holds_up_nobody(
    sqlite_database: Database, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triage.ups.shielded.SHAKE_S", 2.0)
    with dimse_door(sqlite_database, shielded(keys)) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        silent[0].sendall(b"\x16\x03\x01\x02\x00")  # the beginning of a ClientHello
        began = time.monotonic()
        dimse.echo(caller(port, keys.caller()))
        silent[0].settimeout(20.0)
        assert silent[0].recv(64) == b""
        assert time.monotonic() - began < 20.0  # one after the other they would have 40 s
        for one in silent:
            one.close()


def test_a_renewed_certificate_is_shown_at_the_next_call(
    sqlite_database: Database, keys: Keys, tmp_path: Path
) -> None:
    shutil.copytree(keys.folder, tmp_path / "tls")
    mine = Keys(tmp_path)
    before = mine.caller(pins=[mine.digest("server.pem")])
    with dimse_door(sqlite_database, shielded(mine)) as port:
        dimse.echo(caller(port, before))
        assert triage("tls", "init", "--renew", "--state", tmp_path).code == 0
        with pytest.raises(TryAgain, match="not the pinned one"):
            dimse.echo(caller(port, before))
        dimse.echo(caller(port, mine.caller(pins=[mine.digest("server.pem")])))
        mine.file("server.key").unlink()
        with pytest.raises(TryAgain):
            dimse.echo(caller(port, mine.caller()))


def test_without_its_files_the_port_stays_shut_and_says_what_to_do(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with (
        pytest.raises(ConfigError, match="run `triage tls init`"),
        dimse_door(sqlite_database, shielded(Keys(tmp_path))),
    ):
        pass


def test_its_files_are_the_state_folders_own_and_are_checked(keys: Keys, tmp_path: Path) -> None:
    shutil.copytree(keys.folder, tmp_path / "tls")
    write_site(tmp_path, ups={"manager": {"enabled": True, "tls": {}}})
    of = configuration.load(tmp_path).site.ups.manager.tls
    assert of is not None
    assert of.certificate_file == tmp_path / "tls" / "server.pem"
    name = "tls of manager of work items"

    def checked() -> tuple[bool, str]:
        lines = triage("tls", "check", "--state", tmp_path, "--json").json
        [found] = [line for line in lines if line["name"] == name]
        return found["ok"], found["found"]

    assert checked() == (True, "server, with our certificate")
    (tmp_path / "tls" / "trusted.pem").unlink()
    assert not checked()[0]
