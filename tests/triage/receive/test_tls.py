"""The TLS port: who gets in, that nobody holds it up, and that every limit holds behind it."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE

from tests.certificates import Keys, made, spoil
from tests.servers import binary
from tests.triage.commands.cli import triage
from tests.triage.receive import raw
from tests.triage.receive.build import fresh_ct
from tests.triage.receive.conftest import Start, soon, waiting
from triage import dimse
from triage.commands import tls as making
from triage.dimse import Remote
from triage.errors import ConfigError
from triage.receive.listener import Listener
from triage.spool import JournalEvent, digest
from triage.tls import SUITES, fingerprint

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("keys"))


def context(keys: Keys, name: str = "client") -> ssl.SSLContext:
    """Give a client of the test's own, apart from the code that it tests."""
    found = ssl.create_default_context(cafile=str(keys.file("ca.pem")))
    found.load_cert_chain(keys.file(f"{name}.pem"), keys.file(f"{name}.key"))
    return found


class Secure(raw.Peer):
    """A peer that does what it is told, over TLS."""

    def __init__(self, port: int, of: ssl.SSLContext) -> None:
        super().__init__(port)
        self.socket = of.wrap_socket(
            self.socket, server_hostname="localhost", suppress_ragged_eofs=False
        )


@contextmanager
def secure(port: int, of: ssl.SSLContext) -> Iterator[Secure]:
    one = Secure(port, of)
    try:
        yield one
    finally:
        one.close()


def journal(listener: Listener) -> list[JournalEvent]:
    listener.report()
    return [event for batch in listener.spool.journal.batches() for event in batch.events]


def codes(listener: Listener, kind: str = "tls.refused") -> set[str]:
    return {event.code for event in journal(listener) if event.kind == kind}


