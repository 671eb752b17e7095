"""The state folder of a site whose database is migrated."""

import shutil
from pathlib import Path

import pytest

from tests.certificates import Keys, made


@pytest.fixture
def state(tmp_path: Path, migrated_file: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    shutil.copy(migrated_file, folder / "triage.sqlite")
    return folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("keys"))
