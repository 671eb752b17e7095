"""Search in any part of a name, an ID, an accession number or a description, by trigrams.

Every word of what was typed must be found, each anywhere in the study's four texts. Words of three
characters and more are looked up: on SQLite in an FTS5 table that triggers keep current, on
PostgreSQL in a GIN index of pg_trgm. Shorter ones, which are whole family names in some scripts,
are compared with what the longer ones found, or with every row.
"""

import re
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    String,
    column,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.orm import Session

from db.tables import StudyRow

TEXTS: Final = (
    StudyRow.patient_name,
    StudyRow.patient_id,
    StudyRow.accession_number,
    StudyRow.study_description,
)
TRIGRAM: Final = 3
MAX_WORDS: Final = 8
BETWEEN: Final = re.compile(r"[\s,^=]+")
"""Between the words of what people type, and the parts of a person name (PS3.5 6.2.1)."""
SPECIAL: Final = re.compile(r"[\\%_]")
INDEXED: Final = "study_text"
BY_ITS_WORDS: Final = text("SET LOCAL plan_cache_mode = force_custom_plan")
"""PostgreSQL plans what it was asked a few times without a look at the words: as if any word were
in many studies, which lets it read the newest studies first, and for a rare one all of them."""
OBJECTS: Final = frozenset({"ix_study_text", INDEXED})


def words(typed: str) -> tuple[str, ...]:
    """Give the words of what was typed."""
    return tuple(one for one in BETWEEN.split(typed) if one)[:MAX_WORDS]


def search(
    session: Session, typed: str, *, limit: int, before: int | None = None
) -> tuple[StudyRow, ...]:
    """Give the latest studies that hold every word; those older than ``before``, if given."""
    found = words(typed)
    if not found:
        return ()
    if session.get_bind().dialect.name == "sqlite":
        wanted, number = _sqlite(found)
    else:
        session.execute(BY_ITS_WORDS)
        wanted, number = _postgresql(found), StudyRow.id.expression
    if before is not None:
        wanted = wanted.where(number < before)
    return tuple(session.scalars(wanted.order_by(number.desc()).limit(limit)))


def _sqlite(found: tuple[str, ...]) -> tuple[Select[StudyRow], ColumnElement[int]]:
    """Ask, and give the number to order by: FTS5 walks its own backwards, and stops."""
    long = [one for one in found if len(one) >= TRIGRAM]
    short = [_anywhere(one) for one in found if len(one) < TRIGRAM]
    if not long:
        return select(StudyRow).where(*short), StudyRow.id.expression
    index = table(INDEXED, column("rowid", Integer))
    phrases = " AND ".join('"' + one.replace('"', '""') + '"' for one in long)
    matching = literal_column(INDEXED, String).op("MATCH")(phrases)
    joined = select(StudyRow).join(index, index.c.rowid == StudyRow.id)
    return joined.where(matching, *short), index.c.rowid


def _postgresql(found: tuple[str, ...]) -> Select[StudyRow]:
    """Ask in the index's own words: it is on this expression."""
    joined = literal_column(
        "(" + " || chr(10) || ".join(f"study.{one.key}" for one in TEXTS) + ")", String
    )
    return select(StudyRow).where(*(_holds(joined, one) for one in found))


def _holds(joined: ColumnElement[str], word: str) -> ColumnElement[bool]:
    """Compare with the joined texts.

    A word that no index knows is looked for in every row: by its bytes where it has no capitals
    but ASCII's, which takes two thirds of the time.
    """
    if len(word) < TRIGRAM and (word.isascii() or word.lower() == word.upper()):
        joined = joined.collate("C")
    return joined.ilike(_pattern(word))


def _anywhere(word: str) -> ColumnElement[bool]:
    """Compare with every text; SQLite's LIKE tells small and capital letters of ASCII alike."""
    return or_(*(one.like(_pattern(word), escape="\\") for one in TEXTS))


def _pattern(word: str) -> str:
    return "%" + SPECIAL.sub(r"\\\g<0>", word) + "%"
