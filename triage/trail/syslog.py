"""Audit messages to an Audit Record Repository: syslog over TLS (RFC 5424, 5425; IHE ITI-20).

Syslog acknowledges nothing. A batch counts as delivered when the repository, after our orderly end
of the stream, has ended its own: until then it may have been lost with the connection and is sent
again. So a message may come twice, which its audit id tells, and none is lost.
"""

import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from triage.collectors import Syslog
from triage.errors import TryAgain
from triage.tls import client_context

AUDIT_FACILITY: Final = 10
NOTICE, WARNING = 5, 4
BOM: Final = b"\xef\xbb\xbf"
NIL: Final = "-"
APP_NAME: Final = "triage"
MESSAGE_ID: Final = "DICOM+RFC3881"


def line(content: bytes, *, at: datetime, outcome: int, host: str = "") -> bytes:
    """Give one syslog message (RFC 5424 6) around an audit message."""
    priority = AUDIT_FACILITY * 8 + (WARNING if outcome else NOTICE)
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = host or socket.gethostname() or NIL
    header = f"<{priority}>1 {stamp} {name} {APP_NAME} {os.getpid()} {MESSAGE_ID} {NIL} "
    return header.encode("ascii", "replace") + BOM + content


def framed(message: bytes) -> bytes:
    """Give a message with its octet count before it (RFC 5425 4.3)."""
    return f"{len(message)} ".encode() + message


def deliver(messages: Iterable[bytes], to: Syslog) -> None:
    """Send a batch over a connection of its own, and see that it was read to the end.

    Raises:
        TryAgain: the repository cannot be reached, or did not read everything.
    """
    try:
        with _connected(to) as connection:
            for message in messages:
                connection.sendall(framed(message))
            _finish(connection)
    except (OSError, ssl.SSLError) as why:
        msg = f"audit repository {to.name}: {_words(why)}"
        raise TryAgain(msg) from None


def _connected(to: Syslog) -> socket.socket:
    plain = socket.create_connection((to.host, to.port), timeout=to.deadline_s)
    plain.settimeout(to.deadline_s)
    if to.tls is None:
        return plain
    try:
        context = client_context(to.tls, to.deadline_s)
        wrapped = context.wrap_socket(plain, server_hostname=to.tls.server_name or to.host)
        wrapped.settimeout(to.deadline_s)
    except BaseException:
        plain.close()
        raise
    return wrapped


def _finish(connection: socket.socket) -> None:
    """End our side and wait for the other's end."""
    if isinstance(connection, ssl.SSLSocket):
        with suppress(ssl.SSLSyscallError):
            connection.unwrap().close()
        return
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096):
        pass


def _words(why: Exception) -> str:
    if isinstance(why, TimeoutError):
        return "no answer in time"
    return getattr(why, "strerror", None) or "the connection ended"
