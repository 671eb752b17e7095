"""``triage tls``: our own authority, and certificates signed by it, all in ``STATE/tls``.

A hospital with an authority of its own puts its files under the same names instead.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from triage.errors import TriageError
from triage.sharing import NOBODY, Readers
from triage.tls import FOLDER, TRUSTED, fingerprint

Kind = Literal["ec", "rsa"]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
AUTHORITY: Final = "ca"
ROLES: Final = ("server", "client")
AUTHORITY_DAYS: Final = 3650
RSA_BITS: Final = 3072
SKEW: Final = timedelta(hours=1)
"""For clocks behind ours."""
PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


@dataclass(frozen=True, slots=True)
class Wish:
    """What a certificate is to be."""

    name: str
    hosts: tuple[str, ...] = ()
    """DNS names and addresses by which it is called."""
    kind: Kind = "ec"
    days: int = 730


def init(state: Path, wish: Wish, *, renew: bool = False) -> list[Path]:
    """Make an authority, and a certificate for each of our two roles; gives what was written.

    With ``renew`` the authority stays, and the two get new keys.

    Raises:
        TriageError: there is one already, or none to renew from.
    """
    folder = _private_folder(state)
    if not renew:
        _refuse_to_overwrite(folder)
        written = _make_authority(folder, wish)
    else:
        written = []
    for role in ROLES:
        written += _make(folder, folder / role, wish)
    return written


def issue(state: Path, wish: Wish) -> list[Path]:
    """Make key and certificate for a peer that has none, to be carried there.

    Raises:
        TriageError: there is no authority of ours, or the name has one already.
    """
    folder = state / FOLDER / "issued"
    if not wish.name.isprintable() or "/" in wish.name or wish.name in {"", ".", ".."}:
        msg = "a name is one printable word without a slash"
        raise TriageError(msg)
    if (folder / f"{wish.name}.key").exists():
        msg = f"{folder / wish.name}.key is there already; remove it first, or take another name"
        raise TriageError(msg)
    folder.mkdir(exist_ok=True, mode=0o700, parents=True)
    return _make(state / FOLDER, folder / wish.name, wish)


def trust(state: Path, path: Path) -> list[str]:
    """Believe a file's certificates from now on; gives the fingerprints of those that are new.

    Raises:
        TriageError: it holds none.
    """
    try:
        offered = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        msg = f"{path} holds no certificate in PEM form"
        raise TriageError(msg) from None
    target = _private_folder(state) / TRUSTED
    before = target.read_bytes() if target.is_file() else b""
    known = set(x509.load_pem_x509_certificates(before)) if before.strip() else set()
    new = [one for one in dict.fromkeys(offered) if one not in known]
    write(target, before + b"".join(_bundled(one) for one in new), PUBLIC)
    return [fingerprint(one.public_bytes(serialization.Encoding.DER)) for one in new]


def write(path: Path, content: bytes, mode: int, readers: Readers = NOBODY) -> Path:
    """Put a whole file in place, or none; of a private one nobody but ``readers`` ever reads."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    readers.give(draft)
    draft.replace(path)
    return path


def _private_folder(state: Path) -> Path:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = state / FOLDER
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


def _refuse_to_overwrite(folder: Path) -> None:
    names = (f"{AUTHORITY}.key", *(f"{role}.key" for role in ROLES))
    if there := [name for name in names if (folder / name).exists()]:
        msg = (
            f"{folder / there[0]} is there already; `triage tls init --renew` keeps the authority "
            "and makes the rest anew"
        )
        raise TriageError(msg)


def _make_authority(folder: Path, wish: Wish) -> list[Path]:
    key = _key(wish.kind)
    name = _name(f"triage authority of {socket.gethostname()}"[:64])
    builder = _builder(name, name, key, AUTHORITY_DAYS)
    usages = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    found = builder.add_extension(usages, critical=True).sign(key, hashes.SHA256())
    trusted = folder / TRUSTED
    before = trusted.read_bytes() if trusted.is_file() else b""
    return [
        write(folder / f"{AUTHORITY}.key", _private(key), PRIVATE),
        write(folder / f"{AUTHORITY}.pem", _pem(found), PUBLIC),
        write(trusted, before + _bundled(found), PUBLIC),
    ]


def _make(folder: Path, stem: Path, wish: Wish) -> list[Path]:
    """Make a key and its certificate; peers act in both roles, as C-STORE and its reports do."""
    authority, signer = _authority(folder)
    key = _key(wish.kind)
    usages = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=wish.kind == "rsa",
        data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    roles = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer)
    found = (
        _builder(_name(wish.name[:64]), authority.subject, key, wish.days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usages, critical=True)
        .add_extension(x509.ExtendedKeyUsage(roles), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(_hosts(wish))), critical=False)
        .add_extension(above, critical=False)
        .sign(signer, hashes.SHA256())
    )
    return [
        write(stem.with_name(f"{stem.name}.key"), _private(key), PRIVATE),
        write(stem.with_name(f"{stem.name}.pem"), _pem(found), PUBLIC),
    ]


def _authority(folder: Path) -> tuple[x509.Certificate, Key]:
    try:
        found = x509.load_pem_x509_certificate((folder / f"{AUTHORITY}.pem").read_bytes())
        secret = (folder / f"{AUTHORITY}.key").read_bytes()
        signer = serialization.load_pem_private_key(secret, password=None)
    except (OSError, ValueError, TypeError):
        msg = f"{folder} has no readable authority of ours; run `triage tls init`"
        raise TriageError(msg) from None
    if not isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        msg = f"{folder / AUTHORITY}.key is neither an EC nor an RSA key"
        raise TriageError(msg)
    return found, signer


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _hosts(wish: Wish) -> Iterator[x509.GeneralName]:
    for host in dict.fromkeys(wish.hosts or (wish.name,)):
        try:
            yield x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            yield x509.DNSName(host)


def own_hosts(more: Iterable[str]) -> tuple[str, ...]:
    """Give the names by which this machine is called, and those given."""
    name = socket.gethostname()
    usual = dict.fromkeys((name, socket.getfqdn(), "localhost", "127.0.0.1", "::1", *more))
    return tuple(one for one in usual if one)


def _key(kind: Kind) -> Key:
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _bundled(certificate: x509.Certificate) -> bytes:
    """Give a certificate with a line before it by which a person finds it again."""
    digest = fingerprint(certificate.public_bytes(serialization.Encoding.DER))
    until = certificate.not_valid_after_utc.date().isoformat()
    subject = certificate.subject.rfc4514_string().encode("ascii", "replace").decode()
    return f"# {subject}, until {until}, sha256 {digest}\n".encode() + _pem(certificate)


def _private(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
