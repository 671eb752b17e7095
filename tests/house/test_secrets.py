"""No file of the repository holds a key, token or password; each pattern finds a planted one."""

import re
import subprocess
from math import log2
from pathlib import Path

import pytest

from tests.house.source import ROOT

SHAPES = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\bgh[opsru]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{22,}"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "package index token": re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}|\bnpm_[A-Za-z0-9]{36}\b"),
    "JSON web token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "password in an address": re.compile(
        r"\b[a-z][a-z0-9+]{2,}://[^\s/:@{}<>\"']+:([^\s/@{}<>\"']+)@"
    ),
    "password hash": re.compile(
        r"\$argon2id?\$v=\d+\$[^$\s]+\$[\w+/]{8,}\$|\$2[aby]\$\d\d\$|\$6\$[./\w]{8,}\$"
    ),
}
ASSIGNED = re.compile(
    r"(?i)\b\w*(?:password|passwd|secret|token|api_?key|private_?key)\w*[\"']?\s*[:=]\s*[\"']([^\"'\s]{16,})[\"']"
)
RANDOM_BITS = 3.6
"""Entropy a character above which a long value looks drawn, not written."""
BINARY = {".safetensors", ".png", ".dcm", ".ico", ".woff2", ".gz"}
PLANTED = (
    "-----BEGIN " + "PRIVATE KEY-----",
    "-----BEGIN " + "EC PRIVATE KEY-----",
    "key: AKIA" + "IOSFODNN7EXAMPLE",
    "gh" + "p_" + "a1B2c3D4e5" * 3 + "a1B2c3",
    "url = 'postgresql://triage:" + "hunter2@db/triage'",
    "$argon2id$" + "v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA",
    "api_key = '" + "q8Zt4LxW0vNb7KcR2mYf'",
    '"token": "' + '9fX2kQ7vB4nT8wLzR5cJ"',
)
MADE_UP = {
    "password in an address": {"secret", "hidden", "password"},
    "drawn value": {"whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
}
"""What tests make up, of no account anywhere; the last is Standard Webhooks' own example."""


def tracked() -> list[Path]:
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no checkout")
    names = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in names if path.is_file() and path.suffix not in BINARY]


def secrets(text: str) -> list[str]:
    """Give what kinds of secret a text holds."""
    found = [
        kind
        for kind, shape in SHAPES.items()
        for match in shape.finditer(text)
        if not ({*match.groups()} & MADE_UP.get(kind, set()))
    ]
    drawn = {match.group(1) for match in ASSIGNED.finditer(text)} - MADE_UP["drawn value"]
    return [*found, *("drawn value" for value in drawn if _entropy(value) > RANDOM_BITS)]


def _entropy(value: str) -> float:
    shares = [value.count(one) / len(value) for one in set(value)]
    has_digit = any(one.isdigit() for one in value)
    return -sum(share * log2(share) for share in shares) if has_digit else 0.0


def test_no_file_holds_a_secret() -> None:
    paths = tracked()
    assert len(paths) > 300
    found = {
        str(path.relative_to(ROOT)): kinds
        for path in paths
        if (kinds := secrets(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize("text", PLANTED)
def test_a_planted_secret_is_found(text: str) -> None:
    assert secrets(text)


def test_prose_and_digests_are_no_secrets() -> None:
    assert secrets("password_file: secrets/pgpass\ntoken = read_token(path)") == []
    assert (
        secrets("--hash=sha256:5a811826e1a5a06c25ebc3e6c4a704613eb9a1bcf6b78428fbe865f4f6c9a4b8")
        == []
    )
