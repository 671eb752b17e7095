"""One PACS and one listener a module."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import connect
from tests import servers
from tests.servers import Orthanc
from tests.triage.priors.world import PRIOR_TITLE, World
from triage import settings as noun
from triage.receive.listener import Listener
from triage.spool import Spool


@pytest.fixture
def world(tmp_path: Path, migrated_file: Path) -> Iterator[World]:
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(migrated_file, state / "triage.sqlite")
    settings = noun.load(state)
    changed = {
        "port": 0,
        "peers": "any",
        "prior_ae_title": PRIOR_TITLE,
        "min_free_bytes": 1_000_000,
    }
    listener = settings.site.listener.model_copy(update=changed)
    site = settings.site.model_copy(update={"listener": listener})
    settings = settings.model_copy(update={"site": site})
    database = connect(settings.database_url)
    yield World(settings, database, Spool(settings.spool))
    database.dispose()


@pytest.fixture
def listener(world: World) -> Iterator[Listener]:
    one = Listener(world.settings)
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("pacs")
    with servers.orthanc(folder, DicomAlwaysAllowGet=True, DicomAlwaysAllowMove=True) as one:
        yield one


@pytest.fixture
def empty_pacs(pacs: Orthanc) -> Orthanc:
    for study in pacs.get("/studies"):
        pacs.delete(f"/studies/{study}")
    return pacs
