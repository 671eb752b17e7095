"""To people, by SMTP (RFC 5321): the whole message to all recipients, or to none of them."""

import contextlib
import email
import smtplib
import socket
from collections.abc import Iterator
from email import policy
from typing import Final

from triage.deliver.credentials import secret, trust
from triage.destinations import Mail
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document

SHARE: Final = 0.9
"""Of the deadline: so the sending process need not be ended for a server that is silent."""
STORED: Final = 0
_TRANSIENT: Final = 400
_PERMANENT: Final = 500


def store(document: Document, to: Mail) -> int:
    """Send the message; gives 0.

    Raises:
        InDoubt: the message left, and no reply came.
        TryAgain: nobody there, busy, or the password is not taken.
        Broken: the server will never take it, or one of its recipients.
    """
    content = _addressed(document.content, to)
    with _connected(to) as server:
        for code, _ in (
            server.mail(to.sender),
            *(server.rcpt(recipient) for recipient in to.recipients),
        ):
            _settle(code, to)
        try:
            code, _ = server.data(content)
        except smtplib.SMTPDataError as why:  # the server did not want to begin
            code = int(why.smtp_code)
        except (smtplib.SMTPServerDisconnected, OSError) as why:
            msg = f"{to.name}: no reply to the message ({type(why).__name__}); it may have arrived"
            raise InDoubt(msg) from None
        _settle(code, to)
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.quit()
    return STORED


@contextlib.contextmanager
def _connected(to: Mail) -> Iterator[smtplib.SMTP]:
    """Hold a session, encrypted and signed in as the settings say."""
    if to.user and not to.starttls:
        detail = f"{to.name}: a password needs starttls: true in site.yaml"
        raise Broken(code="refused", detail=detail)
    try:
        server = smtplib.SMTP(
            to.host, to.port, local_hostname=socket.gethostname(), timeout=to.deadline_s * SHARE
        )
        with contextlib.closing(server):
            _begin(server, to)
            yield server
    except smtplib.SMTPNotSupportedError:
        raise Broken(code="refused", detail=f"{to.name} offers no STARTTLS or no sign-in") from None
    except smtplib.SMTPResponseException as why:
        code = int(why.smtp_code)
        msg = f"{to.name} answered {code}"
        raise TryAgain(msg) from None
    except (smtplib.SMTPException, OSError) as why:
        msg = f"{to.name}: no SMTP with {to.host}:{to.port} ({type(why).__name__})"
        raise TryAgain(msg) from None


def _begin(server: smtplib.SMTP, to: Mail) -> None:
    if to.starttls:
        server.starttls(context=trust(to))
    server.ehlo_or_helo_if_needed()
    if to.user and to.password_file is not None:
        server.login(to.user, secret(to.password_file))


def _settle(code: int, to: Mail) -> None:
    """Sort a reply: 2yz taken, 4yz later, 5yz never (RFC 5321 4.2.1)."""
    if code >= _PERMANENT:
        detail = f"{to.name} answered {code} to the message"
        raise Broken(code="refused", detail=detail)
    if code >= _TRANSIENT:
        msg = f"{to.name} answered {code}; it may take it later"
        raise TryAgain(msg)


def _addressed(content: bytes, to: Mail) -> bytes:
    """Name the sender and the recipients, as the settings do; no address is from a study."""
    message = email.message_from_bytes(content, policy=policy.SMTP)
    message["From"] = to.sender
    message["To"] = ", ".join(to.recipients)
    return message.as_bytes()
