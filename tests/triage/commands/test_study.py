"""What happened to a study, what waits, and another try."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from db import lifecycle
from db.engine import Database, now
from db.states import StudyState
from db.tables import AuditRow, OutboxRow, StudyRow, TransitionRow
from tests.builders import dx, spooled
from tests.triage.commands.cli import Answer, triage
from triage.commands.common import OK, SETUP
from triage.ingest import ingest_all
from triage.settings import Completeness
from triage.spool import Spool


@pytest.fixture
def uids(database: Database, tmp_path: Path) -> list[str]:
    """Three received studies."""
    datasets = [dx(study=name) for name in ("first", "second", "third")]
    spool = Spool(tmp_path / "spool")
    spooled(spool, *datasets)
    ingest_all(database, spool, Completeness(quiet_s=60, quiet_s_by_modality={}))
    return [str(dataset.StudyInstanceUID) for dataset in datasets]


@pytest.fixture
def site(url: str, tmp_path: Path) -> dict[str, str]:
    return {"TRIAGE__DATABASE__URL": url, "TRIAGE_STATE": str(tmp_path / "state")}


def along(database: Database, uid: str, *road: StudyState) -> int:
    """Bring a study along real arrows; gives its number."""
    for state in road:
        with database.begin() as session:
            row = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == uid)).one()
            lifecycle.move(session, row, state, reason="test", actor="test", due_at=now(session))
            if state == StudyState.FAILED:
                row.reason_code, row.reason_detail = "refused", "The PACS said 0x0122"
                if road[-2:] != (StudyState.ANALYSED, StudyState.FAILED):
                    row.outcome, row.sentence = "failed", "Failed."
    with database.reading() as session:
        return session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == uid)).one()


def row_of(database: Database, number: int) -> StudyRow:
    with database.reading() as session:
        return session.get_one(StudyRow, number)


def retry(site: dict[str, str], *words: object) -> Answer:
    return triage("queue", "retry", "--json", *words, **site)


def test_a_study_is_shown_by_uid_and_by_number_without_patient_data(
    database: Database, uids: list[str], site: dict[str, str]
) -> None:
    number = along(database, uids[0], StudyState.READY)
    by_uid = triage("study", "show", uids[0], "--json", **site)
    by_number = triage("study", "show", number, "--json", **site)
    assert by_uid.json == by_number.json
    shown = by_uid.json
    assert (shown["state"], shown["instance_count"], shown["arrivals"]) == ("ready", 1, 1)
    assert [one["new"] for one in shown["history"]] == ["ready"]
    assert "Canary" not in by_uid.out
    assert uids[0] in triage("study", "show", uids[0], **site).out


@pytest.mark.parametrize("key", ["1.2.3", "4711", "9" * 40, "", "' OR 1=1 --"])
def test_an_unknown_study_is_answered_with_the_command_that_lists_them(
    uids: list[str], site: dict[str, str], key: str
) -> None:
    answer = triage("study", "show", "--json", "--", key, **site)
    assert answer.code == SETUP
    assert "triage queue ls --all" in answer.err
    assert answer.out == ""


def test_the_queue_lists_what_waits_and_everything_only_on_request(
    database: Database, uids: list[str], site: dict[str, str]
) -> None:
    along(database, uids[0], StudyState.REJECTED)
    along(database, uids[1], StudyState.FAILED)
    waiting = triage("queue", "ls", "--json", **site).json
    assert {one["study_instance_uid"]: one["state"] for one in waiting} == {
        uids[1]: "failed",
        uids[2]: "receiving",
    }
    every = triage("queue", "ls", "--all", "--json", **site).json
    assert {one["study_instance_uid"] for one in every} == set(uids)
    assert "Canary" not in json.dumps(every)
    assert "receiving" in triage("queue", "ls", **site).out


@pytest.mark.parametrize(
    ("road", "back"),
    [
        ([StudyState.READY, StudyState.FAILED], StudyState.READY),
        ([StudyState.READY, StudyState.ANALYSED, StudyState.FAILED], StudyState.ANALYSED),
        ([StudyState.FAILED], StudyState.RECEIVING),
    ],
    ids=["analysis", "delivery", "assembly"],
)
def test_a_failed_study_goes_back_to_where_it_failed_and_the_retry_is_audited(
    database: Database, uids: list[str], site: dict[str, str], road: list[StudyState],
    back: StudyState,
) -> None:  # fmt: skip
    number = along(database, uids[0], *road)
    assert retry(site, uids[0]).json == {"retried": [number]}
    row = row_of(database, number)
    assert (row.state, row.reason_code, row.reason_detail) == (back, None, None)
    assert row.outcome == "pending"
    with database.reading() as session:
        last = session.scalars(select(TransitionRow).order_by(TransitionRow.id.desc())).first()
        [audit] = session.scalars(select(AuditRow).where(AuditRow.event_type == "study.retry"))
    assert last is not None
    assert (last.old, last.new, last.reason) == ("failed", back, "retry")
    assert (audit.object_id, json.loads(audit.detail)) == (uids[0], {"to": back})
    assert audit.actor == last.actor


def test_a_refused_report_is_queued_again_with_the_same_bytes(
    database: Database, uids: list[str], site: dict[str, str]
) -> None:
    number = along(database, uids[0], StudyState.READY, StudyState.ANALYSED, StudyState.FAILED)
    with database.begin() as session:
        for name, state in (("a", "refused"), ("b", "sent")):
            session.add(
                OutboxRow(
                    study_id=number, generation=1, destination=name, kind="structured_report",
                    sop_class_uid="1.2", sop_instance_uid="1.2.3", content=b"bytes",
                    sha256="0" * 64, built_at=now(session), state=state,
                )
            )  # fmt: skip
    assert retry(site, number).code == OK
    with database.reading() as session:
        rows = session.scalars(select(OutboxRow).order_by(OutboxRow.id)).all()
    assert [(row.destination, row.state) for row in rows] == [("a", "queued"), ("b", "sent")]
    assert rows[0].content == b"bytes"


def test_a_study_that_has_not_failed_is_refused_and_nothing_else_is_retried(
    database: Database, uids: list[str], site: dict[str, str]
) -> None:
    number = along(database, uids[0], StudyState.READY, StudyState.FAILED)
    answer = retry(site, uids[0], uids[1])
    assert answer.code == SETUP
    assert "not failed" in answer.err
    assert "triage study show" in answer.err
    assert row_of(database, number).state == StudyState.FAILED


def test_all_failed_studies_are_retried_in_one_go_and_none_is_no_error(
    database: Database, uids: list[str], site: dict[str, str]
) -> None:
    numbers = [along(database, uid, StudyState.READY, StudyState.FAILED) for uid in uids[:2]]
    assert sorted(retry(site, "--all-failed").json["retried"]) == sorted(numbers)
    assert retry(site, "--all-failed").json == {"retried": []}
