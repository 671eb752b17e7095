"""Reports on Storage Commitment: taken only from a provider, and kept as safely as instances."""

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import AE, build_role

from tests.triage.committer import Committer
from tests.triage.receive import raw
from tests.triage.receive.conftest import Start
from triage import commitment

SR = "1.2.840.10008.5.1.4.1.1.88.34"


def asked(script: Committer, *transactions: str) -> Committer:
    script.asked = [commitment.request(one, [(SR, "2.25.9")]) for one in transactions]
    return script


def test_a_report_is_in_the_spool_when_it_is_answered(start: Start) -> None:
    listener = start()
    assert asked(Committer(), "2.25.1", "2.25.2").report_to(listener.port) == [0, 0]
    first, second = map(pydicom.dcmread, listener.spool.reports(9))
    assert [one.TransactionUID for one in (first, second)] == ["2.25.1", "2.25.2"]
    assert first.file_meta.MediaStorageSOPClassUID == commitment.SOP_CLASS
    assert first.file_meta.SendingApplicationEntityTitle == "COMMITTER"
    assert listener.spool.incoming(9) == []


def test_one_that_would_be_neither_user_nor_provider_is_not_taken(start: Start) -> None:
    uid = commitment.SOP_CLASS.encode()
    neither = raw.item(0x54, len(uid).to_bytes(2, "big") + uid + b"\0\0")
    asking = [(commitment.SOP_CLASS, [str(ImplicitVRLittleEndian)])]
    assert raw.rejection(start().port, asking, user=neither) is not None


@pytest.mark.parametrize("as_user", [False, True])
def test_a_provider_may_be_a_user_as_well(start: Start, as_user: bool) -> None:
    ae = AE()
    ae.add_requested_context(commitment.SOP_CLASS, ImplicitVRLittleEndian)
    role = build_role(commitment.SOP_CLASS, scu_role=as_user, scp_role=True)
    association = ae.associate("127.0.0.1", start().port, ae_title="TRIAGE", ext_neg=[role])
    [context] = association.accepted_contexts
    association.release()
    assert (context.as_scu, context.as_scp) == (as_user, True)


def test_the_role_is_for_this_class_alone(start: Start) -> None:
    ae = AE()
    for uid in (commitment.SOP_CLASS, CTImageStorage):
        ae.add_requested_context(uid, ImplicitVRLittleEndian)
    role = build_role(CTImageStorage, scu_role=False, scp_role=True)
    association = ae.associate("127.0.0.1", start().port, ae_title="TRIAGE", ext_neg=[role])
    try:
        assert [one.as_scp for one in association.accepted_contexts] == [False, False]
    finally:
        association.release()


@pytest.mark.parametrize(
    ("sop_class", "instance", "status"),
    [
        (commitment.SOP_CLASS, "2.25.3", 0x0112),
        ("1.2.840.10008.1.42", commitment.SOP_INSTANCE, 0x0118),
    ],
)
def test_a_report_on_something_else_is_refused(
    start: Start, sop_class: str, instance: str, status: int
) -> None:
    listener = start()
    ae = AE()
    ae.add_requested_context(commitment.SOP_CLASS, ImplicitVRLittleEndian)
    role = build_role(commitment.SOP_CLASS, scu_role=False, scp_role=True)
    association = ae.associate("127.0.0.1", listener.port, ae_title="TRIAGE", ext_neg=[role])
    answer, _ = association.send_n_event_report(
        commitment.request("2.25.1", [(SR, "2.25.9")]), 1, sop_class, instance,
        meta_uid=commitment.SOP_CLASS,
    )  # fmt: skip
    association.release()
    assert answer.Status == status
    assert listener.spool.reports(9) == []


def test_an_n_event_report_over_a_storage_context_is_refused(start: Start) -> None:
    listener = start()
    ae = AE()
    ae.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", listener.port, ae_title="TRIAGE")
    with_meta = commitment.request("2.25.1", [(SR, "2.25.9")])
    association.accepted_contexts[0]._as_scp = True
    answer, _ = association.send_n_event_report(
        with_meta, 1, commitment.SOP_CLASS, commitment.SOP_INSTANCE, meta_uid=CTImageStorage
    )
    association.release()
    assert answer.Status == 0x0118
    assert listener.spool.reports(9) == []
