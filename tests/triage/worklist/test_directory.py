"""Signing in against a real directory: OpenLDAP's slapd, on loopback."""

import shutil
import socket
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from db.engine import Database
from db.tables import UserRow
from tests.servers import free_port
from tests.triage.worklist.client import NAME, Client
from tests.triage.worklist.conftest import audited
from triage.accounts import Accounts, Ldap
from triage.errors import TryAgain
from triage.settings import Settings
from triage.worklist import directory
from triage.worklist.app import create_app

pytest.importorskip("ldap3", reason="the extra ldap is not installed")
SLAPD = shutil.which("slapd", path="/usr/sbin:/usr/local/sbin:/usr/libexec:/usr/bin")
pytestmark = pytest.mark.skipif(SLAPD is None, reason="slapd is not installed")
START_S = 60.0
PASSWORD, BIND = "the password of far", "what the service binds with"
BASE = "dc=hospital,dc=example"
CONFIGURATION = """
    include /etc/ldap/schema/core.schema
    include /etc/ldap/schema/cosine.schema
    include /etc/ldap/schema/inetorgperson.schema
    pidfile {folder}/slapd.pid
    modulepath /usr/lib/ldap
    moduleload back_mdb
    {more}
    database mdb
    suffix "dc=hospital,dc=example"
    rootdn "cn=service,dc=hospital,dc=example"
    rootpw "what the service binds with"
    directory {folder}/data
    access to attrs=userPassword by anonymous auth by * none
    access to * by users read by * none
"""
ENTRIES = """
    dn: dc=hospital,dc=example
    objectClass: dcObject
    objectClass: organization
    dc: hospital
    o: Hospital

    dn: ou=people,dc=hospital,dc=example
    objectClass: organizationalUnit
    ou: people

    dn: uid=far,ou=people,dc=hospital,dc=example
    objectClass: inetOrgPerson
    uid: far
    cn: Far
    sn: Far
    userPassword: the password of far

    dn: uid=idle,ou=people,dc=hospital,dc=example
    objectClass: inetOrgPerson
    uid: idle
    cn: Idle
    sn: Idle
    userPassword: the password of far

    dn: cn=readers,dc=hospital,dc=example
    objectClass: groupOfNames
    cn: readers
    member: uid=far,ou=people,dc=hospital,dc=example
"""


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A directory with two people, of whom one is a reader; gives its URL."""
    folder = tmp_path_factory.mktemp("slapd")
    url = f"ldap://127.0.0.1:{free_port()}"
    with running(folder, url):
        yield url


@contextmanager
def running(folder: Path, *urls: str, more: str = "") -> Iterator[None]:
    """Run slapd on these addresses; ``more`` goes into the global part of its configuration."""
    assert SLAPD is not None
    (folder / "data").mkdir()
    file, entries = folder / "slapd.conf", folder / "entries.ldif"
    file.write_text(textwrap.dedent(CONFIGURATION.format(folder=folder, more=more)).lstrip())
    entries.write_text(textwrap.dedent(ENTRIES).lstrip())
    add = [str(Path(SLAPD).with_name("slapadd")), "-f", str(file), "-l", str(entries)]
    subprocess.run(add, check=True, capture_output=True, timeout=60)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [SLAPD, "-f", str(file), "-h", " ".join(urls), "-d", "0"], stdout=log, stderr=log
        )
        try:
            for url in urls:
                _wait(int(url.rpartition(":")[2]))
            yield
        finally:
            process.terminate()
            process.wait(30)


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=START_S):
                return
        except OSError:
            assert time.monotonic() < deadline, "slapd was not ready in time"
            time.sleep(0.05)


def ldap(at: str, folder: Path, **given: Any) -> Ldap:  # noqa: ANN401 - any setting
    file = folder / "bind-password"
    file.write_text(BIND)
    file.chmod(0o600)
    values: dict[str, Any] = {
        "url": at, "allows_plain": True, "people": f"ou=people,{BASE}", "groups": BASE,
        "group_attribute": "member", "bind_dn": f"cn=service,{BASE}", "bind_password_file": file,
        "roles": {f"cn=Readers,{BASE}": "radiologist"},
    }  # fmt: skip
    return Ldap(**(values | given))


@pytest.fixture
def browser(app: FastAPI, settings: Settings, tmp_path: Path, slapd: str) -> Iterator[Client]:
    assert app is not None
    web = settings.site.web.model_copy(update={"accounts": Accounts(ldap=ldap(slapd, tmp_path))})
    site = settings.site.model_copy(update={"web": web})
    made = create_app(settings.model_copy(update={"site": site}))
    with Client(made) as client:
        yield client
    made.state.previews.close()
    made.state.context.database.dispose()


def test_a_person_of_the_directory_gets_an_account_and_local_ones_still_work(
    browser: Client, rows: Database
) -> None:
    assert browser.sign_in("far", PASSWORD).status_code == 303
    assert browser.get("/studies").status_code == 200
    with rows.reading() as session:
        user = session.scalars(select(UserRow).where(UserRow.name == "far")).one()
        assert (user.role, user.password_hash) == ("radiologist", "")
    (entry,) = audited(rows, "login")
    assert entry.actor == "far"
    browser.cookies.clear()
    assert browser.sign_in().status_code == 303
    browser.cookies.clear()
    assert browser.sign_in("far", PASSWORD).status_code == 303


@pytest.mark.parametrize(
    ("name", "password", "status"),
    [
        ("far", "not it", 401),
        ("far", "", 401),
        ("nobody", PASSWORD, 401),
        ("*", PASSWORD, 401),
        ("f*", PASSWORD, 401),
        ("far)(uid=*", PASSWORD, 401),
        (NAME, PASSWORD, 401),
        ("idle", PASSWORD, 403),
    ],
)
def test_nothing_else_opens(
    browser: Client, rows: Database, name: str, password: str, status: int
) -> None:
    assert browser.sign_in(name, password).status_code == status
    assert browser.get("/studies").status_code == 303
    with rows.reading() as session:
        assert list(session.scalars(select(UserRow.name))) == [NAME]
    assert len(audited(rows, "login.refused")) == 1


def test_guessing_locks_the_account_here_too(browser: Client, rows: Database) -> None:
    browser.sign_in("far", PASSWORD)
    browser.cookies.clear()
    for _ in range(10):
        browser.sign_in("far", "a guess")
    assert len(audited(rows, "user.locked")) == 1
    assert browser.sign_in("far", PASSWORD).status_code == 401


def test_a_directory_that_is_away_is_said(tmp_path: Path) -> None:
    away = ldap(f"ldap://127.0.0.1:{free_port()}", tmp_path, timeout_s=2.0)
    with pytest.raises(TryAgain, match="does not answer"):
        directory.prove(away, "far", PASSWORD)


def test_a_wrong_bind_password_is_said(slapd: str, tmp_path: Path) -> None:
    of = ldap(slapd, tmp_path)
    (tmp_path / "bind-password").write_text("another")
    with pytest.raises(TryAgain, match="refuses"):
        directory.prove(of, "far", PASSWORD)


@pytest.mark.parametrize("given", [{"url": "ldap://directory.example"}, {"allows_plain": False},
                                   {"bind_dn": ""}])  # fmt: skip
def test_it_is_reached_by_tls_and_with_both_of_a_pair(
    tmp_path: Path, given: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"ldaps://|go together"):
        ldap("ldap://127.0.0.1:389", tmp_path, **given)
