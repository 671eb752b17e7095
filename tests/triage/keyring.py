"""Signing keys for tests, made once a run."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from triage.sshsig import PublicKey, public


@cache
def private(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))


def known(name: str) -> PublicKey:
    return public(private(name), f"{name} key")
