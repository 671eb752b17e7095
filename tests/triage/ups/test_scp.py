"""The DIMSE door, with pynetdicom's own SCU before it."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom import AE
from pynetdicom.association import Association

from db.engine import Database
from tests.triage.ups.doors import dimse_door, scu, settings, status
from tests.triage.ups.items import new_item, of_state, performed, progress, reference, uid
from triage.dimse import VERIFICATION
from triage.ups.events import Ear, send_waiting
from triage.ups.words import GLOBAL, PUSH, QUERY, Action, Event, Status
from triage.workflow import WorkPeer

TRANSACTION = "2.25.4711"


@pytest.fixture
def association(sqlite_database: Database) -> Iterator[Association]:
    with dimse_door(sqlite_database, settings()) as port, scu(port) as one:
        yield one


def change(to: Association, item: str, state: str, transaction: str = TRANSACTION) -> int:
    answer = to.send_n_action(of_state(state, transaction), Action.CHANGE_STATE, PUSH, item)
    return status(answer)


def because() -> Dataset:
    asked = Dataset()
    asked.ReasonForCancellation = "Ordered twice"
    return asked


def test_the_whole_life_of_a_work_item(association: Association) -> None:
    item = uid()
    assert status(association.send_n_create(new_item(), PUSH, item)) == Status.DONE
    assert status(association.send_n_create(new_item(), PUSH, item)) == Status.DUPLICATE
    query = Dataset()
    query.ProcedureStepState, query.SOPInstanceUID, query.ProcedureStepLabel = "SCHEDULED", "", ""
    matches = [found for _, found in association.send_c_find(query, QUERY) if found]
    assert [found.SOPInstanceUID for found in matches] == [item]
    assert "PatientName" not in matches[0]
    assert change(association, item, "COMPLETED") == Status.NOT_CLAIMED
    assert change(association, item, "IN PROGRESS") == Status.DONE
    assert change(association, item, "IN PROGRESS", "2.25.1") == Status.WRONG_TRANSACTION
    told = progress("30")
    assert status(association.send_n_set(told, PUSH, item)) == Status.WRONG_TRANSACTION
    told.TransactionUID = TRANSACTION
    assert status(association.send_n_set(told, PUSH, item)) == Status.DONE
    assert change(association, item, "COMPLETED") == Status.NOT_MET
    done = performed()
    done.TransactionUID = TRANSACTION
    assert status(association.send_n_set(done, PUSH, item)) == Status.DONE
    assert change(association, item, "COMPLETED") == Status.DONE
    assert change(association, item, "COMPLETED") == Status.ALREADY_COMPLETED
    assert status(association.send_n_set(done, PUSH, item)) == Status.FINAL
    answer, found = association.send_n_get(
        [Tag(0x00741000), Tag(0x00741216), Tag(0x00100010)], PUSH, item
    )
    assert status(answer) == Status.DONE
    assert found is not None
    assert found.ProcedureStepState == "COMPLETED"
    assert str(found.PatientName) == "Doe^Jörg"
    outputs = found.UnifiedProcedureStepPerformedProcedureSequence[0].OutputInformationSequence
    assert outputs[0].StudyInstanceUID == "1.2.3"


def test_the_transaction_uid_is_given_to_nobody(association: Association) -> None:
    item = uid()
    association.send_n_create(new_item(), PUSH, item)
    change(association, item, "IN PROGRESS")
    answer, found = association.send_n_get([Tag(0x00081195)], PUSH, item)
    assert status(answer) == Status.SOME_ATTRIBUTES
    assert found is None or "TransactionUID" not in found
    _, whole = association.send_n_get([], PUSH, item)
    assert whole is not None
    assert TRANSACTION not in whole.to_json()


def test_a_cancel_request_of_a_scheduled_item_cancels_it(association: Association) -> None:
    item = uid()
    association.send_n_create(new_item(), PUSH, item)
    answer = association.send_n_action(because(), Action.REQUEST_CANCEL, PUSH, item)
    assert status(answer) == Status.DONE
    _, found = association.send_n_get([], PUSH, item)
    assert found is not None
    told = found.ProcedureStepProgressInformationSequence[0]
    assert (found.ProcedureStepState, told.ReasonForCancellation) == ("CANCELED", "Ordered twice")


@pytest.mark.parametrize(
    ("action", "item", "answer"),
    [
        (Action.SUBSCRIBE, GLOBAL, Status.UNKNOWN_AE),
        (Action.CHANGE_STATE, "2.25.404", Status.UNKNOWN),
        (Action.REQUEST_CANCEL, "2.25.404", Status.UNKNOWN),
        (9, "2.25.404", Status.NO_ACTION),
    ],
)
def test_a_refusal_has_its_code(
    association: Association, action: int, item: str, answer: Status
) -> None:
    told = of_state("IN PROGRESS", TRANSACTION)
    told.ReceivingAE, told.DeletionLock = "NOBODY", "FALSE"
    assert status(association.send_n_action(told, action, PUSH, item)) == answer


def test_strangers_and_strange_addresses_are_not_let_in(sqlite_database: Database) -> None:
    peers = (WorkPeer(ae_title="KNOWN"), WorkPeer(ae_title="AWAY", addresses=("192.0.2.1",)))
    with dimse_door(sqlite_database, settings(*peers)) as port:
        for calling, called, let_in in (
            ("KNOWN", "TRIAGE_UPS", True),
            ("KNOWN", "OTHER", False),
            ("UNKNOWN", "TRIAGE_UPS", False),
            ("AWAY", "TRIAGE_UPS", False),
        ):
            ae = AE(ae_title=calling)
            ae.acse_timeout = 5
            ae.add_requested_context(PUSH)
            association = ae.associate("127.0.0.1", port, ae_title=called)
            assert association.is_established == let_in, calling
            if let_in:
                association.release()
            else:
                assert association.is_rejected


def test_a_peer_does_only_what_its_role_allows(sqlite_database: Database) -> None:
    peer = WorkPeer(ae_title="WATCHER", roles=("watcher",))
    with (
        dimse_door(sqlite_database, settings(peer)) as port,
        scu(port, "WATCHER") as association,
    ):
        answer = association.send_n_create(new_item(), PUSH, uid())
        assert status(answer) == Status.NOT_ALLOWED


def test_a_message_without_end_is_cut_off(sqlite_database: Database) -> None:
    limited = settings(max_message_bytes=100_000)
    with dimse_door(sqlite_database, limited) as port, scu(port) as association:
        big = new_item(InputInformationSequence=[reference(f"1.2.{n}") for n in range(2_000)])
        answer, _ = association.send_n_create(big, PUSH, uid())
        assert "Status" not in answer
        until = time.monotonic() + 5
        while association.is_established and time.monotonic() < until:
            time.sleep(0.01)
        assert association.is_aborted


class TestEvents:
    def test_a_subscriber_hears_what_becomes_of_an_item(self, sqlite_database: Database) -> None:
        heard: list[tuple[str, Event, Dataset]] = []
        ear = Ear("WATCHER", "127.0.0.1", 0, lambda *event: heard.append(event))
        peer = WorkPeer(ae_title="WATCHER", host="127.0.0.1", port=ear.start())
        of = settings(peer)
        item = uid()
        try:
            with dimse_door(sqlite_database, of) as port, scu(port, "WATCHER") as association:
                asked = Dataset()
                asked.ReceivingAE, asked.DeletionLock = "WATCHER", "FALSE"
                association.send_n_action(asked, Action.SUBSCRIBE, PUSH, GLOBAL)
                association.send_n_create(new_item(), PUSH, item)
                change(association, item, "IN PROGRESS")
                told = progress("30")
                told.TransactionUID = TRANSACTION
                association.send_n_set(told, PUSH, item)
                association.send_n_action(because(), Action.REQUEST_CANCEL, PUSH, item)
            assert send_waiting(sqlite_database, of) == 4
            assert send_waiting(sqlite_database, of) == 0
        finally:
            ear.stop()
        assert [event for _, event, _ in heard] == [
            Event.STATE, Event.STATE, Event.PROGRESS, Event.CANCEL_REQUESTED,
        ]  # fmt: skip
        assert {one for one, _, _ in heard} == {item}
        assert heard[0][2].ProcedureStepState == "SCHEDULED"
        assert heard[1][2].ProcedureStepState == "IN PROGRESS"
        assert heard[3][2].RequestingAE == "WATCHER"

    def test_events_wait_for_a_subscriber_that_is_away(self, sqlite_database: Database) -> None:
        ae = AE(ae_title="WATCHER")
        ae.add_supported_context(VERIFICATION)
        deaf: Any = ae.start_server(("127.0.0.1", 0), block=False)
        port = deaf.socket.getsockname()[1]
        peer = WorkPeer(ae_title="WATCHER", host="127.0.0.1", port=port)
        of = settings(peer, event_retry_s=0.01)
        with dimse_door(sqlite_database, of) as door, scu(door, "WATCHER") as association:
            asked = Dataset()
            asked.ReceivingAE, asked.DeletionLock = "WATCHER", "FALSE"
            association.send_n_action(asked, Action.SUBSCRIBE, PUSH, GLOBAL)
            association.send_n_create(new_item(), PUSH, uid())
        assert send_waiting(sqlite_database, of) == 0
        deaf.shutdown()
        heard: list[Event] = []
        ear = Ear("WATCHER", "127.0.0.1", port, lambda _item, event, _told: heard.append(event))
        ear.start()
        try:
            time.sleep(0.05)
            assert send_waiting(sqlite_database, of) == 1
        finally:
            ear.stop()
        assert heard == [Event.STATE]
