"""A mail server: aiosmtpd, answering as a test tells it to."""

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers import binary, free_port
from triage.destinations import Mail

SENDER = "triage@hospital.example"
READERS = ("reading-room@hospital.example", "on-call@hospital.example")


@dataclass
class Office:
    """What it answers, and what it got."""

    to_recipient: str = "250 OK"
    to_message: str = "250 OK"
    """Or "cut": the connection ends where the reply should be."""
    password: str = ""
    """Asked for, if there is one."""
    arrived: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    """Sender, recipients, content."""
    encrypted: bool = False

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if self.to_recipient.startswith("250") or address != READERS[-1]:
            envelope.rcpt_tos.append(address)
            return "250 OK"
        return self.to_recipient

    async def handle_DATA(  # noqa: N802 - as above
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.encrypted = session.ssl is not None
        if self.to_message.startswith(("250", "cut")):
            recipients = tuple(envelope.rcpt_tos)
            assert envelope.mail_from is not None
            assert isinstance(envelope.content, bytes)
            self.arrived.append((envelope.mail_from, recipients, envelope.content))
        if self.to_message == "cut":
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        return self.to_message

    def signs_in(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=data.password == self.password.encode(), handled=True)


@contextmanager
def office(
    script: Office, tls: tuple[Path, Path] | None = None, **changes: object
) -> Iterator[Mail]:
    """Run it, with STARTTLS by a certificate and its key; gives it as a destination."""
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    port = free_port()
    server = Controller(
        script,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        authenticator=script.signs_in if script.password else None,
        auth_required=bool(script.password),
    )
    server.start()
    given = {
        "name": "mail", "host": "127.0.0.1", "port": port, "sender": SENDER,
        "recipients": READERS, "starttls": tls is not None, "deadline_s": 5.0, **changes,
    }  # fmt: skip
    try:
        yield Mail.model_validate(given)
    finally:
        server.stop()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    run = subprocess.run(
        [
            binary("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", key, "-out", cert,
        ],
        capture_output=True, check=False,
    )  # fmt: skip
    if run.returncode:
        pytest.skip("openssl makes no certificate here")
    return cert, key
