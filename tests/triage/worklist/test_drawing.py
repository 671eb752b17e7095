"""A row that is remembered is the row that would be drawn now."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.custody import ConflictRow
from db.engine import Database, now
from db.listing import Clock
from db.priors import PriorRow
from db.reader_claims import ReaderClaimRow
from db.tables import StudyRow, UserRow
from tests.triage.worklist.builders import add_report, add_study, add_warning
from triage.reading import Reading
from triage.worklist import drawing
from triage.worklist.drawing import Drawn
from triage.worklist.lines import Line, lines
from triage.worklist.sessions import Viewer

Change = Callable[[Session, StudyRow, int], None]


def column(name: str, value: object) -> Change:
    return lambda _session, study, _user: setattr(study, name, value)


def reported(session: Session, study: StudyRow, _user: int) -> None:
    session.add(add_report(study, now(session), state="refused"))


def warned(session: Session, study: StudyRow, _user: int) -> None:
    add_warning(session, study)


def doubted(session: Session, study: StudyRow, _user: int) -> None:
    session.add(
        ConflictRow(
            study_id=study.id, code="patient-changed", weight="warning",
            opened_at=now(session), opened_by="test",
        )
    )  # fmt: skip


def compared(session: Session, study: StudyRow, _user: int) -> None:
    at = now(session)
    session.add(
        PriorRow(
            study_id=study.id, study_instance_uid="2.25.9", source="", state="here",
            asked_at=at, open_until=at,
        )
    )  # fmt: skip


def claimed(session: Session, study: StudyRow, user: int) -> None:
    at = now(session)
    session.add(
        ReaderClaimRow(
            study_id=study.id, user_id=user, owner="reader.one", claimed_at=at,
            expires_at=at + timedelta(hours=9), changed_at=at,
        )
    )  # fmt: skip


def opened(session: Session, study: StudyRow, _user: int) -> None:
    study.opened_at = now(session)


CHANGES: dict[str, Change] = {
    "name": column("patient_name", "ROE^RICHARD"), "patient ID": column("patient_id", "P2"),
    "birth date": column("patient_birth_date", "19510203"), "sex": column("patient_sex", "F"),
    "accession number": column("accession_number", "A7"),
    "study date": column("study_date", "20260102"), "study time": column("study_time", "0311"),
    "description": column("study_description", "Thorax"), "modality": column("modality", "CT"),
    "body part": column("body_part", "CHEST"), "outcome": column("outcome", "failed"),
    "priority": column("priority", 2), "sentence": column("sentence", "Rarer than most."),
    "instances": column("instance_count", 9),
    "report": reported, "warning": warned, "doubt": doubted, "prior": compared,
    "claim": claimed, "opening": opened,
}  # fmt: skip


@pytest.fixture
def reader(app: FastAPI, rows: Database) -> Viewer:
    with rows.reading() as session:
        number = session.scalars(select(UserRow.id)).one()
    assert app.state.context.database is rows
    return Viewer(number, "reader.one", "radiologist", "", "", timedelta(0))


@pytest.fixture
def drawn(app: FastAPI) -> Drawn:
    found = app.state.context.templates.globals["drawn"]
    assert isinstance(found, Drawn)
    return found


def line(database: Database, reader: Viewer, *, later: timedelta = timedelta(0)) -> Line:
    with database.reading() as session:
        study = session.scalars(select(StudyRow)).one()
        at = study.received_at + timedelta(minutes=5) + later
        clock = Clock(at, timedelta(hours=4), timedelta(minutes=15))
        return lines(session, [study], clock, Reading(), reader)[0]


def anew(app: FastAPI, one: Line, link: str = "", *, may_claim: bool = True) -> str:
    return Drawn(app.state.context.templates)([one], link, may_claim)


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_a_row_shows_is_shown_at_once_when_it_changes(
    app: FastAPI, rows: Database, reader: Viewer, drawn: Drawn, what: str
) -> None:
    with rows.begin() as session:
        add_study(session, outcome="pending", study_date="20260101")
    before = drawn([line(rows, reader)], "", True)
    with rows.begin() as session:
        CHANGES[what](session, session.scalars(select(StudyRow)).one(), reader.user_id)
    after = drawn([line(rows, reader)], "", True)
    assert before != after == anew(app, line(rows, reader))


@pytest.mark.parametrize("minutes", [1, 16, 200, 241])
def test_so_is_what_only_the_time_changes(
    app: FastAPI, rows: Database, reader: Viewer, drawn: Drawn, minutes: int
) -> None:
    with rows.begin() as session:
        add_study(session, outcome="pending")
    before = drawn([line(rows, reader)], "", True)
    late = line(rows, reader, later=timedelta(minutes=minutes))
    assert before != drawn([late], "", True) == anew(app, late)


def test_nobody_is_shown_the_row_of_another_reader_or_another_list(
    app: FastAPI, rows: Database, reader: Viewer, drawn: Drawn
) -> None:
    with rows.begin() as session:
        claimed(session, add_study(session), reader.user_id)
    other = replace(reader, user_id=reader.user_id + 1, name="reader.two")
    asked = [
        (line(rows, who), link, may_claim)
        for who in (reader, other)
        for link in ("", "?list=unread")
        for may_claim in (True, False)
    ]
    found = [drawn([one], link, may_claim) for one, link, may_claim in asked]
    assert len(set(found)) == len(asked) == len(drawn)
    assert found == [anew(app, one, link, may_claim=may) for one, link, may in asked]


def test_what_did_not_change_is_drawn_once(rows: Database, reader: Viewer, drawn: Drawn) -> None:
    with rows.begin() as session:
        add_study(session)
    first, again = (drawn([line(rows, reader)], "", True) for _ in range(2))
    assert first == again
    assert len(drawn) == 1


def test_rows_are_forgotten_after_their_time_and_never_many(
    rows: Database, reader: Viewer, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rows.begin() as session:
        add_study(session)
    one = line(rows, reader)
    monkeypatch.setattr(drawing, "MOST", 3)
    for number in range(9):
        drawn([one], f"?after={number}", True)
        assert 1 <= len(drawn) <= drawing.MOST
    monkeypatch.setattr(drawing, "KEPT_S", -1.0)
    drawn([], "", True)
    assert len(drawn) == 0
