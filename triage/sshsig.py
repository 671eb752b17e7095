"""Ed25519 signatures in OpenSSH's form, which ``ssh-keygen -Y`` writes and checks too.

A signature holds the key that made it, so that who signed can be told from what was changed. It is
made for a namespace: one of a release is none of an artifact.

Source: OpenSSH's PROTOCOL.sshsig (version 1); RFC 8032 (Ed25519); RFC 8709 (its keys); RFC 4251 5.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_TYPE: Final = "ssh-ed25519"
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAGIC: Final = b"SSHSIG"
VERSION: Final = (1).to_bytes(4, "big")
HASHES: Final = ("sha512", "sha256")
"""The first is what we write."""
BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
END: Final = "-----END SSH SIGNATURE-----"
COLUMNS: Final = 70
LARGEST: Final = 4096
"""Characters; one signature has about 300."""

CUT: Final = "it is cut short or holds something else"


class BadSignature(ValueError):
    """It is no signature of this content for this purpose."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who may have signed."""

    raw: bytes
    """32 bytes."""
    comment: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read one line as ``ssh-keygen`` writes it: type, base64, comment.

        Raises:
            ValueError: it is no Ed25519 public key.
        """
        kind, encoded, comment = (*line.split(maxsplit=2), "", "", "")[:3]
        try:
            if kind == KEY_TYPE:
                return cls(_typed(_decoded(encoded), KEY_BYTES), comment.strip())
        except BadSignature:
            pass  # told below, as any other fault
        msg = f"no Ed25519 public key: a line begins with {KEY_TYPE}, as `ssh-keygen` writes it"
        raise ValueError(msg)

    @property
    def wire(self) -> bytes:
        """Give its form of RFC 8709 4."""
        return _string(KEY_TYPE.encode()) + _string(self.raw)

    @property
    def key_id(self) -> str:
        """Give its fingerprint as ``ssh-keygen -l`` does: SHA256:..."""
        digest = hashlib.sha256(self.wire).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def line(self) -> str:
        """Give it as ``parse`` reads it."""
        return f"{KEY_TYPE} {base64.b64encode(self.wire).decode()} {self.comment}".strip()


def public(key: "Ed25519PrivateKey", comment: str = "") -> PublicKey:
    """Give the other half of a private key."""
    return PublicKey(key.public_key().public_bytes_raw(), comment)


def sign(key: "Ed25519PrivateKey", content: bytes, namespace: str) -> str:
    """Give the signature of a content; of the same content and key, always the same."""
    made = _string(KEY_TYPE.encode()) + _string(key.sign(_signed(content, namespace, HASHES[0])))
    blob = b"".join(
        (MAGIC, VERSION, _string(public(key).wire), _string(namespace.encode()), _string(b""),
         _string(HASHES[0].encode()), _string(made))
    )  # fmt: skip
    text = base64.b64encode(blob).decode()
    lines = (text[at : at + COLUMNS] for at in range(0, len(text), COLUMNS))
    return "\n".join((BEGIN, *lines, END, ""))


def signer(signature: str, content: bytes, namespace: str) -> PublicKey:
    """Give the key that signed this content for this purpose; whom it belongs to is not said here.

    Raises:
        BadSignature: another content or purpose was signed, or this is no signature.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    blob = _unarmoured(signature)
    head = len(MAGIC + VERSION)
    if blob[:head] != MAGIC + VERSION:
        msg = "it is no signature of OpenSSH's, version 1"
        raise BadSignature(msg)
    wire, purpose, reserved, algorithm, made = _strings(blob[head:], 5)
    if purpose != namespace.encode():
        msg = f"it was made for another purpose than {namespace}"
        raise BadSignature(msg)
    if reserved or algorithm.decode("ascii", "replace") not in HASHES:
        msg = f"it is over no hash of {', '.join(HASHES)}, or says more than version 1 knows"
        raise BadSignature(msg)
    key = PublicKey(_typed(wire, KEY_BYTES))
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(
            _typed(made, SIGNATURE_BYTES), _signed(content, namespace, algorithm.decode())
        )
    except (InvalidSignature, ValueError):
        msg = "it is of another content, or was changed"
        raise BadSignature(msg) from None
    return key


def _signed(content: bytes, namespace: str, algorithm: str) -> bytes:
    """Give the bytes that are signed: the content's hash, and what the signature is for."""
    digest = hashlib.new(algorithm, content).digest()
    parts = (namespace.encode(), b"", algorithm.encode(), digest)
    return MAGIC + b"".join(map(_string, parts))


def _string(content: bytes) -> bytes:
    """Give a ``string`` of RFC 4251 5: its length in four bytes, then itself."""
    return len(content).to_bytes(4, "big") + content


def _strings(content: bytes, count: int) -> list[bytes]:
    """Give so many strings, which are all that there is."""
    found = []
    for _ in range(count):
        length = int.from_bytes(content[:4], "big")
        found.append(content[4 : 4 + length])
        if len(content) < 4 + length:
            raise BadSignature(CUT)
        content = content[4 + length :]
    if content:
        raise BadSignature(CUT)
    return found


def _typed(content: bytes, length: int) -> bytes:
    """Give what follows the type's name: a key or a signature of Ed25519."""
    kind, value = _strings(content, 2)
    if kind != KEY_TYPE.encode() or len(value) != length:
        msg = "it is not Ed25519's"
        raise BadSignature(msg)
    return value


def _unarmoured(text: str) -> bytes:
    lines = text.strip().splitlines()
    if len(text) > LARGEST or lines[:1] != [BEGIN] or lines[-1:] != [END]:
        msg = f"it does not stand between {BEGIN} and its end"
        raise BadSignature(msg)
    return _decoded("".join(lines[1:-1]))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature(CUT) from None
