"""A hundred thousand studies as a busy month leaves them, for the benches of the pages."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from db.engine import Database, now
from db.states import StudyState
from db.tables import StudyRow, UserRow
from triage.worklist import sessions

STUDIES: Final = 100_000
DAYS: Final = 30
READER: Final = "bench.reader"
OUTCOMES: Final = ("not prioritised", "prioritised", "not analysed", "pending", "failed", "held")
SHARES: Final = (84.0, 10.0, 5.0, 0.8, 0.15, 0.05)
RESTS: Final = {
    "pending": StudyState.READY,
    "not analysed": StudyState.REJECTED,
    "failed": StudyState.FAILED,
    "held": StudyState.HELD,
}
KINDS: Final = (("DX", "CHEST"), ("CT", "HEAD"), ("CT", "CHEST"), ("MR", "BRAIN"), ("MG", "BREAST"),
                ("US", "ABDOMEN"), ("PT", "WHOLEBODY"))  # fmt: skip
HOSPITALS: Final = ("General Hospital", "Children's Hospital", "Clinic of the Harbour",
                    *(f"Practice {number} on the River" for number in range(57)))  # fmt: skip
SENDING: Final = (64.3, 29, 1, *[0.1] * 57)
ROOMS: Final = 80
OFTEN: Final = (50, 18, 12, 10, 6, 3.9, 0.1)
MANNERS: Final = ("routine", "with contrast", "control")
UNREAD_DAYS: Final = 2
"""What came before was opened, but for one study in fifty."""


def fill(database: Database, studies: int, until: datetime) -> None:
    """Write that many studies that arrived evenly over the days before ``until``."""
    dice = random.Random(7)
    rows = (_row(dice, number, until, studies) for number in range(studies))
    while batch := list(islice(rows, 5_000)):
        with database.begin() as session:
            session.execute(insert(StudyRow), batch)
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))


def sign_in(database: Database) -> str:
    """Make a reader with a session; gives its token."""
    with database.begin() as session:
        user = UserRow(name=READER, password_hash="", role="radiologist", created_at=now(session))
        session.add(user)
        session.flush()
        return sessions.open_session(session, user)


def names(session: Session, count: int) -> Iterator[str]:
    """Give words that people would look for: names, numbers, parts of both, and none there is."""
    dice = random.Random(11)
    for number in range(count):
        study = session.get_one(StudyRow, dice.randrange(1, STUDIES))
        family = study.patient_name.partition("^")[0]
        yield (
            family, study.patient_id, study.accession_number[2:], family[3:8].lower(),
            "chest", "nobody of this name", f"{family} given",
        )[number % 7]  # fmt: skip


def _row(dice: random.Random, number: int, until: datetime, studies: int) -> dict[str, Any]:
    arrived = until - timedelta(days=DAYS) * (1 - number / studies)
    outcome = dice.choices(OUTCOMES, SHARES)[0]
    modality, body_part = dice.choices(KINDS, OFTEN)[0]
    p_value = dice.random()
    judged = outcome in OUTCOMES[:2]
    priority = dice.choice((1, 2)) if outcome == "prioritised" else 0
    read = until - arrived > timedelta(days=UNREAD_DAYS) and dice.random() > 0.02
    return {
        "study_instance_uid": f"2.25.{number}",
        "state": RESTS.get(outcome, StudyState.DELIVERED),
        "due_at": arrived,
        "received_at": arrived,
        "last_instance_at": arrived,
        "opened_at": arrived + timedelta(minutes=30) if read else None,
        "generation": 1,
        "outcome": outcome,
        "priority": priority,
        "priority_name": ("", "raised", "high")[priority],
        "rank": round(1 - p_value, 3) if judged else None,
        "score": dice.random() if judged else None,
        "sentence": "At least as unusual as 990 of 1000 healthy studies of "
        f"{modality}/{body_part}/adult.",
        "patient_id": f"P{dice.randrange(10**7):07d}",
        "patient_name": f"FAMILY{dice.randrange(10**5)}^GIVEN",
        "patient_birth_date": f"{dice.randrange(1930, 2020)}0101",
        "patient_sex": dice.choice("MF"),
        "accession_number": f"A{number:07d}",
        "study_date": arrived.strftime("%Y%m%d"),
        "study_time": arrived.strftime("%H%M%S"),
        "study_description": f"{body_part.capitalize()} {dice.choice(MANNERS)}",
        "modality": modality,
        "body_part": body_part,
        "source_ae_title": f"ROOM_{dice.randrange(ROOMS)}",
        "institution_name": dice.choices(HOSPITALS, SENDING)[0],
    }
