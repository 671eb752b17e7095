"""N-services over the wire: what is answered, and what is then in the spool."""

import json
import threading
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.triage.receive import raw
from tests.triage.receive.conftest import Start
from tests.triage.receive.modality import (
    CT,
    IAN,
    MPPS,
    ask,
    beginning,
    create,
    ending,
    notification,
    set_,
    speaking,
)
from triage import commitment
from triage.receive.listener import Listener

SERIES = {"2.25.10": ["2.25.11", "2.25.12"]}


def kept(listener: Listener) -> list[tuple[str, Dataset]]:
    """The operations and data sets that wait for the ingestor, oldest first."""
    found = [pydicom.dcmread(path) for path in listener.spool.reports(99)]
    return [(json.loads(one.file_meta.PrivateInformation)["operation"], one) for one in found]


class TestPerformedSteps:
    def test_a_step_is_begun_goes_on_and_ends_once(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port) as peer:
            assert create(peer, "2.25.1", beginning("2.25.7")) == 0x0000
            assert create(peer, "2.25.1", beginning("2.25.7")) == 0x0111
            progress = Dataset()
            progress.PerformedSeriesSequence = ending(SERIES).PerformedSeriesSequence[:]
            assert set_(peer, "2.25.1", progress) == 0x0000
            assert set_(peer, "2.25.1", ending(SERIES)) == 0x0000
            answer, _ = peer.send_n_set(ending(SERIES), MPPS, "2.25.1")
            assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
            assert set_(peer, "2.25.2", ending(SERIES)) == 0x0112
        messages = kept(listener)
        assert [operation for operation, _ in messages] == ["N_CREATE", "N_SET", "N_SET"]
        states = [one.PerformedProcedureStepStatus for _, one in messages]
        assert states == ["IN PROGRESS", "IN PROGRESS", "COMPLETED"]
        last = messages[-1][1]
        assert last.file_meta.MediaStorageSOPInstanceUID == "2.25.1"
        assert last.ScheduledStepAttributesSequence[0].StudyInstanceUID == "2.25.7"
        [series] = last.PerformedSeriesSequence
        assert [one.ReferencedSOPInstanceUID for one in series.ReferencedImageSequence] == [
            "2.25.11", "2.25.12",
        ]  # fmt: skip

    def test_no_patient_is_kept(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port) as peer:
            create(peer, "2.25.1", beginning("2.25.7"))
        files = [path for path in Path(listener.spool.root).rglob("*") if path.is_file()]
        assert len(files) == 2
        assert not [path for path in files if b"anary" in path.read_bytes().lower()]

    def test_what_a_step_must_hold_is_asked_for(self, start: Start) -> None:
        with speaking(start().port) as peer:
            for keyword in ("Modality", "PerformedProcedureStepID"):
                given = beginning("2.25.7")
                given[keyword].value = ""
                assert create(peer, "2.25.1", given) == 0x0121
                del given[keyword]
                assert create(peer, "2.25.1", given) == 0x0120
            given = beginning("2.25.7")
            given.PerformedProcedureStepStatus = "COMPLETED"
            assert create(peer, "2.25.1", given) == 0x0106
            given = beginning("2.25.7")
            del given.ScheduledStepAttributesSequence[0].StudyInstanceUID
            assert create(peer, "2.25.1", given) == 0x0120
            assert create(peer, "2.25.1", beginning("2.25.7")) == 0x0000
            unended = ending(SERIES)
            del unended.PerformedProcedureStepEndDate
            assert set_(peer, "2.25.1", unended) == 0x0120
            assert set_(peer, "2.25.1", ending({})) == 0x0121
            assert set_(peer, "2.25.1", ending({}, "DISCONTINUED", "110514")) == 0x0000

    def test_a_set_cannot_move_a_step_to_another_study(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port) as peer:
            create(peer, "2.25.1", beginning("2.25.7"))
            moved = beginning("2.25.8")
            moved.update(ending(SERIES))
            assert set_(peer, "2.25.1", moved) == 0x0000
        [scheduled] = kept(listener)[-1][1].ScheduledStepAttributesSequence
        assert scheduled.StudyInstanceUID == "2.25.7"

    def test_a_step_without_a_uid_is_given_one(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port) as peer:
            answer, _ = peer.send_n_create(beginning("2.25.7"), MPPS, None)
            assert answer.Status == 0x0000
            [(_, step)] = kept(listener)
            chosen = step.file_meta.MediaStorageSOPInstanceUID
            assert chosen.startswith("2.25.")
            assert set_(peer, chosen, ending(SERIES)) == 0x0000

    def test_a_restarted_listener_remembers_its_steps(self, start: Start) -> None:
        first = start()
        with speaking(first.port) as peer:
            create(peer, "2.25.1", beginning("2.25.7"))
        first.stop(within_s=5)
        from triage.receive.services import Services

        services = Services(first.spool)
        with services._ledger.entry("step", "2.25.1") as known:
            assert known.read() is not None

    def test_of_many_that_begin_one_step_at_once_one_succeeds(self, start: Start) -> None:
        port, statuses = start().port, []

        def begin() -> None:
            with speaking(port, MPPS) as peer:
                statuses.append(create(peer, "2.25.1", beginning("2.25.7")))

        threads = [threading.Thread(target=begin) for _ in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(statuses) == [0x0000] + [0x0111] * 5


class TestAvailability:
    def test_a_notification_is_kept_once(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port, IAN) as peer:
            for status in (0x0000, 0x0111):
                answer, _ = peer.send_n_create(notification("2.25.7", SERIES), IAN, "2.25.3")
                assert answer.Status == status
        [(operation, told)] = kept(listener)
        assert (operation, told.StudyInstanceUID) == ("N_CREATE", "2.25.7")

    def test_one_that_names_no_study_is_refused(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port, IAN) as peer:
            told = notification("2.25.7", SERIES)
            del told.StudyInstanceUID
            answer, _ = peer.send_n_create(told, IAN, "2.25.3")
            assert answer.Status == 0x0120
            answer, _ = peer.send_n_set(told, IAN, "2.25.3")
            assert answer.Status == 0x0211
        assert kept(listener) == []


class TestCommitmentRequests:
    def test_a_request_is_in_the_spool_when_it_is_answered(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port) as peer:
            assert ask(peer, "2.25.5", "2.25.11", "2.25.12") == 0x0000
            [(operation, asked)] = kept(listener)
            assert (operation, asked.TransactionUID) == ("N_ACTION", "2.25.5")
            assert asked.file_meta.SendingApplicationEntityTitle == "CT1"
            assert ask(peer, "2.25.5", "2.25.11") == 0x0131

    def test_what_cannot_be_answered_is_refused(self, start: Start) -> None:
        listener = start()
        with speaking(listener.port) as peer:
            assert ask(peer, "2.25.5") == 0x0115
            assert ask(peer, "", "2.25.11") == 0x0115
            request = commitment.request("2.25.5", [(CT, "2.25.11")])
            for action, instance, status in (
                (2, commitment.SOP_INSTANCE, 0x0123),
                (1, "2.25.99", 0x0112),
            ):
                answer, _ = peer.send_n_action(request, action, commitment.SOP_CLASS, instance)
                assert answer.Status == status
        assert kept(listener) == []

    def test_a_full_disk_is_said_and_the_request_may_come_again(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listener = start()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with speaking(listener.port) as peer:
            with monkeypatch.context() as patch:
                patch.setattr("triage.spool.write_synced", full)
                assert ask(peer, "2.25.5", "2.25.11") == 0x0213
                assert create(peer, "2.25.1", beginning("2.25.7")) == 0x0110
            assert ask(peer, "2.25.5", "2.25.11") == 0x0000
            assert create(peer, "2.25.1", beginning("2.25.7")) == 0x0000


def test_only_plain_transfer_syntaxes_are_negotiated(start: Start) -> None:
    jpeg, big = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.2"
    offers = [(uid, [jpeg, big]) for uid in (MPPS, IAN, commitment.SOP_CLASS)]
    assert raw.rejection(start().port, offers) is not None
    peer = raw.Peer(start().port)
    plain = [str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)]
    assert peer.associate([(MPPS, [jpeg, *plain])]) == b"\x01"
    peer.socket.close()


@pytest.mark.parametrize("content", [b"\xff" * 64, b"\x08\x00\x18\x00UI\xff\xff1.2"], ids=str)
def test_a_damaged_data_set_is_refused_and_the_association_goes_on(
    start: Start, content: bytes
) -> None:
    listener = start()
    peer = raw.Peer(listener.port)
    assert peer.associate([(MPPS, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])])
    said = raw.command(0x0140, MPPS.encode(), b"2.25.1", data=True)
    peer.send(raw.p_data(raw.pdv(1, 3, said)) + raw.p_data(raw.pdv(1, 2, content)))
    assert peer.status() == 0x0110
    assert peer.echo(3) == 0x0000
    peer.socket.close()
    assert kept(listener) == []
