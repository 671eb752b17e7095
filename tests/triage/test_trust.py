"""Whose signature an artifact has, wherever it lies, and when a site refuses it."""

from pathlib import Path

import pytest

from tests.triage.commands.cli import write_site
from tests.triage.keyring import known, private
from triage import settings as configuration
from triage.errors import REASONS, ConfigError, NotEligible
from triage.sshsig import sign
from triage.trust import (
    MANIFEST,
    NAMESPACE,
    REFUSED,
    SIGNATURE,
    Standing,
    Trust,
    judge,
    read_keys,
    require,
)

NAME = "chest-radiograph-memae"
OURS = Trust(artifact_keys=(known("ours").line,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "artifacts" / NAME
    found.mkdir(parents=True)
    (found / MANIFEST).write_text("the hash of every file\n")
    return found


def signed(folder: Path, by: str, path: Path | None = None, purpose: str = NAMESPACE) -> None:
    text = sign(private(by), (folder / MANIFEST).read_bytes(), purpose)
    (path or folder / SIGNATURE).write_text(text)


def standing(folder: Path) -> Standing:
    return judge(folder, [folder.parent], OURS.keys).standing


def test_an_artifact_without_a_signature_says_so(folder: Path) -> None:
    seal = judge(folder, [folder.parent], OURS.keys)
    assert seal.standing == Standing.UNSIGNED
    assert seal.sentence == "unsigned: checksums only"


@pytest.mark.parametrize("beside", [False, True], ids=["in the folder", "beside it"])
def test_a_trusted_key_s_signature_names_the_key(folder: Path, beside: bool) -> None:
    signed(folder, "ours", folder.parent / f"{NAME}.sig" if beside else None)
    seal = require(folder, [folder.parent], OURS)
    assert seal is not None
    assert seal.sentence == f"signed by {known('ours').key_id} (ours key)"


def test_a_changed_manifest_makes_the_signature_wrong(folder: Path) -> None:
    signed(folder, "ours")
    (folder / MANIFEST).write_text("the hash of other files\n")
    assert standing(folder) == Standing.WRONG


def test_a_signature_made_for_a_release_is_wrong(folder: Path) -> None:
    signed(folder, "ours", purpose="triage-release")
    assert standing(folder) == Standing.WRONG


def test_a_stranger_s_signature_is_told_from_a_wrong_one(folder: Path) -> None:
    signed(folder, "theirs")
    seal = judge(folder, [folder.parent], OURS.keys)
    assert seal.standing == Standing.STRANGER
    assert known("theirs").key_id in seal.sentence


def test_one_good_signature_is_enough_and_a_wrong_one_is_not_hidden_by_a_stranger_s(
    folder: Path,
) -> None:
    (folder / SIGNATURE).write_text("no signature")
    signed(folder, "theirs", folder.parent / f"{NAME}.sig")
    assert standing(folder) == Standing.WRONG
    signed(folder, "ours", folder.parent / f"{NAME}.sig")
    assert standing(folder) == Standing.TRUSTED


@pytest.mark.parametrize("by", ["", "theirs"])
def test_a_site_that_trusts_a_key_refuses_everything_else(folder: Path, by: str) -> None:
    if by:
        signed(folder, by)
    with pytest.raises(NotEligible, match="is not used") as refused:
        require(folder, [folder.parent], OURS)
    assert refused.value.reason.code == REFUSED in REASONS
    assert require(folder, [folder.parent], Trust()) is None


def test_a_folder_without_a_manifest_is_refused_too(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(NotEligible, match=r"MANIFEST\.sha256 cannot be read"):
        require(folder, [folder.parent], OURS)


def test_the_site_s_keys_are_read_from_its_file_and_a_wrong_one_stops_the_start(
    tmp_path: Path,
) -> None:
    write_site(tmp_path, trust={"artifact_keys": [f"  {known('ours').line}\n"]})
    assert configuration.load(tmp_path).site.trust.keys == (known("ours"),)
    write_site(tmp_path, trust={"artifact_keys": ["ssh-ed25519 AAAA"]})
    with pytest.raises(ConfigError, match=r"site\.yaml: trust\.artifact_keys\.0.*ssh-keygen"):
        configuration.load(tmp_path)


def test_a_file_of_keys_may_hold_remarks_and_must_hold_a_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the releases\n\n{known('ours').line}\n{known('theirs').line}\n")
    assert read_keys(path) == (known("ours"), known("theirs"))
    for content in ("", "# nothing\n", "ssh-rsa AAAA\n"):
        path.write_text(content)
        with pytest.raises(ConfigError):
            read_keys(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_keys(tmp_path / "no")