class TestReceiving:
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_instances_of_every_size_arrive_whole(
        self, start: Start, keys: Keys, version: ssl.TLSVersion
    ) -> None:
        listener = start(tls=keys.port())
        of = context(keys)
        of.minimum_version = of.maximum_version = version
        uids = []
        with secure(listener.tls_port, of) as peer:
            peer.associate(CONTEXTS)
            for edge, fragment in ((2, 100), (16, 16_000), (128, 16_384), (1024, 131_000)):
                uid, data = fresh_ct(edge, edge)
                assert peer.store(data, uid.encode(), fragment=fragment) == 0
                uids.append(uid)
            assert peer.echo(3) == 0
            assert peer.release()
            assert peer.socket.recv(1) == b""  # said, and not cut off
        found = {pydicom.dcmread(path).SOPInstanceUID for path in waiting(listener)}
        assert found == set(uids)

    def test_many_pdus_in_one_record_are_all_read(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port())
        echo = raw.p_data(raw.pdv(3, 3, raw.command(0x30, raw.VERIFICATION.encode(), data=False)))
        with secure(listener.tls_port, context(keys)) as peer:
            peer.associate(CONTEXTS)
            peer.send(echo * 40)
            assert [peer.status() for _ in range(40)] == [0] * 40

    def test_a_request_in_many_records_is_read(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port())
        request = raw.associate_rq(CONTEXTS)
        with secure(listener.tls_port, context(keys)) as peer:
            for place in range(0, len(request), 7):
                peer.send(request[place : place + 7])
            assert peer.receive()[0] == raw.ACCEPT

    def test_plain_and_tls_stand_side_by_side_unless_the_plain_port_is_off(
        self, start: Start, keys: Keys
    ) -> None:
        both = start(tls=keys.port())
        assert raw.echo_ms(both.port) > 0
        assert both.port != both.tls_port
        alone = start(tls=keys.port(plain=False))
        assert alone.port == 0
        with secure(alone.tls_port, context(keys)) as peer:
            peer.associate(CONTEXTS)
            assert peer.echo(3) == 0

    def test_our_own_client_sends_a_file_byte_for_byte(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port())
        path = Path(str(get_testdata_file("CT_small.dcm")))
        to = Remote("TRIAGE", "localhost", listener.tls_port, tls=keys.caller())
        assert dimse.send(dimse.inspect(path), to) == 0
        (kept,) = waiting(listener)
        assert digest(kept) == digest(path)

    def test_the_command_sends_over_tls(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port(plain=False))
        to = f"TRIAGE@localhost:{listener.tls_port}"
        path = get_testdata_file("CT_small.dcm")
        words = ("send", path, "--to", to, "--state", keys.state)
        assert triage(*words, "--tls").code == 0
        assert triage(*words).code == 1
        assert len(waiting(listener)) == 1

    def test_pynetdicoms_own_client_gets_in(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port())
        ae = AE()
        ae.add_requested_context(raw.VERIFICATION, ImplicitVRLittleEndian)
        association = ae.associate(
            "127.0.0.1",
            listener.tls_port,
            ae_title="TRIAGE",
            tls_args=(context(keys), "localhost"),
        )
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()

    @pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
    def test_dcmtk_stores_under_each_of_its_bcp_195_profiles(
        self, start: Start, keys: Keys, profile: str
    ) -> None:
        listener = start(tls=keys.port())
        path = str(get_testdata_file("CT_small.dcm"))
        command = [binary("storescu", "/usr/bin"), *keys.dcmtk(), profile]
        command += ["-aec", "TRIAGE", "localhost", str(listener.tls_port), path]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert len(waiting(listener)) == 1

    def test_rsa_certificates_serve_as_well(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(making, "RSA_BITS", 2048)  # found sooner
        keys = made(tmp_path / "rsa", "rsa")
        listener = start(tls=keys.port())
        of = context(keys)
        of.maximum_version = ssl.TLSVersion.TLSv1_2
        with secure(listener.tls_port, of) as peer:
            assert "RSA" in str(peer.socket.cipher())  # type: ignore[attr-defined]
            peer.associate(CONTEXTS)


class TestHoldingUp:
    def test_silent_and_half_spoken_handshakes_hold_nobody_up(
        self, start: Start, keys: Keys
    ) -> None:
        listener = start(tls=keys.port(), connect_timeout_s=3)
        hello = _client_hello(keys)
        silent = [raw.Peer(listener.tls_port) for _ in range(20)]
        for number, peer in enumerate(silent):
            peer.send(hello[: number * 10])
        of = context(keys)
        for _ in range(3):
            with secure(listener.tls_port, of) as peer:
                peer.associate(CONTEXTS)
                assert peer.echo(3) == 0
            assert raw.echo_ms(listener.port) < 5000
        assert all(peer.is_closed_within(30) for peer in silent)
        assert soon(lambda: "connection.silent" in {one.kind for one in journal(listener)})
        for peer in silent:
            peer.close()

    def test_a_handshake_a_byte_at_a_time_does_not_stretch_the_deadline(
        self, start: Start, keys: Keys
    ) -> None:
        listener = start(tls=keys.port(), connect_timeout_s=0.5)
        began = time.monotonic()
        with raw.peer(listener.tls_port) as peer:
            try:
                for one in _client_hello(keys):
                    peer.send(bytes([one]))
                    time.sleep(0.05)
            except OSError:
                pass
        assert time.monotonic() - began < 10

    def test_after_a_handshake_silence_is_cut_off_too(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port(), connect_timeout_s=0.5)
        with secure(listener.tls_port, context(keys)) as peer:
            assert peer.is_closed_within(30)

    def test_a_pdu_half_sent_frees_its_place(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port(), pdu_timeout_s=0.5)
        with secure(listener.tls_port, context(keys)) as peer:
            peer.associate(CONTEXTS)
            peer.send(raw.p_data(raw.pdv(1, 3, bytes(100)))[:50])
            assert peer.is_closed_within(30)
            assert soon(lambda: listener.associations == 0)

    def test_a_pdu_beyond_the_limit_is_aborted(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port(), max_pdu_bytes=4096)
        with secure(listener.tls_port, context(keys)) as peer:
            peer.associate(CONTEXTS)
            peer.send(raw.p_data(raw.pdv(1, 0, bytes(5000))))
            assert peer.receive()[0] == raw.ABORT

    def test_stopping_ends_an_idle_association(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port())
        with secure(listener.tls_port, context(keys)) as peer:
            peer.associate(CONTEXTS)
            listener.stop(within_s=30)
            assert peer.receive()[0] == raw.ABORT
        assert not listener.is_alive


class TestRefusing:
    def test_a_caller_without_certificate(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port())
        command = [binary("echoscu", "/usr/bin"), "+tla", "-ic"]
        command += ["-aec", "TRIAGE", "localhost", str(listener.tls_port)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.returncode != 0
        assert soon(lambda: codes(listener) == {"peer did not return a certificate"})
        free = start(tls=keys.port(client_certificates="none"))
        command[-1] = str(free.tls_port)
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0

    def test_a_certificate_that_has_expired(self, start: Start, keys: Keys, tmp_path: Path) -> None:
        expired = Keys(tmp_path / "copy")
        shutil.copytree(keys.state, expired.state)
        spoil(expired, "client")
        listener = start(tls=keys.port())
        _is_turned_away(listener, context(expired))
        assert soon(lambda: "certificate refused: certificate has expired" in codes(listener))

    def test_a_certificate_of_another_authority(
        self, start: Start, keys: Keys, tmp_path: Path
    ) -> None:
        stranger = made(tmp_path / "stranger")
        of = context(stranger)
        of.load_verify_locations(str(keys.file("ca.pem")))
        listener = start(tls=keys.port())
        _is_turned_away(listener, of)
        said = "certificate refused: "
        assert soon(lambda: any(code.startswith(said) for code in codes(listener)))

    def test_a_known_title_with_another_certificate_or_none(self, start: Start, keys: Keys) -> None:
        peers = [{"ae_title": "PEER", "certificates": [keys.digest("client.pem")]}]
        listener = start(tls=keys.port(), peers=peers)
        for name, answer in (("client", raw.ACCEPT), ("server", raw.REJECT)):
            with secure(listener.tls_port, context(keys, name)) as peer:
                peer.send(raw.associate_rq(CONTEXTS))
                assert peer.receive()[0] == answer
        assert raw.rejection(listener.port, CONTEXTS) == (1, 1, 3)
        assert codes(listener, "association.rejected") == {"CALLING_AE_TITLE"}

    def test_plain_dicom_on_the_tls_port(self, start: Start, keys: Keys) -> None:
        listener = start(tls=keys.port())
        with raw.peer(listener.tls_port) as peer:
            peer.send(raw.associate_rq(CONTEXTS))
            assert peer.is_closed_within(30)
        assert codes(listener) == {"wrong version number"}

    @pytest.mark.parametrize("suite", ["AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256"])
    def test_a_suite_that_is_not_recommended(self, start: Start, keys: Keys, suite: str) -> None:
        listener = start(tls=keys.port())
        of = context(keys)
        of.maximum_version = ssl.TLSVersion.TLSv1_2
        of.set_ciphers(suite)
        with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError, or a reset
            Secure(listener.tls_port, of)
        assert soon(lambda: codes(listener) == {"no shared cipher"})

    @pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")
    def test_a_scanner_finds_no_old_protocol_and_no_weak_suite(
        self, start: Start, keys: Keys
    ) -> None:
        listener = start(tls=keys.port(client_certificates="none"), max_associations=64)
        command = [binary("sslscan"), "--no-colour", f"127.0.0.1:{listener.tls_port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        lines = [line.split() for line in done.stdout.splitlines()]
        states = {words[0]: words[1] for words in lines if len(words) == 2}
        old = ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1")
        assert [states[name] for name in old] == ["disabled"] * 4
        assert states["TLSv1.2"] == states["TLSv1.3"] == "enabled"
        taken = {words[4] for words in lines if words[:1] in (["Preferred"], ["Accepted"])}
        best = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
        assert taken - best <= set(SUITES.split(":"))
        assert len(taken) == 5
        assert "renegotiation not supported" in done.stdout


class TestKeys:
    def test_a_renewed_certificate_is_shown_without_a_new_start(
        self, start: Start, tmp_path: Path
    ) -> None:
        keys = made(tmp_path / "own")
        listener = start(tls=keys.port())
        assert _shown(listener, keys) == keys.digest("server.pem")
        before = keys.digest("server.pem")
        making.init(keys.state, making.Wish("localhost", ("localhost",)), renew=True)
        listener.report()
        assert _shown(listener, keys) == keys.digest("server.pem") != before

    def test_half_a_renewal_changes_nothing(self, start: Start, tmp_path: Path) -> None:
        keys = made(tmp_path / "own")
        listener = start(tls=keys.port())
        before = keys.digest("server.pem")
        whole = keys.file("server.pem").read_bytes()
        keys.file("server.pem").write_bytes(b"half")
        listener.report()
        keys.file("server.pem").write_bytes(whole)
        assert _shown(listener, keys) == before

    def test_an_expired_certificate_closes_the_tls_port_and_leaves_the_plain_one(
        self, start: Start, tmp_path: Path
    ) -> None:
        keys = spoil(made(tmp_path / "own"), "server")
        listener = start(tls=keys.port())
        assert listener.tls_port == 0
        assert raw.echo_ms(listener.port) > 0
        assert "tls.closed" in {event.kind for event in journal(listener)}
        with pytest.raises(ConfigError, match=r"has expired; renew it: `triage tls init --renew`"):
            start(tls=keys.port(plain=False))

    def test_a_certificate_near_its_end_is_an_alert(self, start: Start, tmp_path: Path) -> None:
        keys = spoil(made(tmp_path / "own"), "server", days=29)
        listener = start(tls=keys.port())
        assert "tls.expires-soon" in {event.kind for event in journal(listener)}
        assert _shown(listener, keys) == keys.digest("server.pem")


def _is_turned_away(listener: Listener, of: ssl.SSLContext) -> None:
    """See that the server ends it; with TLS 1.3 only after the client's own part is done."""
    told = b"never"
    with suppress(OSError), secure(listener.tls_port, of) as peer:  # an alert, or a reset
        peer.send(raw.associate_rq(CONTEXTS))
        told = peer.socket.recv(1)
    assert told == b"never"


def _shown(listener: Listener, keys: Keys) -> str:
    with secure(listener.tls_port, context(keys)) as peer:
        peer.associate(CONTEXTS)
        assert isinstance(peer.socket, ssl.SSLSocket)
        return fingerprint(peer.socket.getpeercert(binary_form=True))


def _client_hello(keys: Keys) -> bytes:
    """Give what a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = context(keys).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    return outgoing.read()
