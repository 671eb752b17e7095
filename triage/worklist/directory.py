"""The directory that knows passwords (LDAP, RFC 4511): find the person, bind as the person.

An extra: ``pip install triage[ldap]``. What is typed is escaped into the filter (RFC 4515), and an
empty password never binds, which a directory would call a success (RFC 4513, 5.1.2).
"""

import math
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from db.engine import Database
from db.tables import UserRow
from triage.accounts import Ldap
from triage.deliver import credentials
from triage.errors import ConfigError, TryAgain
from triage.settings import Web
from triage.worklist import auth, foreign, sessions
from triage.worklist.auth import NotAccepted
from triage.worklist.foreign import Person

if TYPE_CHECKING:
    from ldap3 import Connection, Tls

LASTING: Final = ("entryUUID", "objectGUID")
"""What names an entry that is renamed; its DN where the directory has neither."""


def has_password_here(database: Database, name: str) -> bool:
    """Tell whether this account's password is kept here, so that no directory is asked."""
    with database.reading() as session:
        kept = session.scalar(select(UserRow.password_hash).where(UserRow.name == name.strip()))
    return bool(kept)


def sign_in(
    database: Database, web: Web, name: str, password: str, address: str
) -> sessions.Passed | None:
    """Give what the directory's word opens; None refuses.

    Raises:
        TryAgain: the directory does not answer.
        NotAccepted: it knows the person, who has no role here or is disabled.
    """
    of = web.accounts.ldap
    if of is None:
        return None
    person = prove(of, name.strip(), password)
    with database.begin() as session:
        user = session.scalar(select(UserRow).where(UserRow.name == name.strip()))
        user = user and sessions.locked(session, user.id)
        if person is None:
            if user is not None:
                sessions.admit(session, user, right=False, address=address)
            sessions.refused(session, user, address)
            return None
    return _opened(database, web, person, address)


def prove(of: Ldap, name: str, password: str) -> Person | None:
    """Give whom the directory knows by this name and password; None for nobody.

    Raises:
        TryAgain: it does not answer.
        ConfigError: the package is not installed.
    """
    if not name or not password or len(name) > auth.MAX_NAME:
        return None
    with _reached(of) as ldap:
        found = _person(ldap, of, name)
        if found is None:
            return None
        dn, attributes = found
        groups = _groups(ldap, of, dn, attributes)
        if not ldap.rebind(user=dn, password=password):
            return None
    lower = {group.lower(): role for group, role in of.roles.items()}
    roles = foreign.roles_of([one.lower() for one in groups], lower)
    subject = next((str(attributes[one]) for one in LASTING if attributes.get(one)), dn)
    return Person(of.url, subject, name, roles)


def _opened(database: Database, web: Web, person: Person, address: str) -> sessions.Passed | None:
    try:
        with database.begin() as session:
            user = foreign.account(session, person)
            if not sessions.admit(session, user, right=True, address=address):
                sessions.refused(session, user, address)
                return None
            return sessions.passed(session, web, user, address)
    except NotAccepted:
        with database.begin() as session:
            sessions.refused(session, foreign.known(session, person), address)
        raise


@contextmanager
def _reached(of: Ldap) -> Iterator["Connection"]:
    """Give a connection that may search."""
    try:
        import ldap3
        from ldap3.core.exceptions import LDAPException
    except ImportError:
        msg = "the directory needs the package ldap3; run: pip install 'triage[ldap]'"
        raise ConfigError(msg) from None
    secret = credentials.secret(of.bind_password_file) if of.bind_password_file else None
    server = ldap3.Server(of.url, tls=_tls(of), connect_timeout=of.timeout_s, get_info=ldap3.NONE)
    ldap = ldap3.Connection(
        server, of.bind_dn or None, secret, receive_timeout=math.ceil(of.timeout_s), read_only=True,
        auto_referrals=False,
    )  # fmt: skip
    try:
        _bind(ldap, of)
        yield ldap
    except (LDAPException, OSError) as why:
        msg = f"the directory does not answer ({type(why).__name__})"
        raise TryAgain(msg) from None
    finally:
        _close(ldap)


def _tls(of: Ldap) -> "Tls":
    """Give how TLS is spoken: 1.2 or later, and the certificate is the host's, by OpenSSL's word.

    The library compares names itself after the handshake, and leaves the socket open where they
    differ.

    Raises:
        ConfigError: ``ca_file`` cannot be read.
    """
    import ldap3

    try:
        context = ssl.create_default_context(cafile=of.ca_file)
    except OSError:
        msg = "web.accounts.ldap.ca_file cannot be read as certificates (PEM)"
        raise ConfigError(msg) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    class Checked(ldap3.Tls):
        def wrap_socket(self, connection: "Connection", do_handshake: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
            host = connection.server.host
            connection.socket = context.wrap_socket(
                connection.socket, server_hostname=host, do_handshake_on_connect=do_handshake
            )

    return Checked(validate=ssl.CERT_REQUIRED)


def _bind(ldap: "Connection", of: Ldap) -> None:
    ldap.open()
    if of.start_tls and not ldap.start_tls():
        msg = "the directory does not start TLS"
        raise TryAgain(msg)
    if not ldap.bind():
        msg = "the directory refuses web.accounts.ldap.bind_dn"
        raise TryAgain(msg)


def _close(ldap: "Connection") -> None:
    """End the connection, also where the library left its socket open."""
    socket = ldap.socket
    with suppress(OSError):
        ldap.unbind()
    if socket is not None:
        socket.close()


def _person(ldap: "Connection", of: Ldap, name: str) -> tuple[str, dict[str, Any]] | None:
    """Give the one entry of this name; none where there are two."""
    from ldap3.utils.conv import escape_filter_chars

    wanted = f"({of.name_attribute}={escape_filter_chars(name)})"
    own = [] if of.groups else [of.group_attribute]
    ldap.search(of.people, wanted, attributes=[*LASTING, *own], size_limit=2)
    entries = [one for one in ldap.response or () if one["type"] == "searchResEntry"]
    if len(entries) != 1:
        return None
    return entries[0]["dn"], dict(entries[0]["attributes"])


def _groups(ldap: "Connection", of: Ldap, dn: str, attributes: dict[str, Any]) -> list[str]:
    """Give the DNs of the person's groups."""
    from ldap3.utils.conv import escape_filter_chars

    if not of.groups:
        own = attributes.get(of.group_attribute) or ()
        return [own] if isinstance(own, str) else [str(one) for one in own]
    wanted = f"({of.group_attribute}={escape_filter_chars(dn)})"
    ldap.search(of.groups, wanted, attributes=[])
    return [one["dn"] for one in ldap.response or () if one["type"] == "searchResEntry"]
