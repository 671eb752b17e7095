"""A worker killed between any two lines: one decision a generation, one report, nothing stuck."""

import os
import sys
from pathlib import Path
from types import FrameType

import pytest
from pydicom.dataset import FileDataset

from db import lifecycle
from db.engine import Database, connect
from db.states import StudyState
from db.tables import DecisionRow, GenerationRow, OutboxRow, StudyRow
from tests.builders import dx
from tests.triage.peers import Scripted, scripted
from tests.workers.house import ALL, House, house
from tests.workers.test_road import NOWHERE, REPORTED
from triage import deliver
from triage.record import loads, outbox, rows, saves
from workers import lanes, steps, tasks
from workers.housekeeping import free_the_dead
from workers.local import Worker

WATCHED = frozenset(
    one.__file__ for one in (steps, tasks, lanes, loads, outbox, rows, saves, lifecycle)
)
STRIDE = {"sqlite": 31, "postgres": 67}


def crash_at(line: int, url: str, site: House) -> bool:
    """Drain in a child that dies at its n-th watched line; False when it ran through."""
    child = os.fork()
    if child == 0:
        seen = 0

        def trace(frame: FrameType, event: str, _argument: object) -> object:
            nonlocal seen
            if frame.f_code.co_filename not in WATCHED:
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    deliver.stop()
                    os._exit(9)
            return trace

        worker = Worker(connect(url), site.settings, ALL)
        sys.settrace(trace)  # type: ignore[arg-type]
        worker.drain()
        sys.settrace(None)
        deliver.stop()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


def study_of(line: int) -> FileDataset:
    return dx(study=f"crash-{line}")


@pytest.mark.slow
def test_a_crash_at_any_line_leaves_nothing_twice_and_nothing_stuck(
    url: str, database: Database, tmp_path: Path
) -> None:
    stride = STRIDE["sqlite" if url.startswith("sqlite") else "postgres"]
    script = Scripted(finds=None)
    line, expected = 1, 0
    with (
        scripted(script) as pacs,
        house(database, tmp_path, pacs, reporting=REPORTED, routes=NOWHERE) as site,
    ):
        crashed = True
        while crashed:
            site.receive(study_of(line))
            site.make_due()
            expected += 1
            database.dispose()
            crashed = crash_at(line, url, site)
            free_the_dead(database)
            site.worker.drain()
            line += stride
    assert line > 150  # the sweep really walked through the road
    studies = site.rows(StudyRow)
    assert len(studies) == expected
    assert {(one.state, one.outcome) for one in studies} == {(StudyState.DELIVERED, "not analysed")}
    assert {one.leased_by for one in studies} == {None}
    outbox, numbers = site.rows(OutboxRow), [one.id for one in studies]
    assert sorted(one.study_id for one in outbox) == numbers
    assert sorted(one.study_id for one in site.rows(DecisionRow)) == numbers
    assert sorted(one.study_id for one in site.rows(GenerationRow)) == numbers
    assert {one.state for one in outbox} == {"sent"}
    # A death after the PACS answered, before we wrote it down: the same bytes once more, no others.
    assert len(set(script.stored)) == expected
