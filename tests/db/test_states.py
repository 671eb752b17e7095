"""The map of states has no dead end and no missing fate."""

import pytest

from db import lifecycle
from db.engine import Database
from db.states import ARROWS, FINAL, StudyState
from db.tables import StudyRow
from tests.db import builders

AT_WORK = [state for state in StudyState if state not in FINAL]
FATES = (StudyState.REJECTED, StudyState.HELD, StudyState.FAILED)


def reachable(state: StudyState) -> set[StudyState]:
    found: set[StudyState] = set()
    edge = {state}
    while edge:
        edge = {new for old, new in ARROWS if old in edge} - found
        found |= edge
    return found


@pytest.mark.parametrize("state", StudyState)
def test_every_state_is_final_or_can_become_final(state: StudyState) -> None:
    assert state in FINAL or reachable(state) & FINAL


@pytest.mark.parametrize("state", set(StudyState) - {StudyState.RECEIVING})
def test_every_state_can_be_reached_from_the_first(state: StudyState) -> None:
    assert state in reachable(StudyState.RECEIVING)


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("state", AT_WORK)
def test_a_step_can_end_in_every_fate(state: StudyState, fate: StudyState) -> None:
    assert (state, fate) in ARROWS


def test_no_state_moves_to_itself() -> None:
    assert not [old for old, new in ARROWS if old == new]


@pytest.mark.parametrize("state", FINAL - {StudyState.HELD})
def test_a_late_instance_reopens_every_closed_study_that_is_not_held(state: StudyState) -> None:
    assert state in lifecycle.REOPENS


def test_a_held_study_is_reopened_by_a_person_only() -> None:
    assert StudyState.HELD not in lifecycle.REOPENS
    assert {new for old, new in ARROWS if old == StudyState.HELD} == {StudyState.RECEIVING}


@pytest.mark.parametrize("claimed", [True, False])
def test_an_unknown_arrow_is_refused_and_writes_nothing(database: Database, claimed: bool) -> None:
    study_id = builders.new_study(database, StudyState.READY)
    held = builders.claimed(database, study_id)

    def hurry() -> None:
        with database.begin() as session:
            if claimed:
                lifecycle.advance(session, held, StudyState.DELIVERED, reason="hurry")
            row = session.get_one(StudyRow, study_id)
            lifecycle.move(
                session, row, StudyState.DELIVERED, reason="", actor="", due_at=row.due_at
            )

    with pytest.raises(ValueError, match="no arrow ready -> delivered"):
        hurry()
    assert builders.get(database, study_id).state == StudyState.READY
    assert builders.arrows(database, study_id) == []
