"""One bad entry among what came for the priors' AE title holds up no other."""

import errno
import time
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from structlog.testing import capture_logs

from tests import builders
from tests.servers import Orthanc
from tests.triage.priors.test_arrivals import asked, sent, waiting
from tests.triage.priors.world import World, files, hold, point_at_us, radiograph, source
from tests.triage.test_ingest_goes_on import Clock
from triage.passed_over import FIRST_S, LONGEST_S, PassedOver
from triage.priors import lane
from triage.priors.arrivals import take_arrivals
from triage.priors.keep import ACTOR
from triage.receive.listener import Listener
from triage.spool import digest


def unreadable(world: World, number: int = 0) -> Path:
    """Put a folder where the oldest file would be: the disk refuses to read it."""
    path = world.spool.root / "prior_in" / f"{number:036d}.dcm"
    path.mkdir()
    return path


def put(world: World, dataset: FileDataset, name: str = "x.dcm") -> Path:
    """Let an instance wait that nobody asked for."""
    path = world.spool.root / "prior_in" / name
    path.write_bytes(builders.part10(dataset))
    return path


def take(world: World, passed: PassedOver, limit: int = 500) -> int:
    return take_arrivals(world.database, world.settings, limit, passed=passed)


def test_an_entry_the_disk_does_not_give_is_passed_over_with_one_alert(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    older = [radiograph("old", "20230101", instance=number) for number in (1, 2)]
    here, _ = asked(world, older[0])
    bad, clock = unreadable(here), Clock()
    passed = PassedOver(clock, actor=ACTOR)
    shas = {sent(one, listener, tmp_path) for one in older}
    with capture_logs() as logs:
        assert take(here, passed) == 2
        for _ in range(20):
            clock.now += LONGEST_S
            assert take(here, passed) == 0
    assert {digest(path) for path in files(here.spool.root)} == shas
    assert waiting(here) == [bad]  # nothing is deleted
    assert here.quarantined() == []
    assert here.alerts() == ["spool.passed-over"]
    [alert] = here.audited("spool.passed-over")
    assert (alert.object_id, alert.actor) == (bad.name, ACTOR)
    assert "prior_in" in alert.detail
    assert "IsADirectoryError EISDIR" in alert.detail
    assert [one["event"] for one in logs].count("spool.passed-over") == 1


def test_what_is_passed_over_is_the_priors_once_it_can_be_read(
    world: World, listener: Listener, tmp_path: Path
) -> None:
    older, clock = radiograph("old", "20230101"), Clock()
    here, _ = asked(world, older)
    sha256 = sent(older, listener, tmp_path)
    [path] = waiting(here)
    away = path.rename(tmp_path / "away.dcm")
    path.mkdir()
    passed = PassedOver(clock)
    assert take(here, passed) == 0
    path.rmdir()
    away.rename(path)
    assert take(here, passed) == 0, "it is left alone for a while"
    clock.now += FIRST_S
    assert take(here, passed) == 1
    assert [digest(one) for one in files(here.spool.root)] == [sha256]
    assert (len(passed), waiting(here), here.quarantined()) == (0, [], [])


def test_a_file_whose_header_the_disk_does_not_give_is_not_called_unexpected(
    world: World, listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, clock = radiograph("old", "20230101"), Clock()
    here, _ = asked(world, older)
    sent(older, listener, tmp_path)
    passed = PassedOver(clock)
    with monkeypatch.context() as disk:
        disk.setattr("triage.priors.taking.pydicom.dcmread", failing(errno.EIO))
        assert take(here, passed) == 0
    assert here.alerts() == ["spool.passed-over"]
    clock.now += FIRST_S
    assert take(here, passed) == 1
    assert (len(files(here.spool.root)), here.quarantined()) == (1, [])


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSPC])
def test_what_every_entry_would_meet_ends_the_round_without_an_alert(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for number in range(2):
        put(world, radiograph("unasked", "20230101", instance=number + 1), f"{number}.dcm")
    passed = PassedOver()
    with monkeypatch.context() as disk:
        disk.setattr("triage.priors.taking.pydicom.dcmread", failing(code))
        with pytest.raises(OSError, match="no"):
            take(world, passed)
    assert (len(passed), world.alerts(), len(waiting(world))) == (0, [], 2)
    assert take(world, passed) == 2


def failing(code: int) -> object:
    def dcmread(*_given: object, **_named: object) -> None:
        raise OSError(code, "no")

    return dcmread


def test_many_unreadable_entries_do_not_fill_the_batch(world: World) -> None:
    for number in range(5):
        unreadable(world, number)
    put(world, radiograph("unasked", "20230101"))
    passed = PassedOver(Clock())
    assert sum(take(world, passed, limit=2) for _ in range(4)) == 1


def test_what_cannot_be_inflated_is_kept_in_quarantine(world: World) -> None:
    deflated = radiograph("unasked", "20230101")
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = put(world, deflated)
    path.write_bytes(path.read_bytes()[:-1000] + b"\xff" * 1000)
    assert take(world, PassedOver()) == 1
    assert [row.reason_code for row in world.quarantined()] == ["prior-unexpected"]


def test_the_lane_goes_on_round_after_round_and_says_so_once(world: World) -> None:
    here = world.with_priors(poll_s=0.01)
    bad = unreadable(here)
    put(here, radiograph("unasked", "20230101"))
    ends, rounds = time.monotonic() + 3 * FIRST_S, []

    def stopping() -> bool:
        rounds.append(waiting(here))
        return time.monotonic() > ends

    with capture_logs() as logs:
        lane.work(here.settings, here.database, "tester", stopping)
    assert len(rounds[0]) == 2
    assert rounds[1] == rounds[-1] == [bad]
    events = [one["event"] for one in logs]
    assert events.count("spool.passed-over") == here.alerts().count("spool.passed-over") == 1
    assert "priors.away" not in events


def test_a_prior_is_fetched_by_c_move_beside_an_entry_that_cannot_be_read(
    world: World, empty_pacs: Orthanc, listener: Listener
) -> None:
    hold(empty_pacs, *(radiograph("old", "20230101", instance=number) for number in (1, 2)))
    point_at_us(empty_pacs, listener.port)
    here = world.with_priors(sources=[source(empty_pacs, method="move")])
    study = here.present(radiograph("now", "20240101"))
    bad, one = unreadable(here), here.lane()
    with capture_logs() as logs:
        assert one.take() == 0
        with here.database.begin() as session:
            lane.want(session, study)
        assert one.search(study) == "kept"
    [prior] = here.priors(study)
    assert (prior.state, prior.instance_count) == ("complete", 2)
    assert waiting(here) == [bad]
    assert [one["event"] for one in logs].count("spool.passed-over") == 1
