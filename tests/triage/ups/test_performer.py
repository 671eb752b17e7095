"""The performer: against our manager over both transports, and against one that is not ours."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian
from sqlalchemy import select

from db import lifecycle
from db.engine import Database, now
from db.states import StudyState
from db.tables import AuditRow, StudyRow
from db.ups import ClaimRow, WorkitemRow
from tests.conftest import opened, sqlite_copy
from tests.triage.ups.doors import CALLING, dimse_door, settings, token, web_door
from tests.triage.ups.items import EVERYBODY, new_item, uid
from tests.triage.ups.standin import StandIn
from tests.triage.worklist.builders import add_instance, add_report, add_study
from triage import settings as noun
from triage.destinations import Dimse
from triage.ups import manager, service
from triage.ups.claims import Stage
from triage.ups.client import Manager
from triage.ups.client_dimse import DimseClient
from triage.ups.client_web import WebClient
from triage.ups.performer import Performer
from triage.workflow import DimseManager, WebManager, Workflow
from triage.workflow import Performer as Settings

PACS = Dimse(name="pacs", ae_title="ARCHIVE", host="127.0.0.1", port=104)
QUICK = Settings(poll_s=0.001)


def study(database: Database, *, ready: bool = False, named: str = "") -> str:
    """Add a study with one instance; at rest with its delivered report, or ready for analysis."""
    uid_of = {"study_instance_uid": named} if named else {}
    with database.begin() as session:
        outcome = "pending" if ready else "prioritised"
        row = add_study(session, outcome, minutes=5, **uid_of)
        add_instance(session, row, sop_instance_uid=f"{row.study_instance_uid}.1")
        if row.state == StudyState.DELIVERED:
            report = {"content": part10(), "sop_class_uid": Comprehensive3DSRStorage}
            session.add(add_report(row, now(session), sop_instance_uid="2.25.5", **report))
    return row.study_instance_uid


def part10() -> bytes:
    meta, dataset, buffer = FileMetaDataset(), Dataset(), BytesIO()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = Comprehensive3DSRStorage
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("2.25.5")
    dataset.SOPClassUID, dataset.SeriesInstanceUID = Comprehensive3DSRStorage, "2.25.6"
    dataset.file_meta = meta
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def perform(database: Database, *clients: Manager, of: Settings = QUICK) -> Performer:
    return Performer(database, of, clients, {"pacs": PACS})


def until_idle(performer: Performer, rounds: int = 4) -> None:
    for _ in range(rounds):
        performer.look()
        while performer.work():
            time.sleep(0.002)


def claim_rows(database: Database) -> list[ClaimRow]:
    with database.reading() as session:
        return list(session.scalars(select(ClaimRow).order_by(ClaimRow.id)))


def at_standin(manager_of: StandIn, name: str = "other") -> DimseManager:
    return DimseManager(
        name=name, ae_title="STANDIN", host="127.0.0.1", port=manager_of.port, deadline_s=20
    )


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as one:
        yield one


@pytest.fixture(params=["dimse", "web"])
def client(request: pytest.FixtureRequest, sqlite_database: Database) -> Iterator[Manager]:
    """Our performer's client of our own manager."""
    of = settings()
    if request.param == "dimse":
        with dimse_door(sqlite_database, of) as port:
            yield DimseClient(
                DimseManager(
                    name="ours", ae_title="TRIAGE_UPS", host="127.0.0.1", port=port,
                    calling_ae_title=CALLING,
                )
            )  # fmt: skip
        return
    folder: Path = request.getfixturevalue("tmp_path")
    file = folder / "token"
    file.touch(mode=0o600)
    file.write_text(token(sqlite_database))
    with web_door(sqlite_database, of) as url:
        one = WebClient(WebManager(kind="web", name="ours", url=url, token_file=file))
        yield one
        one.close()


def ordered(database: Database, of_study: str, **given: object) -> str:
    item = uid()
    with database.begin() as session:
        asked = new_item(StudyInstanceUID=of_study, **given)
        manager.create(session, EVERYBODY, item, asked)
    return item


