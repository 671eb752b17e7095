"""``triage node test``: TCP, TLS, C-ECHO and what else we want of a node, each with its fix.

Nothing is stored there, retrieved or reported: C-FIND asks for a study that nobody has, everything
else is tried by negotiation.
"""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

from triage import dimse
from triage.commands.checks import Check
from triage.deliver.probe import STORES, SYNTAXES
from triage.dimse import STUDY_ROOT_FIND, Peer
from triage.errors import Broken, ConfigError, TriageError, TryAgain
from triage.evidence import promises
from triage.priors.asking import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from triage.tls import FOLDER, WARN_DAYS, TlsPeer, Trust, client_context, fingerprint

CONNECT_S: Final = 5.0
FIXES: Final = {
    "unable to get local issuer": "triage tls trust FILE, with its authority's certificate",
    "self-signed certificate": "triage tls trust FILE, or pin it: triage node add --pin now",
    "hostname mismatch": "name what its certificate says under tls: server_name",
    "ip address mismatch": "name what its certificate says under tls: server_name",
    "has expired": "it needs a new certificate; then pin that one if it was pinned",
    "pinned": "ask its administrator for the fingerprint; nothing was sent",
    "unknown ca": f"it must trust our authority: give it STATE/{FOLDER}/ca.pem",
    "certificate required": "it wants our certificate: triage tls init",
    "wrong version number": "that port does not speak TLS",
    "record layer failure": "that port does not speak TLS",
    "unexpected eof": "that port does not speak TLS, or refuses our certificate silently",
    "the connection ended": "that port does not speak TLS, or refuses us silently",
    "no shared cipher": "it has no suite of BCP 195; it needs TLS 1.2 with ECDHE and AES-GCM",
    "protocol version": "it speaks only TLS older than 1.2",
}
"""What to do, by what OpenSSL says."""
NO_TCP: Final = "check host and port, that it runs, and the firewall between"
NO_ECHO: Final = "check both AE titles; it must know ours, and our address"
NO_FIND: Final = (
    "let our AE title query there; duplicates, counts and priors are asked for by C-FIND"
)
NO_STORE: Final = "let it take the SOP classes of our results: triage conformance lists them"
NO_REPORT: Final = "let it take N-EVENT-REPORT from our AE title, as the requester it is"
NO_RETRIEVE: Final = "let our AE title retrieve there, or change the source's method in nodes.yaml"
STATUSES: Final = (0x0000, 0xFF00, 0xFF01)


def find(to: Peer) -> Check:
    """Ask for a study that nobody has."""
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", generate_uid()
    try:
        with dimse.associate(to, [(STUDY_ROOT_FIND, ImplicitVRLittleEndian)]) as association:
            answers = [
                one.get("Status") for one, _ in association.send_c_find(asked, STUDY_ROOT_FIND)
            ]
    except (TryAgain, Broken, RuntimeError, ValueError) as why:
        return Check("C-FIND", ok=False, found=_words(why), fix=NO_FIND)
    odd = [one for one in answers if one not in STATUSES]
    if odd or not answers:
        found = f"0x{odd[0]:04X}" if odd and odd[0] is not None else "no answer"
        return Check("C-FIND", ok=False, found=found, fix=NO_FIND)
    return Check("C-FIND", ok=True, found="answers")


def store(to: Peer) -> Check:
    """Look which kinds of our results it takes."""
    try:
        with dimse.associate(to, [(one, two) for one in STORES for two in SYNTAXES]) as association:
            taken = {str(one.abstract_syntax) for one in association.accepted_contexts}
    except (TryAgain, Broken) as why:
        return Check("C-STORE", ok=False, found=_words(why), fix=NO_STORE)
    missing = [UID(one).name for one in STORES if str(one) not in taken]
    found = f"takes {len(taken)} of {len(STORES)} kinds of result"
    return Check(
        "C-STORE", ok=True, found=f"{found}; not {', '.join(missing)}" if missing else found
    )


def report(to: Peer) -> Check:
    """Look whether it hears what we say about Storage Commitment."""
    try:
        with promises.reporting(to):
            return Check("N-EVENT-REPORT", ok=True, found="hears our answers")
    except (TryAgain, Broken) as why:
        return Check("N-EVENT-REPORT", ok=False, found=_words(why), fix=NO_REPORT)


