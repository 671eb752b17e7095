"""DICOM over TLS: the settings of both sides, and contexts that speak nothing older or weaker.

The profile is PS3.15 B.12 (BCP 195, RFC 8996 and RFC 9325): TLS 1.2 with the four recommended
suites, TLS 1.3, certificates on both sides. Certificates and keys are files in ``STATE/tls``;
``triage tls init`` makes them.
"""

import hashlib
import select
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel

from triage.errors import ConfigError
from triage.frozen import Frozen, Port

SUITES: Final = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "@SECLEVEL=2",
    )
)
"""RFC 9325 4.2, for TLS 1.2; all suites that OpenSSL has for TLS 1.3 are recommended ones."""
FOLDER: Final = "tls"
"""In the state folder."""
TRUSTED: Final = "trusted.pem"
WARN_DAYS: Final = 30
"""From here on a certificate's end is something to do something about."""
Node = TypeVar("Node", bound=BaseModel)


def _fingerprint(value: str) -> str:
    plain = value.replace(":", "").replace(" ", "").lower()
    if len(plain) != 64 or set(plain) - set("0123456789abcdef"):
        msg = "a SHA-256 fingerprint has 64 hexadecimal digits (openssl x509 -fingerprint -sha256)"
        raise ValueError(msg)
    return plain


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
"""SHA-256 of a certificate's DER form, in lower case without colons."""


class Credentials(Frozen):
    """Whom we are and whom we believe. A file that is not named is the state folder's own."""

    certificate_file: Path | None = None
    """Ours in PEM, then those between it and its authority."""
    key_file: Path | None = None
    """Of mode 0600, inside the state folder."""
    ca_file: Path | None = None
    """The authorities that the other side's certificate may come from."""


class ServerTls(Credentials):
    """What a port of ours shows and asks for."""

    client_certificates: Literal["required", "none"] = "required"
    """None encrypts without knowing the caller: only for a modality that has no certificate."""


class TlsPort(ServerTls):
    """The listener's TLS port."""

    enabled: bool = False
    port: Port = 2762
    """Registered as dicom-tls."""
    plain: bool = True
    """Whether the listener's plain port stays open beside it."""


class TlsPeer(Credentials):
    """How we call one peer over TLS; ``{}`` is enough after ``triage tls init``."""

    server_name: str = ""
    """The name in its certificate, where that is not the host we call."""
    pins: tuple[Fingerprint, ...] = ()
    """Its certificate itself: with a pin neither issuer nor name counts, and no other is taken."""


def located(node: Node, state: Path) -> Node:
    """Give the settings with the state folder's own files where none are named.

    Our certificate stays out where there is none: some peers ask for none.
    """
    if isinstance(node, Credentials):
        return node.model_copy(update=_own_files(node, state / FOLDER))
    changed = {
        name: found
        for name in type(node).model_fields
        if (found := _inside(given := getattr(node, name), state)) is not given
    }
    return node.model_copy(update=changed) if changed else node


def _inside(value: Any, state: Path) -> Any:  # noqa: ANN401 - any setting
    if isinstance(value, BaseModel):
        return located(value, state)
    if isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        found = tuple(_inside(one, state) for one in value)
        return found if any(a is not b for a, b in zip(found, value, strict=True)) else value
    return value


def _own_files(node: Credentials, folder: Path) -> dict[str, Path | None]:
    role = "server" if isinstance(node, ServerTls) else "client"
    own = folder / f"{role}.pem"
    has_own = isinstance(node, ServerTls) or own.is_file()
    return {
        "certificate_file": node.certificate_file or (own if has_own else None),
        "key_file": node.key_file
        or (folder / f"{role}.key" if has_own and not node.certificate_file else None),
        "ca_file": node.ca_file or folder / TRUSTED,
    }


