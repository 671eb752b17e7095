from datetime import timedelta

import pytest

from db.engine import Database, now
from db.listing import Clock
from db.states import StudyState
from tests.triage.worklist.builders import RESTS, add_report, add_study
from triage.finding import Outcome
from triage.worklist import view
from triage.worklist.view import Row

HOUR = timedelta(hours=1)


def shown(database: Database, outcome: str, *report_states: str, **given: object) -> Row:
    """Give the line of a study with one report in each of these states."""
    minutes = given.pop("minutes", 5.0)
    assert isinstance(minutes, float)
    with database.begin() as session:
        study = add_study(session, outcome, minutes=minutes, **given)
        at = now(session)
        reports = [
            add_report(study, at, state=state, attempts=2, destination=f"pacs-{number}")
            for number, state in enumerate(report_states)
        ]
        return view.row(study, reports, Clock(at, HOUR, HOUR / 4))


def test_every_outcome_has_its_own_shape_and_its_own_word() -> None:
    marks = list(view.MARKS.values())
    assert set(view.MARKS) == set(Outcome)
    assert len({one.key for one in marks}) == len({one.word for one in marks}) == len(Outcome)


def test_an_outcome_nobody_knows_never_looks_like_a_low_score(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        study = add_study(session)
        study.outcome = "strange"
        assert view.mark(study) == view.Mark("failed", "strange")
        study.outcome = "not prioritised"


@pytest.mark.parametrize(("priority", "key"), [(1, "raised"), (2, "high"), (3, "high")])
def test_the_higher_priorities_have_a_stronger_mark(
    sqlite_database: Database, priority: int, key: str
) -> None:
    line = shown(sqlite_database, "prioritised", priority=priority, priority_name="sooner")
    assert line.mark == view.Mark(key, "Prioritised")
    assert line.level == "sooner"


@pytest.mark.parametrize(
    ("reports", "word", "detail"),
    [
        (("sent", "sent"), "sent", "pacs-0, pacs-1"),
        (("sent", "queued"), "waiting", "2 attempts"),
        (("queued", "refused"), "refused", "1 of 2 destinations"),
        ((), "none", ""),
    ],
)
def test_the_worst_report_is_the_one_told(
    sqlite_database: Database, reports: tuple[str, ...], word: str, detail: str
) -> None:
    line = shown(sqlite_database, "prioritised", *reports)
    assert (line.report.word, line.report.line) == (word, detail)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        ("pending", "not yet"),
        ("held", "withheld"),
        ("failed", "withheld"),
        ("not analysed", "none"),
    ],
)
def test_a_missing_report_is_told_in_words(
    sqlite_database: Database, outcome: str, word: str
) -> None:
    assert shown(sqlite_database, outcome).report.word == word


def test_a_study_that_waited_too_long_is_promoted_and_says_so(sqlite_database: Database) -> None:
    assert shown(sqlite_database, "not prioritised", minutes=61.0).promoted
    assert not shown(sqlite_database, "not prioritised", minutes=59.0).promoted
    assert not shown(sqlite_database, "prioritised", minutes=61.0, priority=1).promoted


def test_only_an_unfinished_study_can_be_overdue(sqlite_database: Database) -> None:
    assert shown(sqlite_database, "pending", minutes=16.0).overdue
    assert not shown(sqlite_database, "pending", minutes=14.0).overdue
    assert not shown(sqlite_database, "not prioritised", minutes=16.0).overdue


@pytest.mark.parametrize("state", [StudyState.RECEIVING, StudyState.READY])
def test_a_pending_study_says_what_it_waits_for(
    sqlite_database: Database, state: StudyState
) -> None:
    line = shown(sqlite_database, "pending", state=state, instance_count=3)
    assert line.sentence == f"3 instances, {view.STATES[state]}."


def test_every_state_has_words() -> None:
    assert set(view.STATES) == {state.value for state in StudyState}


def test_a_failed_delivery_tells_the_finding_and_the_failure(sqlite_database: Database) -> None:
    line = shown(
        sqlite_database, "failed", "refused", sentence="A finding.", reason_code="refused",
        reason_detail="answered 0xA900",
    )  # fmt: skip
    assert line.sentence == "A finding."
    assert line.problem == "Failed: answered 0xA900"


def test_a_reason_that_the_sentence_tells_is_not_told_twice(sqlite_database: Database) -> None:
    line = shown(
        sqlite_database, "held", sentence="Held. Two patients.", reason_detail="Two patients"
    )
    assert line.problem == ""


@pytest.mark.parametrize("outcome", RESTS)
def test_only_held_and_failed_studies_ask_for_a_person(
    sqlite_database: Database, outcome: str
) -> None:
    line = shown(sqlite_database, outcome, reason_code="identity-conflict")
    sentence, command = view.next_step(line.study)
    assert bool(sentence) is (outcome in {"held", "failed"})
    retry = f"triage queue retry {line.study.id}"
    assert command == {"held": "triage conflict ls", "failed": retry}.get(outcome, "")


def test_the_next_step_names_what_to_look_at(sqlite_database: Database) -> None:
    line = shown(sqlite_database, "held", reason_code="identity-conflict")
    assert "Compare the patient" in view.next_step(line.study)[0]
