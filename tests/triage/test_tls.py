"""Calling over TLS: whom we believe, how long we wait, and what we say when it fails."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydicom.data import get_testdata_file
from pynetdicom import AE, evt

from tests.certificates import Keys, made, spoil
from tests.servers import accepts, binary, free_port, running, storescp, wait_until
from triage import dimse
from triage import settings as configuration
from triage.destinations import Dimse
from triage.dimse import Remote
from triage.errors import ConfigError, TryAgain
from triage.receive.tls import Secured
from triage.tls import TlsPeer, TlsPort, client_context, located, server_context

pytestmark = [
    # pynetdicom shuts a refused socket down, and leaves closing it to the collector
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("keys"))


@contextmanager
def peer(of: ssl.SSLContext) -> Iterator[tuple[int, list[str]]]:
    """Run pynetdicom's own server behind TLS; gives its port and who associated."""
    callers: list[str] = []
    ae = AE(ae_title="PEER")
    ae.add_supported_context(VERIFICATION)

    def note(event: evt.Event) -> None:
        request = event.assoc.requestor.primitive
        callers.append(str(request.calling_ae_title) if request else "")

    handlers: list[Any] = [(evt.EVT_REQUESTED, note)]
    server: Any = ae.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=of, evt_handlers=handlers
    )
    try:
        yield server.socket.getsockname()[1], callers
    finally:
        server.shutdown()


def serving(keys: Keys, **changes: object) -> ssl.SSLContext:
    return server_context(TlsPort.model_validate(keys.port(**changes)))


def remote(port: int, tls: TlsPeer, **changes: Any) -> Remote:  # noqa: ANN401 - its fields
    return Remote(**{"ae_title": "PEER", "host": "localhost", "port": port, "tls": tls, **changes})


class TestBelieving:
    def test_a_peer_of_our_authority_is_called(self, keys: Keys) -> None:
        with peer(serving(keys)) as (port, callers):
            dimse.echo(remote(port, keys.caller()))
            assert callers == ["TRIAGE"]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"ca_file": "stranger"}, "certificate refused: self-signed certificate"),
            ({"server_name": "elsewhere"}, "certificate refused: Hostname mismatch"),
            ({"pins": ["0" * 64]}, "not the pinned one"),
        ],
    )
    def test_another_machine_in_its_place_hears_nothing_of_us(
        self, keys: Keys, tmp_path: Path, changes: dict[str, Any], said: str
    ) -> None:
        if "ca_file" in changes:
            changes = {"ca_file": made(tmp_path).file("ca.pem")}
        with peer(serving(keys)) as (port, callers):
            with pytest.raises(TryAgain, match=said):
                dimse.echo(remote(port, keys.caller(**changes)))
            assert callers == []

    def test_a_pinned_certificate_needs_neither_authority_nor_name(
        self, keys: Keys, tmp_path: Path
    ) -> None:
        pin = keys.digest("server.pem")
        colons = ":".join(pin[place : place + 2] for place in range(0, 64, 2)).upper()
        tls = keys.caller(ca_file=tmp_path / "none", pins=[colons])
        with peer(serving(keys)) as (port, callers):
            dimse.echo(remote(port, tls, host="127.0.0.1"))
            assert callers

    @pytest.mark.parametrize("pinned", [False, True])
    def test_an_expired_certificate_is_refused_pinned_or_not(
        self, tmp_path: Path, pinned: bool
    ) -> None:
        keys = spoil(made(tmp_path), "server")
        tls = keys.caller(pins=[keys.digest("server.pem")] if pinned else [])
        with peer(serving(keys)) as (port, callers):
            with pytest.raises(TryAgain, match="has expired"):
                dimse.echo(remote(port, tls))
            assert callers == []

    def test_a_peer_that_wants_our_certificate_says_so(self, keys: Keys) -> None:
        with peer(serving(keys)) as (port, _), pytest.raises(TryAgain, match="alert"):
            dimse.echo(remote(port, keys.caller("")))

    def test_a_peer_of_old_protocols_is_not_spoken_to(self, keys: Keys) -> None:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        old.load_cert_chain(keys.file("server.pem"), keys.file("server.key"))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("AES256-SHA:AES128-SHA256")
        with peer(old) as (port, callers):
            with pytest.raises(TryAgain, match="no TLS with localhost"):
                dimse.echo(remote(port, keys.caller()))
            assert callers == []


