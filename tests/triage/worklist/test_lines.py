from datetime import timedelta

import pytest

from db.engine import Database, now
from db.priors import PriorRow
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from triage.reading import Reading
from triage.worklist.lines import turnaround


@pytest.mark.parametrize(
    ("minutes", "priority", "key", "word"),
    [
        (10, 0, "within", ""), (200, 0, "soon", "soon due"), (241, 0, "late", "late"),
        (50, 1, "soon", "soon due"), (61, 1, "late", "late"), (31, 2, "late", "late"),
        (31, 9, "late", "late"),
    ],
)  # fmt: skip
def test_the_clock_says_in_a_word_how_near_the_priorities_limit_is(
    sqlite_database: Database, minutes: int, priority: int, key: str, word: str
) -> None:
    with sqlite_database.begin() as session:
        study = add_study(session, minutes=minutes, priority=priority)
        found = turnaround(study, now(session), Reading())
    assert (found.key, found.word, found.opened) == (key, word, False)


def test_opening_stops_it(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        study = add_study(session, minutes=500)
        study.opened_at = study.received_at + timedelta(minutes=12)
        found = turnaround(study, now(session), Reading())
    assert (found.spent, found.key, found.opened) == (timedelta(minutes=12), "within", True)


def test_the_list_counts_the_priors_that_can_be_looked_at(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        study, alone, at = add_study(session), add_study(session), now(session)
        for number, state in enumerate(("here", "complete", "refused", "fetching")):
            session.add(
                PriorRow(
                    study_id=study.id, study_instance_uid=f"2.25.9{number}", source="",
                    state=state, asked_at=at, open_until=at,
                )
            )  # fmt: skip
    text = client.get("/studies").text
    cells = {
        one: text.split(f'<tr id="study-{one}"')[1].split("</tr>")[0]
        for one in (study.id, alone.id)
    }
    assert "2 priors" in cells[study.id]
    assert "prior<" not in cells[alone.id]
