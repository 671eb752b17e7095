"""Over TLS the server speaks what BCP 195 recommends, and nothing older or weaker."""

import socket
import ssl
import subprocess
from collections.abc import Iterator

import pytest

from tests import certificates
from tests.servers import binary, free_port
from tests.triage.commands.cli import triage, write_site
from tests.triage.dicomweb.test_server import serving
from triage.tls import SUITES

BEST = {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"}
"""Of TLS 1.3."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    state, port = tmp_path_factory.mktemp("tls"), free_port()
    keys = certificates.made(state)
    own = {"tls_certificate_file": "server.pem", "tls_key_file": "server.key"}
    server = {key: str(keys.file(name)) for key, name in own.items()}
    write_site(
        state,
        listener={"min_free_bytes": 1_000_000},
        dicomweb={"server": {"enabled": True, "port": port, **server}},
    )
    triage("db", "upgrade", "--state", state)
    with serving(state, port):
        yield port


def spoken(port: int, ciphers: str, highest: ssl.TLSVersion) -> str | None:
    """Shake hands with these suites alone; gives the one that was chosen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.maximum_version = highest
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        try:
            with context.wrap_socket(plain) as shaken:
                chosen = shaken.cipher()
        except (ssl.SSLError, ConnectionResetError):
            return None
    return chosen[0] if chosen else None


def test_recommended_suites_are_spoken(port: int) -> None:
    suite = "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert spoken(port, suite, ssl.TLSVersion.TLSv1_2) == suite
    assert spoken(port, "ALL", ssl.TLSVersion.TLSv1_3) in BEST


@pytest.mark.parametrize(
    "suite",
    ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA"],
)
def test_a_suite_of_blocks_is_refused(port: int, suite: str) -> None:
    assert spoken(port, suite, ssl.TLSVersion.TLSv1_2) is None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_an_old_protocol_is_refused(port: int) -> None:
    assert spoken(port, "ALL", ssl.TLSVersion.TLSv1_1) is None


def test_a_scanner_finds_no_old_protocol_no_weak_suite_and_no_renegotiation(port: int) -> None:
    command = [binary("sslscan"), "--no-colour", f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    lines = [line.split() for line in done.stdout.splitlines()]
    states = {words[0]: words[1] for words in lines if len(words) == 2}
    enabled = {name for name, state in states.items() if state == "enabled"}
    assert enabled == {"TLSv1.2", "TLSv1.3"}
    taken = {words[4] for words in lines if words[:1] in (["Preferred"], ["Accepted"])}
    recommended = {*SUITES.split(":"), *BEST}
    assert taken <= recommended
    assert len(taken) == 5
    assert "renegotiation not supported" in done.stdout
    assert "supports TLS Fallback SCSV" in done.stdout
    assert not [line for line in lines if "vulnerable" in line and "not" not in line]


def test_a_session_taken_up_again_is_bound_to_its_handshake(port: int) -> None:
    """By the extended master secret (RFC 7627), without which it could be spliced."""
    command = [
        binary("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-reconnect",
    ]  # fmt: skip
    done = subprocess.run(command, input="", capture_output=True, text=True, check=True, timeout=60)
    shaken = [one.split(",")[0] for one in done.stdout.splitlines() if ", Cipher is " in one]
    assert shaken == ["New", *["Reused"] * 5]
    assert done.stdout.count("Extended master secret: yes") == 6
    assert done.stdout.count("Compression: NONE") == 6
