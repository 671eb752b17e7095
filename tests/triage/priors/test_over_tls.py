"""Priors over TLS, certificates on both sides: C-FIND and C-GET, and C-MOVE to our TLS port."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.certificates import Keys, made
from tests.servers import Orthanc
from tests.triage.priors.world import PRIOR_TITLE, World, files, hold, radiograph, source
from triage.receive.listener import Listener
from triage.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def secured(world: World, keys: Keys) -> Iterator[Listener]:
    """A listener whose plain port is closed."""
    given = world.settings.site.listener.model_dump() | {"tls": keys.port(plain=False)}
    listener = type(world.settings.site.listener).model_validate(given)
    site = world.settings.site.model_copy(update={"listener": listener})
    one = Listener(Settings.model_copy(world.settings, update={"site": site}))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def pacs(tmp_path: Path, keys: Keys, secured: Listener) -> Iterator[Orthanc]:
    """Orthanc that takes and makes TLS connections alone."""
    us = {"AET": PRIOR_TITLE, "Host": "localhost", "Port": secured.tls_port, "UseDicomTls": True}
    settings = keys.orthanc(
        DicomAlwaysAllowGet=True, DicomAlwaysAllowMove=True, DicomModalities={"us": us}
    )
    with servers.orthanc(tmp_path / "orthanc", **settings) as one:
        yield one


@pytest.mark.parametrize("method", ["get", "move"])
def test_the_last_comparable_study_is_fetched(
    world: World, pacs: Orthanc, keys: Keys, method: str
) -> None:
    older = [radiograph("old", "20230101", instance=number) for number in (1, 2)]
    hold(pacs, *older, radiograph("x", "20231001", patient="P2"))
    tls = keys.caller().model_dump(mode="json")
    here = world.with_priors(sources=[source(pacs, method=method, host="localhost", tls=tls)])
    study = here.present(radiograph("now", "20240101"))
    assert here.search(study) == "kept"
    [prior] = here.priors(study)
    assert (prior.state, prior.method, prior.instance_count) == ("complete", method, 2)
    assert {row.sop_instance_uid for row in here.instances(prior)} == {
        one.SOPInstanceUID for one in older
    }
    assert len(files(here.spool.root)) == 2
    assert here.spool.incoming(10) == []


def test_a_source_is_not_asked_in_the_clear_nor_by_a_stranger(
    world: World, pacs: Orthanc, keys: Keys, tmp_path: Path
) -> None:
    hold(pacs, radiograph("old", "20230101"))
    stranger = made(tmp_path / "stranger").caller(ca_file=keys.file("trusted.pem"))
    study = world.present(radiograph("now", "20240101"))
    for tls in (None, stranger.model_dump(mode="json")):
        here = world.with_priors(sources=[source(pacs, host="localhost", tls=tls)])
        assert here.search(study) != "kept"
    assert files(world.spool.root) == []