class TestWaiting:
    def test_a_silent_peer_is_given_up_at_the_deadline(self, keys: Keys) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(TryAgain, match="no whole handshake in time"):
                dimse.echo(remote(port, keys.caller(), host="127.0.0.1", deadline_s=1.0))

    def test_a_peer_that_dribbles_is_given_up_too(self, keys: Keys) -> None:
        stop = threading.Event()

        def dribble(server: socket.socket) -> None:
            with server.accept()[0] as link:
                link.recv(4096)
                for one in b"\x16\x03\x03\x40\x00" + bytes(1000):
                    if stop.wait(0.1):
                        return
                    try:
                        link.send(bytes([one]))
                    except OSError:
                        return

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=dribble, args=(server,))
            thread.start()
            try:
                port = server.getsockname()[1]
                with pytest.raises(TryAgain, match="no whole handshake in time"):
                    dimse.echo(remote(port, keys.caller(), host="127.0.0.1", deadline_s=1.0))
            finally:
                stop.set()
                thread.join(30)

    def test_a_port_without_tls_is_told_apart(self, keys: Keys, tmp_path: Path) -> None:
        with storescp(tmp_path / "kept") as scp, pytest.raises(TryAgain, match="no TLS with"):
            dimse.echo(remote(scp.port, keys.caller(), ae_title=scp.ae_title))

    def test_nobody_there_is_not_blamed_on_tls(self, keys: Keys) -> None:
        with pytest.raises(TryAgain, match="no association with PEER"):
            dimse.echo(remote(free_port(), keys.caller()))

    def test_our_own_files_are_named_when_they_are_at_fault(self, keys: Keys) -> None:
        with pytest.raises(TryAgain, match=r"nowhere\.pem.*triage tls init"):
            dimse.echo(remote(1, keys.caller(ca_file=keys.file("nowhere.pem"))))


def test_dcmtks_storescp_gets_a_file_over_tls(keys: Keys, tmp_path: Path) -> None:
    folder, port = tmp_path / "kept", free_port()
    folder.mkdir()
    command = [
        binary("storescp", "/usr/bin"), "+tls", keys.file("server.key"), keys.file("server.pem"),
        "+cf", keys.file("ca.pem"), "-od", folder, str(port),
    ]  # fmt: skip
    with running(command, log=tmp_path / "log", env={"TCP_NODELAY": "1"}) as process:
        wait_until(lambda: accepts(port), process, "storescp")
        item = dimse.inspect(Path(str(get_testdata_file("CT_small.dcm"))))
        assert dimse.send(item, remote(port, keys.caller(), ae_title="STORESCP")) == 0
    assert len(list(folder.iterdir())) == 1


class TestSettings:
    def test_files_that_are_not_named_are_the_state_folders(self, tmp_path: Path) -> None:
        keys = made(tmp_path)
        (tmp_path / "nodes.yaml").write_text(
            "destinations: [{name: a, ae_title: A, host: h, port: 104, tls: {}}]\n"
        )
        loaded = configuration.load(tmp_path)
        listener, (to,) = loaded.site.listener.tls, loaded.site.destinations
        assert listener.key_file == keys.file("server.key")
        assert isinstance(to, Dimse)
        assert to.tls is not None
        assert to.tls.certificate_file == keys.file("client.pem")
        assert to.tls.ca_file == keys.file("trusted.pem")
        assert Dimse.model_validate(to.model_dump(mode="json")) == to  # as a child process gets it

    def test_named_files_stay(self, tmp_path: Path) -> None:
        made(tmp_path)
        own = TlsPeer(certificate_file=Path("/x.pem"), key_file=Path("/x.key"))
        found = located(own, tmp_path)
        assert (found.certificate_file, found.key_file) == (Path("/x.pem"), Path("/x.key"))

    def test_without_a_certificate_of_ours_we_call_with_none(self, tmp_path: Path) -> None:
        assert located(TlsPeer(), tmp_path).certificate_file is None

    @pytest.mark.parametrize("pin", ["", "ab", "g" * 64, "00:11"])
    def test_a_pin_that_is_no_fingerprint_is_refused(self, pin: str) -> None:
        with pytest.raises(ValidationError, match="SHA-256"):
            TlsPeer(pins=(pin,))

    def test_a_locked_key_asks_nobody(self, keys: Keys, tmp_path: Path) -> None:
        locked = tmp_path / "locked.key"
        subprocess.run(
            [binary("openssl"), "pkcs8", "-topk8", "-in", keys.file("client.key"),
             "-out", locked, "-passout", "pass:secret"],
            check=True, capture_output=True,
        )  # fmt: skip
        with pytest.raises(ConfigError, match="triage tls check"):
            client_context(keys.caller(key_file=locked))

    def test_a_socket_of_the_port_never_blocks(self, keys: Keys) -> None:
        of = serving(keys)
        of.sslsocket_class = Secured
        ours, theirs = socket.socketpair()
        with theirs:
            ours.settimeout(0)
            with of.wrap_socket(ours, server_side=True, do_handshake_on_connect=False) as one:
                assert isinstance(one, Secured)
                assert not one.greet()
