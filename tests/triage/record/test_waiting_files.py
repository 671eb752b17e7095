"""Files that nothing takes out of the spool are a difference in the nightly sum."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import Database
from tests.triage.record.test_custody import differences
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE
from triage.spool import Spool


@pytest.fixture
def site(sqlite_database: Database, tmp_path: Path) -> Iterator[House]:
    with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as one:
        yield one


@pytest.mark.parametrize("where", ["in", "prior_in"])
def test_a_file_that_waits_for_an_hour_is_told(site: House, where: str) -> None:
    spool = Spool(site.settings.spool)
    descriptor, draft = spool.draft()
    path = spool.admit(descriptor, draft, as_prior=where == "prior_in")
    os.close(descriptor)
    assert differences(site) == {}
    long_ago = time.time() - 3700
    os.utime(path, (long_ago, long_ago))
    assert differences(site) == {"not-indexed" if where == "in" else "prior-waits": 1}