def get(to: Peer) -> Check:
    """Look whether it sends what it has over our own association."""
    return _retrieval("C-GET", STUDY_ROOT_GET, to)


def move(to: Peer) -> Check:
    """Look whether it sends what it has to our listener."""
    return _retrieval("C-MOVE", STUDY_ROOT_MOVE, to)


def _retrieval(name: str, model: UID, to: Peer) -> Check:
    try:
        with dimse.associate(to, [(model, ImplicitVRLittleEndian)]):
            return Check(name, ok=True, found="is taken")
    except (TryAgain, Broken) as why:
        return Check(name, ok=False, found=_words(why), fix=NO_RETRIEVE)


def run(to: Peer, services: Sequence[Callable[[Peer], Check]] = (find, store)) -> list[Check]:
    """Try one service after the other; what cannot work any more is left out."""
    lines = [_tcp(to)]
    if lines[-1].ok and to.tls is not None:
        lines.append(shake(to, to.tls))
    if all(one.ok for one in lines):
        lines.append(_echo(to))
    if all(one.ok for one in lines):
        lines += [one(to) for one in services]
    return lines


def fetch(of: TlsPeer, host: str, port: int) -> str:
    """Give the fingerprint of the certificate that is shown there now, whoever's it is.

    Raises:
        TriageError: nobody answers in TLS.
    """
    trust = client_context(of.model_copy(update={"pins": ("",)}), CONNECT_S)
    trust.pins = ()
    try:
        with _dialled(trust, (host, port), host) as link:
            return fingerprint(link.getpeercert(binary_form=True))
    except OSError as why:
        msg = f"{host}:{port}: {trust.failure or why.strerror or 'no answer'}; nothing to pin"
        raise TriageError(msg) from None


def _tcp(to: Peer) -> Check:
    where = f"{to.host}:{to.port}"
    try:
        socket.create_connection((to.host, to.port), timeout=CONNECT_S).close()
    except OSError as why:
        return Check("TCP", ok=False, found=f"{where}: {why.strerror or 'no answer'}", fix=NO_TCP)
    return Check("TCP", ok=True, found=where)


def shake(to: Peer, of: TlsPeer) -> Check:
    """Do a handshake and look at the other side's certificate."""
    try:
        trust = client_context(of, CONNECT_S)
    except ConfigError as why:
        found, _, fix = str(why).partition("; ")
        return Check("TLS", ok=False, found=found, fix=fix)
    try:
        with _dialled(trust, (to.host, to.port), of.server_name or to.host) as link:
            return _shown(link)
    except OSError as why:
        found = trust.failure or why.strerror or "no answer"
        return Check("TLS", ok=False, found=found, fix=remedy(found))


def _shown(link: ssl.SSLSocket) -> Check:
    certificate = x509.load_der_x509_certificate(link.getpeercert(binary_form=True) or b"")
    left = (certificate.not_valid_after_utc - datetime.now(UTC)).days
    suite = (link.cipher() or ("",))[0]
    digest = fingerprint(link.getpeercert(binary_form=True))
    found = f"{link.version()} {suite}, its certificate {left} days left, sha256 {digest}"
    return Check("TLS", left >= WARN_DAYS, found, "its certificate needs renewing there")


def remedy(found: str) -> str:
    """Give what to do about a TLS failure."""
    said = found.lower()
    return next((fix for word, fix in FIXES.items() if word in said), "triage tls check")


def _echo(to: Peer) -> Check:
    try:
        dimse.echo(to)
    except (TryAgain, Broken) as why:
        found = _words(why)
        fix = remedy(found) if "no TLS" in found else NO_ECHO
        return Check("C-ECHO", ok=False, found=found, fix=fix)
    return Check("C-ECHO", ok=True, found=f"{to.ae_title}, as {to.calling_ae_title}")


def _words(why: Exception) -> str:
    if isinstance(why, Broken):
        return why.reason.detail
    return str(why) if isinstance(why, TriageError) else f"broke ({type(why).__name__})"


@contextmanager
def _dialled(trust: Trust, where: tuple[str, int], name: str) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(where, timeout=CONNECT_S) as plain,
        trust.wrap_socket(plain, server_hostname=name) as link,
    ):
        yield link
