"""The TLS port's side of a connection: sockets that wait like plain ones, and keys that renew."""

import socket
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from triage import log
from triage.errors import ConfigError
from triage.spool import Journal
from triage.tls import WARN_DAYS, TlsPort, expiry, fingerprint, server_context

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

DAY_S: Final = 86_400.0
FIX: Final = "renew it: `triage tls init --renew`, or put a new one in its place"


class Secured(ssl.SSLSocket):
    """A peer's socket behind TLS that never blocks, and says so as a plain one does."""

    def greet(self) -> bool:
        """Go on with the handshake as far as it goes now; tells whether it is over.

        Raises:
            OSError: it failed; the peer was told why.
        """
        try:
            self.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive what there is."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def recv_into(
        self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0
    ) -> int:
        """Receive what there is, at most one record."""
        try:
            return super().recv_into(buffer, nbytes, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """Send as much as fits."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes, to OpenSSL as to the network."""
        with suppress(OSError, ValueError):
            self.unwrap()
        super().shutdown(how)


def has_pending(peer: socket.socket) -> bool:
    """Tell whether there is something to read that no selector sees any more."""
    return isinstance(peer, ssl.SSLSocket) and peer.pending() > 0


def certificate_of(peer: socket.socket) -> str:
    """Give the fingerprint of the certificate that a peer showed; "" for none."""
    if not isinstance(peer, ssl.SSLSocket):
        return ""
    return fingerprint(peer.getpeercert(binary_form=True))


class Gate:
    """What the TLS port speaks, taken anew when a file of it changes."""

    def __init__(self, of: TlsPort, journal: Journal) -> None:
        """Read certificate, key and authorities.

        Raises:
            ConfigError: they do not go together, or the certificate has expired.
        """
        self._of = of
        self._journal = journal
        self._until = datetime.now(UTC)
        self._warn_at = 0.0
        self._stamps = self._look()
        self._context = self._read()

    def wrap(self, peer: socket.socket) -> Secured:
        """Take over a connection that was accepted, before its handshake."""
        found = self._context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        assert isinstance(found, Secured)  # noqa: S101 - for the type checker: its context makes them
        return found

    def refresh(self) -> None:
        """Take up what was renewed; say once a day that a certificate ends soon."""
        if (stamps := self._look()) != self._stamps:
            self._stamps = stamps
            try:
                self._context = self._read()
            except ConfigError as why:
                log.get().error("tls.not-renewed", why=str(why))
            else:
                log.get().info("tls.renewed")
        if self._warn_at <= time.monotonic():
            self._warn_at = time.monotonic() + DAY_S
            self._warn()

    def _read(self) -> ssl.SSLContext:
        context = server_context(self._of)
        context.sslsocket_class = Secured
        until = expiry(self._of.certificate_file or Path())
        if until < datetime.now(UTC):
            msg = f"{self._of.certificate_file}: the certificate has expired; {FIX}"
            raise ConfigError(msg)
        self._until, self._warn_at = until, 0.0
        return context

    def _warn(self) -> None:
        left = (self._until - datetime.now(UTC)).days
        if left < WARN_DAYS:
            self._journal.note("tls.expired" if left < 0 else "tls.expires-soon")
            log.get().warning("tls.expires", days_left=left, fix=FIX)

    def _look(self) -> list[tuple[int, int]]:
        stamps = []
        for path in (self._of.certificate_file, self._of.key_file, self._of.ca_file):
            with suppress(OSError):
                if path is not None:
                    facts = path.stat()
                    stamps.append((facts.st_mtime_ns, facts.st_size))
        return stamps


def open_gate(of: TlsPort, journal: Journal) -> Gate | None:
    """Give the TLS port's gate, where there is to be one.

    Where a plain port is open too, what is wrong with the TLS port does not stop that one.

    Raises:
        ConfigError: there is nothing but a TLS port, and it cannot be opened.
    """
    if not of.enabled:
        return None
    try:
        return Gate(of, journal)
    except ConfigError as why:
        if not of.plain:
            raise
        journal.note("tls.closed", code="misconfigured or expired")
        log.get().error("tls.closed", why=str(why))
        return None
