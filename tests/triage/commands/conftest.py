"""The state folder of a site whose database is migrated."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def state(tmp_path: Path, migrated_file: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    shutil.copy(migrated_file, folder / "triage.sqlite")
    return folder
