"""What the listener acknowledged for the AE title of priors is never lost, and never triaged."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from db.engine import now
from db.priors import PriorRow
from tests import builders
from tests.triage.priors.world import PRIOR_TITLE, World, files, radiograph
from triage.dimse import Remote, inspect, send
from triage.errors import REASONS
from triage.prior_sources import PriorSource
from triage.priors import keep
from triage.priors.arrivals import take_arrivals
from triage.priors.choose import Older, Series
from triage.receive.listener import Listener
from triage.spool import digest

SOURCE = {
    "name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 104, "method": "move",
}  # fmt: skip


def sent(dataset: FileDataset, listener: Listener, folder: Path, by: str = "ARCHIVE") -> str:
    """Send an instance to the AE title of priors; gives its digest once it is acknowledged."""
    path = folder / f"{time.monotonic_ns()}.dcm"
    path.write_bytes(builders.part10(dataset))
    send(inspect(path), Remote(PRIOR_TITLE, "127.0.0.1", listener.port, by))
    return digest(path)


def asked(world: World, dataset: FileDataset) -> tuple[World, int]:
    """Have a prior asked for by C-MOVE; gives its number."""
    here = world.with_priors(sources=[SOURCE])
    study = here.present(radiograph("now", "20240101"))
    with here.database.begin() as session:
        present = keep.load(session, study)
        older = Older(str(dataset.StudyInstanceUID), "20230101", "", present.patient)
        series = [Series(str(dataset.SeriesInstanceUID), "DX", "CHEST", "", 2)]
        return here, keep.begin(session, present, older, PriorSource.model_validate(SOURCE), series)


def waiting(world: World) -> list[Path]:
    return list((world.spool.root / "prior_in").iterdir())


def take(world: World) -> int:
    return take_arrivals(world.database, world.settings)


def test_what_comes_unasked_is_kept_in_quarantine_with_an_alert(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    unasked = radiograph("unasked", "20230101")
    sha256 = sent(unasked, listener, tmp_path, "ANYBODY")
    assert take(world) == 1
    [row] = world.quarantined()
    assert (row.sha256, row.source_ae_title) == (sha256, "ANYBODY")
    assert row.reason_code == "prior-unexpected" in REASONS
    assert world.alerts() == ["prior.unexpected", "instance.quarantined"]
    assert world.received() == set()
    assert world.spool.incoming(10) == waiting(world) == files(world.spool.root) == []
    assert sent(unasked, listener, tmp_path, "ANYBODY") == sha256
    assert take(world) == 1
    assert len(world.quarantined()) == 1
    assert world.alerts().count("prior.unexpected") == 2


def test_it_is_kept_before_it_is_let_go_and_doing_it_again_changes_nothing(
    world: World, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(radiograph("unasked", "20230101"), listener, tmp_path)

    def killed(*_given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("triage.spool.Spool.release", killed)
        with pytest.raises(KeyboardInterrupt):
            take(world)
    assert len(waiting(world)) == len(world.quarantined()) == 1
    assert take(world) == 1
    assert (len(waiting(world)), len(world.quarantined())) == (0, 1)


def test_what_comes_in_time_is_the_priors_however_late_it_is_looked_at(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    older = radiograph("old", "20230101")
    here, prior = asked(world, older)
    sha256 = sent(older, listener, tmp_path)
    with here.database.begin() as session:
        row = session.get_one(PriorRow, prior)
        row.state, row.open_until = "partial", now(session)
    assert take(here) == 1
    assert [digest(path) for path in files(here.spool.root)] == [sha256]
    assert here.alerts() == []


def test_what_comes_after_its_time_is_kept_in_quarantine(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    older = radiograph("old", "20230101")
    here, prior = asked(world, older)
    with here.database.begin() as session:
        row = session.get_one(PriorRow, prior)
        row.open_until = now(session) - timedelta(minutes=1)
    sent(older, listener, tmp_path)
    assert take(here) == 1
    assert [row.reason_code for row in here.quarantined()] == ["prior-unexpected"]
    assert files(here.spool.root) == []


def test_a_refused_priors_instances_are_kept_in_quarantine_whenever_they_came(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    first, wrong, late = (
        radiograph("old", "20230101", instance=number, birth=birth)
        for number, birth in ((1, "19700101"), (2, "19810202"), (3, "19700101"))
    )
    here, _ = asked(world, first)
    shas = [sent(one, listener, tmp_path) for one in (first, wrong)]
    assert take(here) == 2
    shas.append(sent(late, listener, tmp_path))
    assert take(here) == 1
    assert [row.sha256 for row in here.quarantined()] == shas
    assert {row.reason_code for row in here.quarantined()} == {"prior-refused"}
    assert here.alerts().count("prior.refused") == 1
    assert files(here.spool.root) == waiting(here) == []


def test_another_content_of_an_instance_is_kept_in_quarantine_and_the_same_once(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    older = radiograph("old", "20230101")
    here, _ = asked(world, older)
    sha256 = sent(older, listener, tmp_path)
    sent(older, listener, tmp_path)
    older.PatientComments = "another content"
    other = sent(older, listener, tmp_path)
    assert take(here) == 3
    assert [digest(path) for path in files(here.spool.root)] == [sha256]
    assert [(row.sha256, row.reason_code) for row in here.quarantined()] == [
        (other, "content-conflict")
    ]


def test_what_cannot_be_read_is_kept_in_quarantine(world: World) -> None:
    path = world.spool.root / "prior_in" / "x.dcm"
    path.write_bytes(os.urandom(500))
    assert take(world) == 1
    assert [row.reason_code for row in world.quarantined()] == ["prior-unexpected"]


def test_two_that_take_at_once_take_each_file_once(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    ones = [radiograph("old", "20230101", instance=number) for number in range(1, 9)]
    here, prior = asked(world, ones[0])
    for one in ones:
        sent(one, listener, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, [here] * 4)) == 8
    assert not here.alerts()
    assert not here.quarantined()
    with here.database.reading() as session:
        assert session.get_one(PriorRow, prior).instance_count == 8