def item_in(database: Database, item: str) -> Dataset:
    with database.begin() as session:
        return manager.get(session, EVERYBODY, item)


class TestOurManager:
    def test_an_item_for_a_delivered_study_is_completed_with_its_report(
        self, sqlite_database: Database, client: Manager
    ) -> None:
        item = ordered(sqlite_database, study(sqlite_database))
        until_idle(perform(sqlite_database, client))
        found = item_in(sqlite_database, item)
        assert found.ProcedureStepState == "COMPLETED"
        told = found.UnifiedProcedureStepPerformedProcedureSequence[0]
        [output] = told.OutputInformationSequence
        assert output.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.5"
        assert output.SeriesInstanceUID == "2.25.6"
        assert output.DICOMRetrievalSequence[0].RetrieveAETitle == "ARCHIVE"
        assert found.ProcedureStepProgressInformationSequence[0].ProcedureStepProgress == 100
        [claim] = claim_rows(sqlite_database)
        assert claim.state == Stage.COMPLETED
        with sqlite_database.reading() as session:
            assert session.scalars(select(WorkitemRow.transaction_uid)).one() == (
                claim.transaction_uid
            )

    def test_progress_is_told_as_the_study_moves(
        self, sqlite_database: Database, client: Manager
    ) -> None:
        of_study = study(sqlite_database, ready=True)
        item = ordered(sqlite_database, of_study)
        performer = perform(sqlite_database, client)
        until_idle_once(performer)
        found = item_in(sqlite_database, item)
        told = found.ProcedureStepProgressInformationSequence[0]
        assert found.ProcedureStepState == "IN PROGRESS"
        assert told.ProcedureStepProgressDescription == "waiting for analysis"
        move(sqlite_database, of_study, StudyState.FAILED, "pixel-data")
        until_idle(performer)
        found = item_in(sqlite_database, item)
        told = found.ProcedureStepProgressInformationSequence[0]
        reason = told.ProcedureStepDiscontinuationReasonCodeSequence[0]
        assert found.ProcedureStepState == "CANCELED"
        assert (reason.CodeValue, reason.CodingSchemeDesignator) == ("110521", "DCM")

    def test_a_lock_that_is_no_longer_ours_is_let_go(
        self, sqlite_database: Database, client: Manager
    ) -> None:
        of_study = study(sqlite_database, ready=True)
        item = ordered(sqlite_database, of_study)
        performer = perform(sqlite_database, client)
        performer.look()
        performer.work()
        with sqlite_database.begin() as session:
            session.scalars(select(WorkitemRow)).one().transaction_uid = "2.25.99"
        until_idle(performer)
        assert [one.state for one in claim_rows(sqlite_database)] == [Stage.LOST]
        assert item_in(sqlite_database, item).ProcedureStepState == "IN PROGRESS"

    def test_what_is_not_ours_to_do_stays_where_it_is(
        self, sqlite_database: Database, client: Manager
    ) -> None:
        held = study(sqlite_database)
        ordered(sqlite_database, "1.2.99")
        ordered(sqlite_database, held, ScheduledWorkitemCodeSequence=[])
        ordered(sqlite_database, held, InputReadinessState="INCOMPLETE")
        missing = new_item(StudyInstanceUID=held).InputInformationSequence
        missing[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.404"
        ordered(sqlite_database, held, InputInformationSequence=missing)
        until_idle(perform(sqlite_database, client), 1)
        assert claim_rows(sqlite_database) == []


def until_idle_once(performer: Performer) -> None:
    performer.look()
    performer.work()
    performer.work()


def move(database: Database, of_study: str, state: StudyState, reason: str) -> None:
    with database.begin() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == of_study)).one()
        row.reason_code, row.reason_detail = reason, None
        lifecycle.move(session, row, state, reason=reason, actor="tester", due_at=now(session))


