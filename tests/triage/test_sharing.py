"""What is kept is given to the site's readers; without readers everything stays as private."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.builders import dx, spooled
from triage import maps
from triage.commands import node_file
from triage.commands.harden import UMASK
from triage.errors import ConfigError
from triage.nodes import Nodes
from triage.priors import place
from triage.settings import Site, load
from triage.sharing import NOBODY, Readers, Sharing, readers
from triage.spool import Spool

GROUP = 61_199 if os.geteuid() == 0 else os.getegid()
"""Only root gives to a group that it is not in."""


@pytest.fixture(autouse=True)
def _as_in_a_service() -> Iterator[None]:
    before = os.umask(UMASK)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:o}"


@pytest.mark.parametrize(("who", "file", "folder"), [
    (NOBODY, "600", "700"),
    (Readers(GROUP), "640", "750"),
])  # fmt: skip
def test_kept_studies_and_priors_are_the_readers_and_nothing_that_waits(
    tmp_path: Path, who: Readers, file: str, folder: str
) -> None:
    spool = Spool(tmp_path / "spool", who)
    first, second, prior = spooled(spool, *(dx(instance=number) for number in (1, 2, 3)))
    _, kept = spool.store(first)
    _, older = place.keep(spool.root, prior, who)
    shared = [spool.root, kept.parent, kept.parent.parent, older.parent, older.parent.parent]
    assert [mode(one) for one in (kept, older)] == [file, file]
    assert {mode(one) for one in shared} == {folder}
    assert mode(second) == "600"
    assert {mode(spool.root / one) for one in ("tmp", "journal", "reports", "prior_in")} == {"700"}
    group = os.getegid() if who is NOBODY else GROUP
    assert {one.stat().st_gid for one in (kept, older, *shared)} == {group}


def test_what_was_kept_before_is_given_when_it_comes_again(tmp_path: Path) -> None:
    before = Spool(tmp_path / "spool")
    dataset = dx(study="again")
    _, kept = before.store(*spooled(before, dataset))
    assert mode(kept) == "600"
    after = Spool(tmp_path / "spool", Readers(GROUP))
    after.store(spooled(after, dataset)[0])
    assert mode(kept) == "640"
    assert mode(kept.parent) == "750"


@pytest.mark.parametrize(("who", "expected"), [(NOBODY, "600"), (Readers(GROUP), "640")])
def test_maps_and_nodes_are_the_readers_too(tmp_path: Path, who: Readers, expected: str) -> None:
    found = maps.AnomalyMap(np.ones((1, 2, 2), np.float32), np.eye(4)[None], (("1.2", 1),))
    sha256 = maps.keep(found, tmp_path / "results", who)
    assert mode(maps.path_of(tmp_path / "results", sha256)) == expected
    node_file.change(tmp_path, lambda _: "peers: []\n", Nodes(), who)
    assert mode(tmp_path / "nodes.yaml") == expected


def test_a_group_is_a_name_or_a_number_and_must_be_there() -> None:
    assert readers(Sharing()) is NOBODY
    assert readers(Sharing(readers="0")) == readers(Sharing(readers="root")) == Readers(0)
    with pytest.raises(ConfigError, match="no group triage-unheard-of"):
        readers(Sharing(readers="triage-unheard-of"))


def test_a_service_has_its_own_secrets_where_it_is_told_so(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.secrets == tmp_path / "secrets"
    site = Site(sharing=Sharing(secrets="triage-web"))
    assert settings.model_copy(update={"site": site}).secrets == tmp_path / "secrets/triage-web"
    with pytest.raises(ValidationError):
        Sharing(secrets="../spool")