def server_context(of: ServerTls) -> "Trust":
    """Give what a TLS port speaks.

    Raises:
        ConfigError: a file is missing, unreadable, or does not belong to the others.
    """
    context = Trust(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.num_tickets = 0  # nothing is resumed, and nothing is written that nobody reads
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    _identify(context, of)
    if of.client_certificates == "required":
        context.verify_mode = ssl.CERT_REQUIRED
        _believe(context, of)
    return context


class Trust(ssl.SSLContext):
    """What a connection over TLS speaks and believes, and why it failed if it did."""

    pins: tuple[str, ...] = ()
    deadline_s: float = 10.0
    failure: str = ""


def client_context(of: TlsPeer, deadline_s: float = 10.0) -> Trust:
    """Give what we speak when we call, with ``deadline_s`` for the handshake.

    Raises:
        ConfigError: a file is missing, unreadable, or does not belong to the others.
    """
    context = Trust(ssl.PROTOCOL_TLS_CLIENT)
    context.pins, context.deadline_s = of.pins, deadline_s
    context.sslsocket_class = Dialled
    _harden(context)
    if of.certificate_file is not None:
        _identify(context, of)
    if of.pins:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        _believe(context, of)
    return context


class Dialled(ssl.SSLSocket):
    """Our side of a connection: a handshake with a deadline in all, the pin, why it went wrong."""

    context: Trust

    def do_handshake(self, block: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - ssl's own
        """Shake hands within the deadline, and look at the certificate where one is pinned.

        Raises:
            OSError: no. ``context.failure`` says why.
        """
        before, until = self.gettimeout(), time.monotonic() + self.context.deadline_s
        try:
            self.settimeout(0)
            while not self._step(until):
                pass
            self.settimeout(before)
            if self.context.pins:
                _check_pin(self.getpeercert(binary_form=True) or b"", self.context.pins)
        except OSError as why:
            self.context.failure = reason(why)
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive as a plain socket does, but not for ever: a record may hold nothing for us.

        With TLS 1.3 a peer refuses our certificate here, after the handshake.
        """
        self.settimeout(self.context.deadline_s)
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as why:
            self.context.failure = reason(why)
            raise

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes; a peer that is gone need not hear it."""
        with suppress(OSError, ValueError):
            self.settimeout(0)
            self.unwrap()
        with suppress(OSError):
            super().shutdown(how)

    def _step(self, until: float) -> bool:
        poll = select.poll()
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            poll.register(self, select.POLLIN)
        except ssl.SSLWantWriteError:
            poll.register(self, select.POLLOUT)
        else:
            return True
        left_s = until - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise TimeoutError
        return False


class Unpinned(ssl.SSLError):
    """The peer's certificate is not the one we know it by."""


def _check_pin(certificate: bytes, pins: tuple[str, ...]) -> None:
    from cryptography import x509

    if fingerprint(certificate) not in pins:
        msg = "its certificate is not the pinned one: another machine, or a new certificate"
        raise Unpinned(msg)
    if x509.load_der_x509_certificate(certificate).not_valid_after_utc < datetime.now(UTC):
        msg = "its pinned certificate has expired"
        raise Unpinned(msg)


def fingerprint(certificate: bytes | None) -> str:
    """Give the SHA-256 of a certificate's DER form; "" where there is none."""
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


def expiry(path: Path) -> datetime:
    """Give when a PEM file's first certificate ends.

    Raises:
        ConfigError: it holds none, or cannot be read.
    """
    from cryptography import x509

    try:
        (first, *_) = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        msg = f"{path} holds no readable certificate; run `triage tls check`"
        raise ConfigError(msg) from None
    return first.not_valid_after_utc


def reason(why: Exception) -> str:
    """Give what OpenSSL says is wrong, in words without anything of the peer's."""
    if isinstance(why, Unpinned):
        return str(why.args[0])
    if isinstance(why, ssl.SSLCertVerificationError):
        return f"certificate refused: {str(why.verify_message).split(',')[0]}"
    if isinstance(why, ssl.SSLError) and why.reason:
        return why.reason.lower().replace("_", " ")
    if isinstance(why, TimeoutError):
        return "no whole handshake in time"
    return "the connection ended in the handshake"


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _identify(context: ssl.SSLContext, of: Credentials) -> None:
    own = str(of.certificate_file), of.key_file, ""  # a locked key fails, and asks nobody
    _told(of.certificate_file, partial(context.load_cert_chain, *own))


def _believe(context: ssl.SSLContext, of: Credentials) -> None:
    _told(of.ca_file, partial(context.load_verify_locations, str(of.ca_file)))


def _told(path: Path | None, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as why:
        msg = f"{path}: {reason(why)}; see `triage tls check`"
        raise ConfigError(msg) from None
    except OSError as why:
        msg = f"{path} or its key cannot be read ({why.strerror}); run `triage tls init`"
        raise ConfigError(msg) from None
