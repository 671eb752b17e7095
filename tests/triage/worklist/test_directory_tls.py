"""Signing in over TLS at a real directory: its certificate is proved, nothing goes in the clear."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Keys, made, spoil
from tests.servers import free_port
from tests.triage.worklist import test_directory as plain
from tests.triage.worklist.test_directory import BIND, PASSWORD, ldap
from triage.commands import tls
from triage.errors import TryAgain
from triage.worklist import directory

pytest.importorskip("ldap3", reason="the extra ldap is not installed")
pytestmark = pytest.mark.skipif(plain.SLAPD is None, reason="slapd is not installed")
SECURED = """TLSCACertificateFile {folder}/ca.pem
    TLSCertificateFile {folder}/server.pem
    TLSCertificateKeyFile {folder}/server.key
    TLSProtocolMin 3.3
    security simple_bind=128
    """
"""It takes no password outside TLS."""


@dataclass(frozen=True)
class Directory:
    """A directory that offers TLS both ways."""

    keys: Keys
    ldaps: str
    start_tls: str

    def by(self, way: str) -> dict[str, Any]:
        """Give the settings that reach it over TLS in one of two ways."""
        given = (
            {"url": self.ldaps} if way == "ldaps" else {"url": self.start_tls, "start_tls": True}
        )
        return {**given, "allows_plain": False, "ca_file": self.keys.file("ca.pem")}


@contextmanager
def secured(folder: Path, keys: Keys) -> Iterator[Directory]:
    urls = f"ldaps://127.0.0.1:{free_port()}", f"ldap://127.0.0.1:{free_port()}"
    with plain.running(folder, *urls, more=SECURED.format(folder=keys.folder)):
        yield Directory(keys, *urls)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    """A directory with a sound certificate."""
    folder = tmp_path_factory.mktemp("secured")
    with secured(folder, made(folder / "state")) as one:
        yield one


@pytest.fixture(scope="module", params=["of another host", "past its end"])
def doubtful(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Directory]:
    """A directory whose certificate is of the right authority, and wrong."""
    folder = tmp_path_factory.mktemp("doubtful")
    if request.param == "past its end":
        keys = spoil(made(folder / "state"), "server", days=-1)
    else:
        tls.init(folder / "state", tls.Wish("elsewhere", ("elsewhere.example",), "ec"))
        keys = Keys(folder / "state")
    with secured(folder, keys) as one:
        yield one


@pytest.mark.parametrize("way", ["ldaps", "start_tls"])
class TestOverTls:
    def test_a_person_is_proved_and_a_guess_is_not(
        self, far: Directory, tmp_path: Path, way: str
    ) -> None:
        of = ldap("", tmp_path, **far.by(way))
        person = directory.prove(of, "far", PASSWORD)
        assert person is not None
        assert [*person.roles] == ["radiologist"]
        assert directory.prove(of, "far", "a guess") is None

    def test_an_authority_that_is_not_ours_is_not_believed(
        self, far: Directory, tmp_path: Path, way: str
    ) -> None:
        other = made(tmp_path / "other").file("ca.pem")
        for ca_file in (other, None):  # another hospital's, and the system's own list
            of = ldap("", tmp_path, **far.by(way) | {"ca_file": ca_file})
            with pytest.raises(TryAgain, match="does not answer"):
                directory.prove(of, "far", PASSWORD)

    def test_a_certificate_that_is_wrong_is_not_believed(
        self, doubtful: Directory, tmp_path: Path, way: str
    ) -> None:
        of = ldap("", tmp_path, **doubtful.by(way))
        with pytest.raises(TryAgain, match="does not answer"):
            directory.prove(of, "far", PASSWORD)


@dataclass
class Wire:
    """Passes on one connection after another, and keeps what was said in it."""

    to: int
    said: bytearray = field(default_factory=bytearray)

    @contextmanager
    def open(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(30)
            thread = threading.Thread(target=self._pass_on, args=(server,))
            thread.start()
            try:
                yield f"ldap://127.0.0.1:{server.getsockname()[1]}"
            finally:
                thread.join(60)
        assert not thread.is_alive()

    def _pass_on(self, server: socket.socket) -> None:
        near, _ = server.accept()
        with near, socket.create_connection(("127.0.0.1", self.to)) as far:
            back = threading.Thread(target=_copy, args=(far, near, bytearray()))
            back.start()
            _copy(near, far, self.said)
            back.join(60)


def _copy(source: socket.socket, target: socket.socket, said: bytearray) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            said += content
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class TestNothingInTheClear:
    def test_no_word_of_a_password_is_on_the_wire(self, far: Directory, tmp_path: Path) -> None:
        given = far.by("start_tls")
        wire = Wire(int(given["url"].rpartition(":")[2]))
        with wire.open() as url:
            assert directory.prove(ldap("", tmp_path, **given | {"url": url}), "far", PASSWORD)
        assert wire.said
        assert BIND.encode() not in wire.said
        assert PASSWORD.encode() not in wire.said

    def test_a_directory_that_cannot_start_tls_hears_no_password(
        self, tmp_path_factory: pytest.TempPathFactory, far: Directory
    ) -> None:
        folder = tmp_path_factory.mktemp("plain")
        port = free_port()
        with plain.running(folder, f"ldap://127.0.0.1:{port}"):
            wire = Wire(port)
            with wire.open() as url:
                of = ldap("", folder, **far.by("start_tls") | {"url": url})
                with pytest.raises(TryAgain):
                    directory.prove(of, "far", PASSWORD)
            assert wire.said
            assert BIND.encode() not in wire.said
            wire = Wire(port)
            with wire.open() as url:  # the wire does hear what is said on it
                assert directory.prove(ldap(url, folder), "far", PASSWORD)
            assert BIND.encode() in wire.said
            assert PASSWORD.encode() in wire.said

    @pytest.mark.parametrize("url", ["ldap://127.0.0.1:389", "ldap://directory.example"])
    def test_by_default_no_address_without_tls_is_taken(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(ValueError, match="ldaps://"):
            ldap(url, tmp_path, allows_plain=False)
