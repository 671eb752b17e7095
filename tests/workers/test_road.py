"""One study through every step, in this process, to a PACS on a real socket."""

import io
import json
from pathlib import Path

import pydicom
import pytest
import torch
from sqlalchemy import select

from db.engine import Database
from db.states import StudyState
from db.tables import (
    AuditRow,
    DecisionRow,
    DetectionRow,
    GenerationRow,
    InstanceRow,
    OutboxRow,
    StudyRow,
)
from tests.builders import dx
from tests.servers import free_port
from tests.triage.peers import REFUSED, Scripted, destination, scripted
from tests.workers.house import house
from triage.commands.study import retry
from triage.spool import stored_path

NOWHERE = {"routes": [{"name": "none", "when": {"modality": ["XX"]}, "recipe": "head-ct"}]}
ABSENT = {
    "routes": [
        {"name": "dx", "when": {"modality": ["DX"]}, "recipe": "chest-radiograph",
         "detectors": ["not-there"]},
    ]
}  # fmt: skip
REPORTED = {"not_analysed": True}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_study_is_analysed_and_one_report_reaches_the_pacs(
    database: Database, tmp_path: Path
) -> None:
    script = Scripted()
    dataset = dx(rows=128)
    with scripted(script) as pacs, house(database, tmp_path, pacs) as site:
        site.receive(dataset)
        assert site.worker.drain() == 0  # not yet complete
        study = site.work()
        assert site.worker.drain() == 0
    assert (study.state, study.generation) == (StudyState.DELIVERED, 1)
    assert study.outcome in ("prioritised", "not prioritised")
    assert study.settled_at is not None
    [decision], [detection] = site.rows(DecisionRow), site.rows(DetectionRow)
    [outbox] = site.rows(OutboxRow)
    assert decision.outcome == study.outcome
    levels = site.settings.policy.levels
    assert json.loads(decision.thresholds or "") == {one.name: one.p_at_most for one in levels}
    assert 0 < detection.p_value <= 1
    assert study.rank == pytest.approx(1 - detection.p_value)
    assert (outbox.state, outbox.last_status, outbox.attempts) == ("sent", 0, 1)
    [body] = script.stored
    report = pydicom.dcmread(io.BytesIO(outbox.content))
    assert outbox.content.endswith(body)
    assert report.StudyInstanceUID == dataset.StudyInstanceUID
    kinds = [row.event_type for row in site.rows(AuditRow)]
    assert kinds == [
        "instance.received", "study.complete", "study.analysed", "report.sent",
    ]  # fmt: skip
    assert "Canary" not in "".join(row.detail for row in site.rows(AuditRow))


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({"routes": NOWHERE}, "no-route"),
        ({"routes": ABSENT}, "no-detector"),
        (
            {
                "policy": {
                    "levels": [{"name": "high", "p_at_most": 0.02, "priority": 2}],
                    "min_calibration_n": 1_000_000,
                }
            },
            "uncalibrated",
        ),
    ],
    ids=["no route", "no artifact", "no calibration"],
)
@pytest.mark.parametrize("reported", [False, True], ids=["silent", "reported"])
def test_what_cannot_be_judged_is_said_and_reported_only_on_request(
    database: Database, tmp_path: Path, sections: dict[str, object], code: str, reported: bool
) -> None:
    script = Scripted()
    reporting = {"not_analysed": reported}
    with (
        scripted(script) as pacs,
        house(database, tmp_path, pacs, reporting=reporting, **sections) as site,
    ):
        site.receive(dx(rows=128))
        study = site.work()
    assert (study.outcome, study.reason_code) == ("not analysed", code)
    assert study.state == (StudyState.DELIVERED if reported else StudyState.REJECTED)
    assert len(script.stored) == len(site.rows(OutboxRow)) == int(reported)
    [decision], [generation] = site.rows(DecisionRow), site.rows(GenerationRow)
    assert (decision.reason_code, decision.generation) == (code, generation.number)
    assert site.rows(DetectionRow) == []
    if reported:
        [outbox] = site.rows(OutboxRow)
        words = str(pydicom.dcmread(io.BytesIO(outbox.content)))
        assert "not analysed" in words.lower()


@REFUSED
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_pacs_that_is_down_gets_the_report_when_it_is_back(
    database: Database, tmp_path: Path
) -> None:
    away = destination(free_port(), "AWAY")
    with house(database, tmp_path / "a", away, reporting=REPORTED, routes=NOWHERE) as site:
        site.receive(dx())
        study = site.work()
        assert study.state == StudyState.ANALYSED
        [before] = site.rows(OutboxRow)
        assert (before.state, before.attempts, before.tries) == ("queued", 1, 1)
        assert (before.sent_at, before.leased_by) == (None, None)
        assert before.due_at is not None
        [answer] = [row for row in site.rows(AuditRow) if row.event_type == "report.queued"]
        assert 50 < (before.due_at - answer.at).total_seconds() < 65
        site.worker.drain()
        assert site.rows(OutboxRow)[0].tries == 1  # not before its wait is over
        site.work()
        assert site.rows(OutboxRow)[0].tries == 2
    script = Scripted()
    with (
        scripted(script) as pacs,
        house(database, tmp_path / "b", pacs, reporting=REPORTED, routes=NOWHERE) as site,
    ):
        assert site.work().state == StudyState.DELIVERED
    [after] = site.rows(OutboxRow)
    assert (after.state, after.attempts, after.content) == ("sent", 3, before.content)
    assert len(script.stored) == 1


