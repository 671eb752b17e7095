"""Certificates for tests: sound ones from our own commands, and bad ones made by hand."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from triage.commands import tls
from triage.commands.tls import Kind, Wish
from triage.tls import TlsPeer, fingerprint


@dataclass(frozen=True)
class Keys:
    """A state folder's certificates."""

    state: Path

    @property
    def folder(self) -> Path:
        return self.state / "tls"

    def file(self, name: str) -> Path:
        return self.folder / name

    def digest(self, name: str) -> str:
        text = self.file(name).read_text()
        return fingerprint(ssl.PEM_cert_to_DER_cert(text))

    def port(self, **changes: object) -> dict[str, object]:
        """Give ``listener.tls`` with these files."""
        names = {"certificate_file": "server.pem", "key_file": "server.key"}
        files = {key: str(self.file(name)) for key, name in names.items()}
        trusted = str(self.file("trusted.pem"))
        return {"enabled": True, "port": 0, **files, "ca_file": trusted, **changes}

    def caller(self, name: str = "client", **changes: object) -> TlsPeer:
        """Give how we call with one of these certificates; no name, no certificate."""
        own = {"certificate_file": self.file(f"{name}.pem"), "key_file": self.file(f"{name}.key")}
        given = {**(own if name else {}), "ca_file": self.file("trusted.pem"), **changes}
        return TlsPeer.model_validate(given)

    def dcmtk(self, name: str = "client") -> list[str]:
        """Give DCMTK's options to call with one of these certificates."""
        key, certificate = self.file(f"{name}.key"), self.file(f"{name}.pem")
        return ["+tls", str(key), str(certificate), "+cf", str(self.file("ca.pem"))]

    def orthanc(self, **more: object) -> dict[str, Any]:
        """Give Orthanc's settings to take and make TLS connections with the client's."""
        names = {"Certificate": "client.pem", "PrivateKey": "client.key",
                 "TrustedCertificates": "ca.pem"}  # fmt: skip
        files = {f"DicomTls{key}": str(self.file(name)) for key, name in names.items()}
        return {
            "DicomTlsEnabled": True, **files, "DicomTlsRemoteCertificateRequired": True, **more,
        }  # fmt: skip


def made(state: Path, kind: Kind = "ec") -> Keys:
    """Make an authority and both certificates for this machine."""
    tls.init(state, Wish("localhost", tls.own_hosts(()), kind))
    return Keys(state)


def spoil(keys: Keys, name: str, *, days: int = -1, bits: int = 0) -> Keys:
    """Put a certificate in place that ended ``-days`` ago, or whose RSA key is too short."""
    signer = serialization.load_pem_private_key(keys.file("ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    authority = x509.load_pem_x509_certificate(keys.file("ca.pem").read_bytes())
    old = x509.load_pem_x509_certificate(keys.file(f"{name}.pem").read_bytes())
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=40))
        .not_valid_after(now + timedelta(days=days))
    )
    for one in old.extensions:
        if not isinstance(one.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(one.value, critical=one.critical)
    found = builder.sign(signer, hashes.SHA256())
    tls.write(keys.file(f"{name}.key"), tls._private(key), tls.PRIVATE)
    tls.write(keys.file(f"{name}.pem"), tls._pem(found), tls.PUBLIC)
    return keys
