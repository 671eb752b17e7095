"""``triage tls check``: what is right and wrong with our certificates, each with its fix."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from stat import S_IMODE
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from triage import nodes
from triage.commands.checks import Check
from triage.destinations import Dimse
from triage.errors import ConfigError
from triage.settings import Settings, Site
from triage.tls import (
    FOLDER,
    WARN_DAYS,
    Credentials,
    ServerTls,
    TlsPeer,
    client_context,
    fingerprint,
    server_context,
)
from triage.workflow import DimseManager

INIT: Final = "triage tls init"
RENEW: Final = "triage tls init --renew, or a new one of your authority in its place"
ROLES: Final = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}
MIN_RSA_BITS: Final = 2048
MIN_EC_BITS: Final = 256


def examine(settings: Settings) -> list[Check]:
    """Look at every file that TLS needs here; one line where nothing of it is used."""
    folder = settings.state / FOLDER
    used = list(_used(settings))
    if not used and not folder.is_dir():
        return [Check("tls", ok=True, found="not used")]
    lines = list(_permissions(folder)) if folder.is_dir() else []
    for role, name, of in used:
        lines.append(_whole(role, name, of))
        if of.key_file is not None:
            lines.append(_place(name, of.key_file, settings.state))
    files = {of.certificate_file: role for role, _, of in used if of.certificate_file}
    own = {folder / f"{role}.pem": role for role in ROLES if (folder / f"{role}.pem").is_file()}
    for path, role in {**own, **files}.items():
        lines += _certificate(path, role)
    for path in dict.fromkeys(of.ca_file for _, _, of in used if of.ca_file):
        lines += _authorities(path)
    return lines


def _used(settings: Settings) -> Iterator[tuple[str, str, Credentials]]:
    """Give role, name and files of each place where the settings turn TLS on."""
    site = settings.site
    for name, of in _ports(site):
        yield "server", name, of
    for one in (*site.destinations, *site.ups.performer.managers):
        if isinstance(one, Dimse | DimseManager) and one.tls is not None:
            yield "client", one.name, one.tls
    asked: tuple[nodes.Asked, ...] = (
        *site.completeness.sources,
        *site.commitment.requesters,
        *site.priors.sources,
    )
    for other in asked:
        if other.tls is not None:
            yield "client", nodes.label(other), other.tls
    for peer in site.ups.manager.peers:
        if peer.tls is not None:
            yield "client", peer.ae_title, peer.tls


def _ports(site: Site) -> Iterator[tuple[str, ServerTls]]:
    if site.listener.tls.enabled:
        yield "listener", site.listener.tls
    manager = site.ups.manager
    if manager.enabled and manager.tls is not None:
        yield "manager of work items", manager.tls


def _permissions(folder: Path) -> Iterator[Check]:
    for path in (folder, *sorted(folder.rglob("*.key"))):
        wanted = 0o700 if path.is_dir() else 0o600
        mode = S_IMODE(path.stat().st_mode)
        name = f"tls {path.name}" if path != folder else "tls folder"
        found = f"mode {mode:04o}"
        yield Check(name, not mode & ~wanted, found, f"chmod {wanted:o} {path}")


def _whole(role: str, name: str, of: Credentials) -> Check:
    """Load everything as a connection would."""
    try:
        if isinstance(of, TlsPeer):
            client_context(of)
        else:
            server_context(of)  # type: ignore[arg-type]
    except ConfigError as why:
        found, _, fix = str(why).partition("; ")
        return Check(f"tls of {name}", ok=False, found=found, fix=fix or INIT)
    shown = "with our certificate" if of.certificate_file else "without a certificate of ours"
    pinned = ", peer pinned" if isinstance(of, TlsPeer) and of.pins else ""
    return Check(f"tls of {name}", ok=True, found=f"{role}, {shown}{pinned}")


def _place(name: str, key: Path, state: Path) -> Check:
    is_inside = key.resolve().is_relative_to(state.resolve())
    found = "in the state folder" if is_inside else f"outside the state folder: {key}"
    fix = f"move it to {state / FOLDER} and name it there"
    return Check(f"tls key of {name}", is_inside, found, fix)


def _certificate(path: Path, role: str) -> Iterator[Check]:
    name = f"certificate {path.name}"
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        yield Check(name, ok=False, found=f"{path} is no readable PEM file", fix=INIT)
        return
    for number, one in enumerate(chain):
        yield _dates(name if not number else f"{name}, number {number + 1}", one)
    faults = [*_faults(chain[0], role), *_broken_links(chain)]
    found = "; ".join(faults) or f"sound; sha256 {fingerprint(chain[0].public_bytes(Encoding.DER))}"
    yield Check(f"{name} is fit", not faults, found, RENEW)


def _dates(name: str, one: x509.Certificate) -> Check:
    now, until = datetime.now(UTC), one.not_valid_after_utc
    left = (until - now).days
    if one.not_valid_before_utc > now:
        found = f"not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return Check(name, ok=False, found=found, fix="set this machine's clock")
    if left < 0:
        return Check(name, ok=False, found=f"expired on {until:%Y-%m-%d}", fix=RENEW)
    return Check(name, left >= WARN_DAYS, f"{left} days left, until {until:%Y-%m-%d}", RENEW)


def _faults(one: x509.Certificate, role: str) -> Iterator[str]:
    key = one.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        yield f"an RSA key of {key.key_size} bits; {MIN_RSA_BITS} is the least"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < MIN_EC_BITS:
        yield f"an EC key of {key.curve.key_size} bits; {MIN_EC_BITS} is the least"
    if isinstance(one.signature_hash_algorithm, SHA1):
        yield "signed with SHA-1"
    extensions = {type(each.value): each.value for each in one.extensions}
    usages = extensions.get(x509.ExtendedKeyUsage)
    if isinstance(usages, x509.ExtendedKeyUsage) and ROLES[role] not in usages:
        yield f"not for use as a {role}"
    if role == "server" and x509.SubjectAlternativeName not in extensions:
        yield "no Subject Alternative Name, so no client finds the host in it"


def _broken_links(chain: list[x509.Certificate]) -> Iterator[str]:
    for number, (one, above) in enumerate(pairwise(chain)):
        try:
            one.verify_directly_issued_by(above)
        except Exception:  # noqa: BLE001 - whatever kind of no it is
            yield f"number {number + 2} of the file did not issue the one before it"


def _authorities(path: Path) -> Iterator[Check]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return  # told where it is used, and with a pin it is not needed
    for one in found:
        digest = fingerprint(one.public_bytes(Encoding.DER))[:12]
        yield _dates(f"trusted {digest}", one)
