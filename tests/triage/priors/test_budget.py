"""A source sends no more than its budget of bytes, heeds it or not; what is missing comes later."""

from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from tests import builders
from tests.servers import Orthanc, dcmqrscp
from tests.triage.priors.world import World, files, hold, point_at_us, radiograph, source
from triage.dimse import Remote, inspect, send
from triage.receive.listener import Listener

MANY = 150


def ones(count: int, *, padding: int = 0) -> list[FileDataset]:
    found = [radiograph("old", "20230101", instance=number) for number in range(1, count + 1)]
    for one in found:
        one.SeriesInstanceUID = found[0].SeriesInstanceUID
        one.EncapsulatedDocument = bytes(padding)
    return found


def budget_for(instances: float) -> dict[str, int]:
    return {"bytes_per_day": int(instances * len(builders.part10(ones(1)[0])))}


def test_a_source_that_goes_on_after_c_cancel_is_tried_again(world: World, tmp_path: Path) -> None:
    """DCMTK's dcmqrscp sends everything, whatever it is told, and says that some failed."""
    with dcmqrscp(tmp_path / "pacs") as scp:
        for number, one in enumerate(ones(6)):
            path = tmp_path / f"{number}.dcm"
            path.write_bytes(builders.part10(one))
            send(inspect(path), Remote(scp.ae_title, "127.0.0.1", scp.port, "TEST"))
        archive = {
            "name": "archive", "ae_title": scp.ae_title, "host": "127.0.0.1", "port": scp.port,
            "timeout_s": 10,
        }  # fmt: skip
        here = world.with_priors(sources=[{**archive, "budget": budget_for(1.5)}])
        study = here.present(radiograph("now", "20240101"))
        assert "within a day" in here.search(study)
        row = here.search_row(study)
        assert (row.state, row.tries, row.found) == ("due", 1, "")
        [prior] = here.priors(study)
        assert (prior.state, prior.reason_code, prior.instance_count) == ("partial", "budget", 1)
        more = world.with_priors(sources=[{**archive, "name": "b", "budget": budget_for(9)}])
        assert more.search(study) == "kept"
        [prior] = more.priors(study)
        assert (prior.state, prior.reason_code, prior.instance_count) == ("complete", "", 6)


def test_c_move_of_more_instances_than_fit_is_not_asked_for(
    world: World, empty_pacs: Orthanc, listener: Listener
) -> None:
    hold(empty_pacs, *ones(6))
    point_at_us(empty_pacs, listener.port)
    one = source(empty_pacs, method="move", budget=budget_for(1.5))
    here = world.with_priors(sources=[one])
    study = here.present(radiograph("now", "20240101"))
    assert "within a day" in here.search(study)
    assert here.search_row(study).state == "due"
    [prior] = here.priors(study)
    assert (prior.state, prior.reason_code, prior.instance_count) == ("partial", "budget", 0)
    assert files(here.spool.root) == []


def test_c_move_is_stopped_when_the_budget_is_full(
    world: World, empty_pacs: Orthanc, listener: Listener
) -> None:
    """Its instances are larger than those of the study at hand: that shows when they come."""
    hold(empty_pacs, *ones(MANY, padding=60_000))
    point_at_us(empty_pacs, listener.port)
    one = source(empty_pacs, method="move", budget=budget_for(MANY + 1))
    here = world.with_priors(sources=[one])
    study = here.present(radiograph("now", "20240101"))
    assert "within a day" in here.search(study)
    assert here.search_row(study).state == "due"
    [prior] = here.priors(study)
    assert (prior.state, prior.reason_code) == ("partial", "budget")
    assert 8 <= prior.instance_count < MANY
    assert len(files(here.spool.root)) == prior.instance_count
    assert here.quarantined() == []
    assert "within a day" in here.search(study)  # and asks nobody
    assert len(here.audited("prior.retrieved")) == 1


def test_c_move_of_what_fits_is_complete_and_counts(
    world: World, empty_pacs: Orthanc, listener: Listener
) -> None:
    hold(empty_pacs, *ones(3))
    point_at_us(empty_pacs, listener.port)
    one = source(empty_pacs, method="move", budget=budget_for(3.5))
    here = world.with_priors(sources=[one])
    study = here.present(radiograph("now", "20240101"))
    assert here.search(study) == "kept"
    [prior] = here.priors(study)
    assert (prior.state, prior.instance_count) == ("complete", 3)
    other = here.present(radiograph("later", "20240201"))
    assert here.search(other) == "here"


@pytest.mark.parametrize("method", ["get", "move"])
def test_the_next_series_is_not_asked_for_once_the_bytes_are_used_up(
    world: World, empty_pacs: Orthanc, listener: Listener, method: str
) -> None:
    first, second = (radiograph("old", "20230101", instance=number) for number in (1, 2))
    second.SeriesInstanceUID = f"{first.SeriesInstanceUID}.2"
    hold(empty_pacs, first, second)
    point_at_us(empty_pacs, listener.port)
    one = source(empty_pacs, method=method, budget=budget_for(1.5))
    here = world.with_priors(sources=[one])
    study = here.present(radiograph("now", "20240101"))
    assert "within a day" in here.search(study)
    [prior] = here.priors(study)
    assert (prior.state, prior.reason_code, prior.instance_count) == ("partial", "budget", 1)
