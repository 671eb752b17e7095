import pytest
from sqlalchemy import delete, text, update

from db import search as searching
from db.engine import Database
from db.search import search, words
from db.tables import StudyRow
from tests.triage.worklist.builders import add_study


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("doe", 1), ("P77", 1), ("ACC%", 1), ("%", 1), ("_", 0), ("nobody", 0), ("77", 1),
        ("jane doe", 1), ("DOE, Jane", 1), ("doe^jane", 1), ("doe john", 0), ("doe je", 0),
        ("ja oe", 1), ("e chest pa", 1), ("thorax", 0), ('"', 0), ("\\", 0), ("OR", 0),
        ('doe" OR "x', 0), ("doe*", 0), ("name:doe", 0), (" ", 0), ("", 0),
    ],
)  # fmt: skip
def test_every_word_is_found_anywhere_and_nothing_is_a_wildcard(
    database: Database, typed: str, found: int
) -> None:
    with database.begin() as session:
        add_study(
            session, patient_name="DOE^JANE", patient_id="P778", accession_number="ACC%1",
            study_description="Chest PA and lateral",
        )  # fmt: skip
        assert len(search(session, typed, limit=5)) == found


@pytest.mark.parametrize("typed", ["\u5c71\u7530", "\u592a\u90ce \u5c71", "tarou"])
def test_names_of_two_characters_are_found(database: Database, typed: str) -> None:
    with database.begin() as session:
        add_study(session, patient_name="Yamada^Tarou=\u5c71\u7530^\u592a\u90ce")
        assert len(search(session, typed, limit=5)) == 1


@pytest.mark.postgres
@pytest.mark.parametrize("typed", ["\u00f6z", "\u00d6Z", "\u00d6", "ay", "AY"])
def test_postgresql_tells_no_capitals_apart_in_short_words(
    postgres_database: Database, typed: str
) -> None:
    with postgres_database.begin() as session:
        add_study(session, patient_name="\u00d6Z^Ay\u015fe")
        assert len(search(session, typed, limit=5)) == 1


@pytest.mark.parametrize("typed", ["doe", "do"])
def test_the_latest_come_first_and_not_more_than_asked(database: Database, typed: str) -> None:
    with database.begin() as session:
        ids = [add_study(session, patient_name="DOE").id for _ in range(5)]
        first = search(session, typed, limit=3)
        rest = search(session, typed, limit=3, before=first[-1].id)
    assert [one.id for one in (*first, *rest)] == ids[::-1]


def test_it_follows_every_change_of_a_study(database: Database) -> None:
    with database.begin() as session:
        study = add_study(session, patient_name="FIRST")
        session.execute(update(StudyRow).values(patient_name="SECOND"))
        assert search(session, "first", limit=5) == ()
        assert [one.id for one in search(session, "second", limit=5)] == [study.id]
        session.execute(update(StudyRow).values(patient_name="SECOND", patient_id="P9999"))
        assert len(search(session, "p9999 second", limit=5)) == 1
        session.execute(delete(StudyRow))
        assert search(session, "second", limit=5) == ()


def test_sqlite_looks_up_trigrams_and_reads_no_table_for_them(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        add_study(session, patient_name="DOE^JANE")
        session.execute(text("INSERT INTO study_text (study_text) VALUES ('integrity-check')"))
        plan = session.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT study.id FROM study JOIN study_text"
                " ON study_text.rowid = study.id WHERE study_text MATCH '\"doe\"'"
                " ORDER BY study_text.rowid DESC LIMIT 50"
            )
        ).all()
    steps = " ".join(str(row[-1]) for row in plan)
    assert "SCAN study_text VIRTUAL TABLE INDEX" in steps
    assert "SEARCH study USING INTEGER PRIMARY KEY" in steps
    assert "TEMP B-TREE" not in steps


@pytest.mark.postgres
def test_postgresql_looks_them_up_too(postgres_database: Database) -> None:
    with postgres_database.begin() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_indexscan = off"))
        asked = searching._postgresql(("doe",)).compile(
            session.connection(), compile_kwargs={"literal_binds": True}
        )
        plan = session.connection().exec_driver_sql(f"EXPLAIN {asked}").all()
    assert "ix_study_text" in " ".join(row[0] for row in plan)


def test_words_are_split_where_names_are() -> None:
    assert words("  Doe, Jane^M=x  ") == ("Doe", "Jane", "M", "x")
    assert len(words("a " * 50)) == searching.MAX_WORDS


@pytest.mark.postgres
def test_postgresql_plans_each_search_by_its_words(postgres_database: Database) -> None:
    """A plan that knows no word reads the newest studies first: for a rare word, all of them."""
    with postgres_database.begin() as session:
        add_study(session, patient_name="DOE^JANE")
    with postgres_database.reading() as session:
        for _ in range(12):  # the driver prepares what it sends a fifth time, the server after
            assert len(search(session, "doe", limit=5)) == 1
        plans = "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
        generic, custom = session.execute(text(f"{plans} WHERE statement LIKE '%ILIKE%'")).one()
    assert (generic, custom > 0) == (0, True)
