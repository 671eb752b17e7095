"""Keys, signatures of detectors, and what the doctor says of them."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.triage.commands.cli import triage, write_site
from tests.triage.keyring import known, private
from triage.commands.common import FAILED, SETUP
from triage.sshsig import PublicKey
from triage.trust import MANIFEST, SIGNATURE

NAME = "chest-radiograph-memae"
ZOO = Path(__file__).parents[3] / "models" / "zoo" / NAME
LINE = f"artifact {NAME}"


def key_file(folder: Path, name: str) -> Path:
    """Write a private key, and FILE.pub beside it."""
    path = folder / name
    path.write_bytes(
        private(name).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    path.chmod(0o600)
    path.with_name(f"{name}.pub").write_text(f"{known(name).line}\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ZOO, tmp_path / "state" / "artifacts" / NAME))


def line(state: Path) -> dict[str, object]:
    answer = triage("doctor", "--json", "--state", state)
    found: dict[str, object] = next(one for one in answer.json if one["name"] == LINE)
    assert answer.code == FAILED  # a state without a database or a destination is never sound
    return found


class TestKeys:
    def test_a_new_pair_is_of_its_owner_alone_and_signs(self, folder: Path, tmp_path: Path) -> None:
        path = tmp_path / "signing"
        made = triage("artifact", "keys", "new", path, "--comment", "the physicists")
        assert made.code == 0
        assert path.stat().st_mode & 0o777 == 0o600
        public = PublicKey.parse((tmp_path / "signing.pub").read_text())
        assert public.comment == "the physicists"
        assert public.key_id in made.out
        assert public.line in made.out
        assert triage("artifact", "sign", folder, "--key", path).code == 0
        checked = triage("artifact", "verify", folder, "--trusted", f"{path}.pub")
        assert (checked.code, public.key_id in checked.out) == (0, True)

    @pytest.mark.parametrize("there", ["signing", "signing.pub"])
    def test_a_key_is_never_written_over(self, tmp_path: Path, there: str) -> None:
        (tmp_path / there).write_text("the only copy")
        answer = triage("artifact", "keys", "new", tmp_path / "signing")
        assert (answer.code, "never written over" in answer.err) == (SETUP, True)
        assert (tmp_path / there).read_text() == "the only copy"

    def test_none_is_made_in_the_state_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "site" / "signing"
        path.parent.mkdir()
        answer = triage("artifact", "keys", "new", path, "--state", tmp_path / "site")
        assert (answer.code, "state folder" in answer.err, path.exists()) == (SETUP, True, False)

    def test_a_key_that_others_may_read_signs_nothing(self, folder: Path, tmp_path: Path) -> None:
        key = key_file(tmp_path, "ours")
        key.chmod(0o640)
        answer = triage("artifact", "sign", folder, "--key", key)
        assert (answer.code, f"chmod 600 {key}" in answer.err) == (SETUP, True)
        assert not (folder / SIGNATURE).exists()

    def test_another_kind_of_key_is_refused_with_what_to_do(
        self, folder: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "curve"
        for content in (
            b"no key",
            generate_private_key(SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
        ):
            path.write_bytes(content)
            path.chmod(0o600)
            answer = triage("artifact", "sign", folder, "--key", path)
            assert (answer.code, "triage artifact keys new" in answer.err) == (SETUP, True)

    def test_those_that_the_site_trusts_are_listed(self, tmp_path: Path) -> None:
        listed = ("artifact", "keys", "ls", "--state", tmp_path, "--json")
        assert triage(*listed).json == []
        write_site(tmp_path, trust={"artifact_keys": [known("ours").line]})
        assert triage(*listed).json == [{"key_id": known("ours").key_id, "comment": "ours key"}]


class TestVerify:
    def test_it_needs_a_key_that_somebody_trusts(self, folder: Path, tmp_path: Path) -> None:
        key, state = key_file(tmp_path, "ours"), tmp_path / "state"
        assert triage("artifact", "sign", folder, "--key", key).code == 0
        asked = ("artifact", "verify", NAME, "--json", "--state", state)
        assert triage(*asked).code == FAILED
        answer = triage(*asked, "--trusted", f"{key}.pub")
        assert (answer.code, answer.json["key_id"]) == (0, known("ours").key_id)
        other = key_file(tmp_path, "theirs")
        answer = triage(*asked, "--trusted", f"{other}.pub")
        assert (answer.code, answer.json["standing"]) == (FAILED, "signed by a stranger")
        write_site(state, trust={"artifact_keys": [known("ours").line]})
        assert triage(*asked).json["ok"]

    @pytest.mark.parametrize("name", ["card.json", "weights.safetensors", MANIFEST, SIGNATURE])
    def test_one_changed_byte_anywhere_is_told(
        self, folder: Path, tmp_path: Path, name: str
    ) -> None:
        key = key_file(tmp_path, "ours")
        assert triage("artifact", "sign", folder, "--key", key).code == 0
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        answer = triage("artifact", "verify", folder, "--trusted", f"{key}.pub", "--json")
        assert answer.code == FAILED
        assert not answer.json["ok"]

    def test_a_damaged_artifact_is_not_signed(self, folder: Path, tmp_path: Path) -> None:
        (folder / "README.md").write_text("Other words.\n")
        answer = triage("artifact", "sign", folder, "--key", key_file(tmp_path, "ours"))
        assert (answer.code, "is not signed" in answer.err) == (SETUP, True)
        assert not (folder / SIGNATURE).exists()


class TestDoctor:
    def test_it_says_of_each_artifact_what_holds(self, folder: Path, tmp_path: Path) -> None:
        key, state = key_file(tmp_path, "ours"), tmp_path / "state"
        assert line(state)["ok"]
        assert "unsigned: checksums only" in str(line(state)["found"])
        write_site(state, trust={"artifact_keys": [known("ours").line]})
        crossed = line(state)
        assert (crossed["ok"], "unsigned" in str(crossed["found"])) == (False, True)
        assert f"triage artifact sign {folder}" in str(crossed["fix"])
        beside = folder.with_name(f"{NAME}.sig")
        assert triage("artifact", "sign", folder, "--key", key, "--out", beside).code == 0
        signed = line(state)
        assert (signed["ok"], known("ours").key_id in str(signed["found"])) == (True, True)

    def test_a_wrong_signature_is_a_cross_even_where_none_is_asked_for(
        self, folder: Path, tmp_path: Path
    ) -> None:
        (folder / SIGNATURE).write_text("no signature\n")
        found = line(tmp_path / "state")
        assert not found["ok"]
        assert "signature wrong" in str(found["found"])
        assert found["fix"]

    def test_a_damaged_one_is_a_cross_with_what_to_do(self, folder: Path, tmp_path: Path) -> None:
        (folder / "calibration.json").write_text("{}")
        found = line(tmp_path / "state")
        assert (found["ok"], "calibration.json" in str(found["found"])) == (False, True)
        assert "install the artifact again" in str(found["fix"])
