"""Asking for Storage Commitment, and the reports that come while the association lasts."""

from types import SimpleNamespace
from typing import cast

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.pdu import A_ABORT_RQ, P_DATA_TF

from tests.servers import free_port
from tests.triage.committer import Committer, committing
from tests.triage.peers import REFUSED, Scripted, destination, scripted
from triage.commitment import Promise
from triage.deliver import commitment
from triage.dimse import SUCCESS
from triage.errors import Broken, TryAgain

SR = "1.2.840.10008.5.1.4.1.1.88.34"
OBJECTS = [(SR, "2.25.11"), (SR, "2.25.22")]


def test_all_objects_are_asked_for_in_one_request() -> None:
    with committing(script := Committer()) as to:
        assert commitment.request_commitment("2.25.1", OBJECTS, to) == ()
    [action] = script.asked
    assert action.TransactionUID == "2.25.1"
    named = [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for item in action.ReferencedSOPSequence
    ]
    assert named == OBJECTS


@pytest.mark.parametrize("failure", [None, 0x0112])
def test_reports_on_the_same_association_are_taken(failure: int | None) -> None:
    with committing(Committer(at_once=True, failure=failure)) as to:
        promised = commitment.request_commitment("2.25.1", OBJECTS, to)
    assert promised == tuple(Promise("2.25.1", uid, failure) for _, uid in OBJECTS)


def event(**told: object) -> evt.Event:
    """What pynetdicom tells of a report that came, or of a PDU that left."""
    return cast("evt.Event", SimpleNamespace(**told))


def report(*uids: str) -> Dataset:
    done = Dataset()
    done.TransactionUID = "2.25.1"
    done.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SR, uid
        done.ReferencedSOPSequence.append(item)
    return done


def test_it_is_complete_only_once_the_last_reports_answer_has_left() -> None:
    post = commitment.Post({uid for _, uid in OBJECTS})
    answer = P_DATA_TF()
    post.note_sent(event(pdu=answer))  # our own request
    for last, uid in ((False, "2.25.11"), (True, "2.25.22")):
        status, _ = post.take(event(event_information=report(uid)))
        assert status == SUCCESS
        assert not post.complete.is_set()
        post.note_sent(event(pdu=A_ABORT_RQ()))
        assert not post.complete.is_set()
        post.note_sent(event(pdu=answer))
        assert post.complete.is_set() == last
    assert [one.sop_instance_uid for one in post.promises] == ["2.25.11", "2.25.22"]


def test_a_report_that_cannot_be_read_is_refused_and_the_rest_awaited() -> None:
    post = commitment.Post({"2.25.11"})
    assert post.take(event(event_information=Dataset()))[0] == commitment.NO_SUCH_EVENT
    post.note_sent(event(pdu=P_DATA_TF()))
    assert not post.complete.is_set()


def test_a_request_that_is_not_taken_means_later() -> None:
    with committing(Committer(statuses=[0x0213])) as to, pytest.raises(TryAgain, match="0x0213"):
        commitment.request_commitment("2.25.1", OBJECTS, to)


def test_a_pacs_without_commitment_says_so() -> None:
    with scripted(Scripted()) as to, pytest.raises(Broken, match="does not accept Storage Commit"):
        commitment.request_commitment("2.25.1", OBJECTS, to)


@REFUSED
def test_nobody_there_means_later() -> None:
    with pytest.raises(TryAgain, match="no association"):
        commitment.request_commitment("2.25.1", OBJECTS, destination(free_port(), "NOBODY"))
