from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from triage.errors import ConfigError
from triage.keys import AUDIT_KEY, KEY_BYTES, site_key


def test_a_key_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    key = site_key(folder)
    assert len(key) == KEY_BYTES
    assert site_key(folder) == key
    assert site_key(folder, AUDIT_KEY) != key
    assert folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.iterdir()} == {"uid.key", "audit.key"}


def test_makers_at_the_same_moment_agree_on_one_key(tmp_path: Path) -> None:
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(lambda _, where=folder: site_key(where), range(8)))
        assert len(keys) == 1
        assert [path.name for path in folder.iterdir()] == ["uid.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_key_that_others_can_reach_is_refused_with_the_command_that_helps(
    tmp_path: Path, mode: int
) -> None:
    site_key(tmp_path)
    path = tmp_path / "uid.key"
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        site_key(tmp_path)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused_and_stays_as_it_is(tmp_path: Path, length: int) -> None:
    path = tmp_path / "uid.key"
    path.touch(mode=0o600)
    path.write_bytes(b"k" * length)
    with pytest.raises(ConfigError, match="backup") as refused:
        site_key(tmp_path)
    assert "kk" not in str(refused.value)
    assert path.read_bytes() == b"k" * length
