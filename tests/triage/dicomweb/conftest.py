"""One server a module: starting it and its decoding child costs most of a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.triage.dicomweb.service import Service, served


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Service]:
    with served(tmp_path_factory.mktemp("dicomweb") / "state", migrated_file) as one:
        yield one
