"""The rows of priors, their budget and their search, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.engine import Database, now
from db.priors import PriorRow
from tests.triage.priors.world import World, radiograph
from triage import settings as noun
from triage.dicomweb.catalog import Place, prior_studies
from triage.dicomweb.qido import Search
from triage.dicomweb.query import Query
from triage.prior_sources import PriorSource
from triage.priors import budget, keep
from triage.priors.budget import NotNow
from triage.priors.choose import Older, Series
from triage.priors.keep import Came
from triage.priors.place import prior_path
from triage.spool import Spool

SOURCE = PriorSource.model_validate(
    {"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 104, "method": "move",
     "budget": {"requests_per_hour": 2, "bytes_per_day": 1000}}
)  # fmt: skip
SHA = "cd" * 32


@pytest.fixture
def world(tmp_path: Path, database: Database) -> World:
    settings = noun.load(tmp_path / "state")
    return World(settings, database, Spool(settings.spool))


def begun(world: World) -> int:
    study = world.present(radiograph("now", "20240101"))
    with world.database.begin() as session:
        present = keep.load(session, study)
        older = Older("1.2.3", "20230101", "", present.patient)
        prior = keep.begin(
            session, present, older, SOURCE, [Series("1.2.3.1", "DX", "CHEST", "", 1)]
        )
        keep.add(session, prior, Came("1.2.3.1.1", "1.2", "1.2.3.1", "1.2", "DX", SHA, 10))
    path = prior_path(world.spool.root, SHA)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return prior


def state_of(world: World, prior: int) -> str:
    with world.database.reading() as session:
        return session.get_one(PriorRow, prior).state


def test_a_prior_is_filled_once_finished_and_forgotten(world: World) -> None:
    prior = begun(world)
    with world.database.begin() as session:
        again = Came("1.2.3.1.1", "1.2", "1.2.3.1", "1.2", "DX", SHA, 10)
        assert not keep.add(session, prior, again)
        at = now(session)
        assert keep.expected(session, "1.2.3", "ARCHIVE", at) is not None
        assert keep.expected(session, "1.2.3", "ARCHIVE", at + timedelta(hours=1)) is None
        assert keep.expected(session, "1.2.3", "OTHER", at) is None
        assert keep.expected(session, "1.2.4", "ARCHIVE", at) is None
        assert keep.finish(session, prior, 0) == "complete"
        assert prior_studies(session) == ["1.2.3"]
        assert keep.forget(session, world.spool.root, now(session) + timedelta(1)) == 1
        assert prior_studies(session) == []
    assert state_of(world, prior) == "forgotten"
    assert not prior_path(world.spool.root, SHA).exists()


def test_a_refused_prior_leaves_a_file_that_another_one_holds(world: World) -> None:
    prior = begun(world)
    other = world.present(radiograph("other", "20240102"))
    with world.database.begin() as session:
        present = keep.load(session, other)
        older = Older("1.2.3", "20230101", "", present.patient)
        second = keep.begin(session, present, older, SOURCE, ())
        keep.add(session, second, Came("1.2.3.1.1", "1.2", "1.2.3.1", "1.2", "DX", SHA, 10))
        keep.refuse(session, world.spool.root, prior, "other-issuer")
        assert prior_path(world.spool.root, SHA).exists()
        keep.refuse(session, world.spool.root, second, "other-issuer")
    assert not prior_path(world.spool.root, SHA).exists()
    assert world.alerts() == ["prior.refused", "prior.refused"]


def test_a_budget_counts_requests_and_bytes(world: World) -> None:
    with world.database.begin() as session:
        first = budget.spend(session, SOURCE, "find")
        budget.spend(session, SOURCE, "get")
        with pytest.raises(NotNow, match="within the hour"):
            budget.spend(session, SOURCE, "find")
        budget.note(session, first, 900)
        assert budget.bytes_left(session, SOURCE) == 100
        budget.note(session, first, 100)
    with world.database.begin() as session:
        budget.note_arrival(session, "archive", 5)
        assert budget.bytes_left(session, SOURCE) == 0  # none was by C-MOVE
    more = SOURCE.model_copy(
        update={"budget": SOURCE.budget.model_copy(update={"requests_per_hour": 9})}
    )
    with world.database.begin() as session, pytest.raises(NotNow, match="within a day") as why:
        budget.spend(session, more, "find")
    assert why.value.reason == "budget"


@pytest.mark.parametrize(
    ("window", "hour", "is_open"),
    [
        ("19:00-06:30", 23, True), ("19:00-06:30", 3, True), ("19:00-06:30", 12, False),
        ("08:00-17:00", 12, True), ("08:00-17:00", 18, False), ("00:00-23:59", 0, True),
    ],
)  # fmt: skip
def test_a_window_may_go_over_midnight(window: str, hour: int, is_open: bool) -> None:
    assert budget.in_window(window, datetime(2024, 1, 1, hour, 15, tzinfo=UTC)) is is_open


def test_the_lane_takes_a_search_once(world: World) -> None:
    here = world.with_priors(sources=[])
    study = here.present(radiograph("now", "20240101"))
    assert here.search(study) == "none"
    assert here.lane().step() == 0
    assert here.search_row(study).state == "done"


def test_queries_find_studies_and_priors(world: World) -> None:
    begun(world)
    pairs = [("PatientName", "canary*"), ("StudyDate", "20230101-20241231")]
    with world.database.reading() as session:
        query = Query.read(pairs, 10)
        search = Search(session, world.spool.root, "http://x", query, 100)
        found, has_more = search.run("studies", Place())
        assert [one["00080020"]["Value"] for one in found] == [["20240101"]]
        assert not has_more
        everything = Search(session, world.spool.root, "http://x", Query.read([], 10), 100)
        uids = [one["0020000D"]["Value"][0] for one in everything.run("studies", Place())[0]]
        assert "1.2.3" in uids
        assert len(uids) == 2