def test_one_of_two_performers_gets_the_item(
    sqlite_database: Database, migrated_file: Path, tmp_path: Path
) -> None:
    """Two installations, each with its database, one manager."""
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    urls = [sqlite_copy(migrated_file, place) for place in places]
    one, two = (next(opened(url)) for url in urls)
    of_study = "1.2.3"
    for database in (one, two):
        study(database, ready=True, named=of_study)
    with dimse_door(sqlite_database, settings()) as port:
        performers = [
            perform(
                database,
                DimseClient(
                    DimseManager(
                        name="ours", ae_title="TRIAGE_UPS", host="127.0.0.1", port=port,
                        calling_ae_title=CALLING,
                    )
                ),
            )
            for database in (one, two)
        ]  # fmt: skip
        items = [ordered(sqlite_database, of_study) for _ in range(3)]
        start = threading.Barrier(2)
        threads = [
            threading.Thread(target=race, args=(performer, start)) for performer in performers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for item in items:
        stages = sorted(
            claim.state
            for database in (one, two)
            for claim in claim_rows(database)
            if claim.sop_instance_uid == item
        )
        assert stages in ([Stage.HELD], [Stage.HELD, Stage.LOST])
        assert item_in(sqlite_database, item).ProcedureStepState == "IN PROGRESS"
    one.dispose()
    two.dispose()


def race(performer: Performer, start: threading.Barrier) -> None:
    performer.look()
    start.wait()
    for _ in range(3):
        performer.work()


class TestAnotherManager:
    def test_the_whole_life_of_an_item(self, database: Database, standin: StandIn) -> None:
        item = standin.add(uid(), new_item(StudyInstanceUID=study(database)))
        until_idle(perform(database, DimseClient(at_standin(standin))))
        assert item.state == "COMPLETED"
        [claim] = claim_rows(database)
        assert item.claims == [claim.transaction_uid] == [item.lock]
        assert {change.TransactionUID for change in item.changes} == {item.lock}
        with database.reading() as session:
            kinds = list(session.scalars(
                select(AuditRow.event_type).where(AuditRow.event_type.startswith("workitem.we"))
            ))  # fmt: skip
        assert kinds == ["workitem.we-claimed", "workitem.we-completed"]

    def test_a_claim_that_got_through_before_a_crash_is_found_to_be_ours(
        self, database: Database, standin: StandIn
    ) -> None:
        item = standin.add(uid(), new_item(StudyInstanceUID=study(database)))
        performer = perform(database, DimseClient(at_standin(standin)))
        performer.look()
        [claim] = claim_rows(database)
        item.state, item.lock = "IN PROGRESS", claim.transaction_uid
        until_idle(performer)
        assert (item.state, item.claims) == ("COMPLETED", [claim.transaction_uid])

    def test_an_item_of_somebody_else_is_lost(self, database: Database, standin: StandIn) -> None:
        item = standin.add(uid(), new_item(StudyInstanceUID=study(database)))
        performer = perform(database, DimseClient(at_standin(standin)))
        performer.look()
        item.state, item.lock = "IN PROGRESS", "2.25.99"
        until_idle(performer)
        assert [one.state for one in claim_rows(database)] == [Stage.LOST]
        assert item.changes == []

    def test_a_manager_that_is_busy_is_asked_again(
        self, sqlite_database: Database, standin: StandIn
    ) -> None:
        item = standin.add(uid(), new_item(StudyInstanceUID=study(sqlite_database)))
        performer = perform(sqlite_database, DimseClient(at_standin(standin)))
        standin.busy = True
        performer.look()
        assert performer.work()
        [claim] = claim_rows(sqlite_database)
        assert (claim.state, claim.attempts) == (Stage.CLAIMING, 1)
        assert claim.last_error
        standin.busy = False
        until_idle(performer)
        assert item.claims == [claim.transaction_uid]
        assert item.state == "COMPLETED"

    def test_a_cancel_request_is_honoured(
        self, sqlite_database: Database, standin: StandIn, tmp_path: Path
    ) -> None:
        of_study = study(sqlite_database, ready=True)
        one = uid()
        item = standin.add(one, new_item(StudyInstanceUID=of_study))
        of = at_standin(standin)
        port = free_port()
        performer_settings = Settings(managers=(of,), event_port=port, poll_s=0.001)
        site = noun.Site(ups=Workflow(performer=performer_settings))
        whole = noun.load(tmp_path).model_copy(update={"site": site})
        performer = service.make(whole, sqlite_database, "tester")
        with service.ears(whole, sqlite_database):
            until_idle_once(performer)
            assert standin.watchers == ["TRIAGE"]
            assert standin.ask_cancel(one, port) == 0x0000
            until_idle(performer)
        assert item.state == "CANCELED"
        told = item.dataset.ProcedureStepProgressInformationSequence[0]
        assert told.ReasonForCancellation == "Canceled as requested"
        assert [row.state for row in claim_rows(sqlite_database)] == [Stage.CANCELED]


def test_a_web_manager_s_cancel_request_reaches_us(
    sqlite_database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(token(sqlite_database))
    of_study = study(sqlite_database, ready=True)
    item = ordered(sqlite_database, of_study)
    with web_door(sqlite_database, settings()) as url:
        of = WebManager(kind="web", name="ours", url=url, token_file=file)
        site = noun.Site(ups=Workflow(performer=Settings(managers=(of,), poll_s=0.001)))
        whole = noun.load(tmp_path).model_copy(update={"site": site})
        performer = service.make(whole, sqlite_database, "tester")
        with service.ears(whole, sqlite_database):
            until_idle_once(performer)
            with sqlite_database.begin() as session:
                manager.request_cancel(session, EVERYBODY, item, Dataset())
            assert wait(lambda: claim_rows(sqlite_database)[0].cancel_asked)
            until_idle(performer)
            performer.close()
    assert item_in(sqlite_database, item).ProcedureStepState == "CANCELED"


@pytest.mark.slow
def test_a_performer_killed_between_claim_and_completion_goes_on_with_the_same_lock(
    migrated_file: Path, tmp_path: Path, standin: StandIn
) -> None:
    state, config = tmp_path / "state", tmp_path / "configs"
    for folder in (state, config):
        folder.mkdir()
    url = f"sqlite:///{state / 'triage.sqlite'}"
    (state / "triage.sqlite").write_bytes(migrated_file.read_bytes())
    database = next(opened(url))
    item = standin.add(uid(), new_item(StudyInstanceUID=study(database)))
    given = {"managers": [at_standin(standin).model_dump(mode="json")], "event_port": 0,
             "lease_s": 3.0, "poll_s": 0.1}  # fmt: skip
    (config / "site.yaml").write_text(yaml.safe_dump({"ups": {"performer": given}}))
    standin.answer_claims.clear()
    with performing(state, config) as process:
        assert standin.claimed.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    [claim] = claim_rows(database)
    assert (claim.state, claim.transaction_uid) == (Stage.CLAIMING, item.lock)
    standin.answer_claims.set()
    with performing(state, config):
        assert wait(lambda: claim_rows(database)[0].state == Stage.COMPLETED, 60)
    assert item.state == "COMPLETED"
    assert set(item.claims) == {claim.transaction_uid}
    assert {change.TransactionUID for change in item.changes} == {claim.transaction_uid}
    database.dispose()


class performing:  # noqa: N801 - used as a statement
    """Run ``triage ups work`` as its own process."""

    def __init__(self, state: Path, config: Path) -> None:
        where = {"TRIAGE_STATE": str(state), "TRIAGE_CONFIG": str(config)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "triage", "ups", "work"],
            env={**os.environ, **where}, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> "subprocess.Popen[bytes]":
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def wait(question: Callable[[], bool], limit_s: float = 40.0) -> bool:
    until = time.monotonic() + limit_s
    while not question() and time.monotonic() < until:
        time.sleep(0.05)
    return question()


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
