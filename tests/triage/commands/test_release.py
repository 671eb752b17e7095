"""A release is believed only whole, unchanged, and signed by a key that is trusted."""

from pathlib import Path

import pytest

from tests.triage.commands.cli import triage
from tests.triage.keyring import known, private
from triage.commands.common import FAILED, SETUP
from triage.commands.release import BILL, FACTS, LOCK, SIGNATURE, SUMS, examine, seal
from triage.sshsig import sign
from triage.trust import NAMESPACE as FOR_ARTIFACTS

WHEEL = "triage-1.0-py3-none-any.whl"
KEYS = (known("ours"),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "release"
    found.mkdir()
    for name in (WHEEL, LOCK, BILL, FACTS):
        (found / name).write_text(f"the content of {name}\n")
    seal(found, private("ours"))
    return found


def problems(folder: Path) -> str:
    return "; ".join(examine(folder, KEYS).problems)


def test_what_was_released_is_believed(folder: Path) -> None:
    found = examine(folder, KEYS)
    assert (found.problems, found.by, found.files) == ((), known("ours"), 4)


@pytest.mark.parametrize("name", [WHEEL, LOCK, BILL, FACTS, SUMS, SIGNATURE])
def test_one_changed_byte_in_any_file_is_told(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert name in problems(folder) or SIGNATURE in problems(folder)


@pytest.mark.parametrize("name", [WHEEL, LOCK, BILL, FACTS, SUMS, SIGNATURE])
def test_a_missing_file_is_told(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in problems(folder)


def test_a_file_that_was_put_beside_is_told(folder: Path) -> None:
    (folder / "triage-1.1-py3-none-any.whl").write_bytes(b"")
    assert problems(folder) == "triage-1.1-py3-none-any.whl is not of this release"


def test_a_link_in_a_file_s_place_is_told(folder: Path, tmp_path: Path) -> None:
    (folder / LOCK).rename(tmp_path / "elsewhere")
    (folder / LOCK).symlink_to(tmp_path / "elsewhere")
    assert problems(folder) == f"{LOCK} is no plain file"


@pytest.mark.parametrize("name", [WHEEL, LOCK, BILL, FACTS])
def test_a_release_that_was_signed_without_a_part_is_none(folder: Path, name: str) -> None:
    (folder / name).unlink()
    seal(folder, private("ours"))
    assert "lists not" in problems(folder)


def test_another_key_s_signature_is_none_whatever_else_holds(folder: Path) -> None:
    seal(folder, private("theirs"))
    found = examine(folder, KEYS)
    assert (found.by, found.files) == (None, 0)
    assert found.problems == (
        f"{SIGNATURE} is by {known('theirs').key_id}, a key that is not trusted",
    )


def test_a_signature_made_for_an_artifact_is_none_of_a_release(folder: Path) -> None:
    content = (folder / SUMS).read_bytes()
    (folder / SIGNATURE).write_text(sign(private("ours"), content, FOR_ARTIFACTS))
    assert "another purpose" in problems(folder)


def test_an_unsigned_release_is_not_believed(folder: Path) -> None:
    seal(folder, None)
    assert SIGNATURE in problems(folder)


@pytest.mark.parametrize("line", ["", "x" * 64 + "  name", "0" * 64 + "  ../outside"])
def test_a_signed_list_with_a_line_that_is_no_file_s_is_told(folder: Path, line: str) -> None:
    content = (folder / SUMS).read_bytes() + f"{line}\n".encode()
    (folder / SUMS).write_bytes(content)
    (folder / SIGNATURE).write_text(sign(private("ours"), content, "triage-release"))
    assert problems(folder) == f"{SUMS} holds a line that names no file"


def test_the_command_says_so_and_ends_with_one(folder: Path, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.write_text(f"{known('ours').line}\n")
    asked = ("release", "verify", folder, "--trusted", trusted)
    answer = triage(*asked)
    assert (answer.code, known("ours").key_id in answer.out) == (0, True)
    kept = triage(*asked[:3], "--state", tmp_path / "site")
    assert (kept.code, "release-keys" in kept.err) == (SETUP, True)
    assert "--trusted FILE" in kept.err
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "release-keys").write_text(trusted.read_text())
    assert triage(*asked[:3], "--state", tmp_path / "site").code == 0
    (folder / WHEEL).write_text("another program")
    answer = triage(*asked)
    assert (answer.code, answer.err) == (FAILED, f"{WHEEL} was changed\n")
    told = triage(*asked, "--json")
    assert (told.code, told.json["ok"], told.json["problems"]) == (
        FAILED, False, [f"{WHEEL} was changed"],
    )  # fmt: skip
