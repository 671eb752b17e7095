"""Signatures hold for one key, one content and one purpose, and are OpenSSH's own."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given
from hypothesis import strategies as st

from tests.triage.keyring import known, private
from triage.sshsig import BEGIN, END, BadSignature, PublicKey, sign, signer

CONTENT = b"what was released\n"
PURPOSE = "triage-test"
SIGNATURE = sign(private("ours"), CONTENT, PURPOSE)
needs_openssh = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no OpenSSH here")


def test_the_signer_is_found_again() -> None:
    assert signer(SIGNATURE, CONTENT, PURPOSE).raw == known("ours").raw
    assert sign(private("ours"), CONTENT, PURPOSE) == SIGNATURE


def test_another_content_is_not_signed() -> None:
    with pytest.raises(BadSignature, match="another content"):
        signer(SIGNATURE, CONTENT + b"!", PURPOSE)


def test_a_signature_for_another_purpose_is_none() -> None:
    with pytest.raises(BadSignature, match="another purpose"):
        signer(SIGNATURE, CONTENT, "triage-other")


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_it_can_be_changed(at: int, bit: int) -> None:
    blob = bytearray(base64.b64decode("".join(SIGNATURE.splitlines()[1:-1])))
    blob[at % len(blob)] ^= 1 << bit
    with pytest.raises(BadSignature):
        signer(f"{BEGIN}\n{base64.b64encode(blob).decode()}\n{END}\n", CONTENT, PURPOSE)


@given(st.binary(max_size=400))
def test_what_is_no_signature_is_refused_and_no_crash(blob: bytes) -> None:
    for text in (blob.decode("latin-1"), f"{BEGIN}\n{base64.b64encode(blob).decode()}\n{END}"):
        with pytest.raises(BadSignature):
            signer(text, CONTENT, PURPOSE)


@given(st.integers(0, 400))
def test_a_signature_cut_short_or_with_more_behind_it_is_refused(length: int) -> None:
    blob = base64.b64decode("".join(SIGNATURE.splitlines()[1:-1]))
    for other in (blob[: length % len(blob)], blob + bytes(1 + length)):
        with pytest.raises(BadSignature):
            signer(f"{BEGIN}\n{base64.b64encode(other).decode()}\n{END}", CONTENT, PURPOSE)


def test_a_public_key_is_one_line() -> None:
    key = known("ours")
    assert PublicKey.parse(f" {key.line}\n") == key
    assert PublicKey.parse(key.line.rpartition(" ours")[0]).comment == ""


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!! me",
        "ssh-rsa " + known("ours").line.split()[1],
        "ssh-ed25519 " + base64.b64encode(known("ours").raw).decode(),
        "ssh-ed25519 " + base64.b64encode(known("ours").wire[:-1]).decode(),
    ],
)
def test_what_is_no_public_key_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="ssh-keygen"):
        PublicKey.parse(line)


@needs_openssh
def test_openssh_signs_and_checks_the_same(tmp_path: Path) -> None:
    key, message = tmp_path / "key", tmp_path / "message"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a release", "-f", str(key)]
    subprocess.run(make, check=True, timeout=60)
    message.write_bytes(CONTENT)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", PURPOSE, "-f", str(key), str(message)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    theirs = Path(f"{message}.sig").read_text()
    public = PublicKey.parse(Path(f"{key}.pub").read_text())
    assert signer(theirs, CONTENT, PURPOSE).raw == public.raw
    loaded = load_ssh_private_key(key.read_bytes(), None)
    assert sign(loaded, CONTENT, PURPOSE) == theirs  # type: ignore[arg-type] # Ed25519's, as asked
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{key}.pub"], check=True, timeout=60, capture_output=True
    )
    assert public.key_id in listed.stdout.decode()
    (tmp_path / "trusted").write_text(f"us {public.line}\n")
    check = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "trusted"), "-I", "us",
             "-n", PURPOSE, "-s", f"{message}.sig"]  # fmt: skip
    for content, is_good in ((CONTENT, True), (CONTENT + b"!", False)):
        done = subprocess.run(check, input=content, check=False, timeout=60, capture_output=True)
        assert (done.returncode == 0) is is_good