@pytest.mark.parametrize("status", [0x0122, 0xA900], ids=hex)
def test_a_refused_report_fails_the_study_keeps_its_finding_and_a_retry_sends_the_same_bytes(
    database: Database, tmp_path: Path, status: int
) -> None:
    script = Scripted(statuses=[status, 0x0000])
    with (
        scripted(script) as pacs,
        house(database, tmp_path, pacs, reporting=REPORTED, routes=NOWHERE) as site,
    ):
        site.receive(dx())
        study = site.work()
        assert (study.state, study.outcome) == (StudyState.FAILED, "not analysed")
        assert study.reason_code == "refused"
        assert site.rows(OutboxRow)[0].state == "refused"
        alerts = [row for row in site.rows(AuditRow) if row.event_id == "110113"]
        assert [row.event_type for row in alerts] == ["study.failed"]
        assert retry(database, [str(study.id)], actor="ada") == [study.id]
        study = site.work()
    assert (study.state, study.outcome) == (StudyState.DELIVERED, "not analysed")
    first, second = script.stored
    assert first == second


@REFUSED
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_pacs_that_refuses_keeps_no_report_from_another_that_was_away(
    database: Database, tmp_path: Path
) -> None:
    script = Scripted(statuses=[0x0122])
    away = destination(free_port(), "AWAY", name="away")
    with (
        scripted(script) as no,
        house(database, tmp_path / "a", no, away, reporting=REPORTED, routes=NOWHERE) as site,
    ):
        site.receive(dx())
        study = site.work()
    states = {row.destination: row.state for row in site.rows(OutboxRow)}
    assert states == {"pacs": "refused", "away": "queued"}
    assert study.state == StudyState.ANALYSED  # one still waits for its report
    back = Scripted()
    with scripted(back) as yes:
        named = yes.model_copy(update={"name": "away"})
        with house(database, tmp_path / "b", named, reporting=REPORTED, routes=NOWHERE) as site:
            study = site.work()
    assert len(back.stored) == 1
    assert (study.state, study.reason_code) == (StudyState.FAILED, "refused")


def test_a_destination_that_left_the_configuration_is_a_visible_failure(
    database: Database, tmp_path: Path
) -> None:
    away = destination(free_port(), "AWAY")
    with house(database, tmp_path / "a", away, reporting=REPORTED, routes=NOWHERE) as site:
        site.receive(dx())
        site.worker.lanes = None
        site.work()
    with house(database, tmp_path / "b") as site:
        study = site.work()
    assert (study.state, study.reason_code) == (StudyState.FAILED, "refused")
    assert "no longer configured" in str(study.reason_detail)


def test_instances_that_come_during_delivery_reopen_the_study_once_its_report_has_left(
    database: Database, tmp_path: Path
) -> None:
    script = Scripted(statuses=[0xA700, 0x0000])
    with (
        scripted(script) as pacs,
        house(database, tmp_path, pacs, reporting=REPORTED, routes=NOWHERE) as site,
    ):
        site.receive(dx(study="late"))
        assert site.work().state == StudyState.ANALYSED
        site.receive(dx(study="late", instance=2))
        [study] = site.rows(StudyRow)
        assert study.state == StudyState.ANALYSED
        study = site.work()
    assert (study.state, study.generation) == (StudyState.DELIVERED, 2)
    assert [row.generation for row in site.rows(OutboxRow)] == [1, 2]
    assert [row.generation for row in site.rows(DecisionRow)] == [1, 2]
    assert len(script.stored) == 3  # one answered with "out of resources"


def test_a_stored_file_that_changed_on_disk_fails_the_study_as_corrupt(
    database: Database, tmp_path: Path
) -> None:
    with house(database, tmp_path) as site:
        site.receive(dx())
        with database.reading() as session:
            [sha256] = session.scalars(select(InstanceRow.sha256))
        path = stored_path(site.settings.spool, sha256)
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)
        study = site.work()
    assert (study.state, study.reason_code) == (StudyState.FAILED, "corrupt")
    assert site.rows(OutboxRow) == []
    [alert] = [row for row in site.rows(AuditRow) if row.event_type == "study.failed"]
    assert json.loads(alert.detail)["reason"] == "corrupt"
