"""Requests are read, and answers written, as pynetdicom writes and reads them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    UserIdentityNegotiation,
)

from tests.timing import cpu_s
from tests.triage.receive import raw
from triage import IMPLEMENTATION_CLASS_UID
from triage.receive.admission import Door
from triage.receive.negotiation import (
    Context,
    Rejection,
    acceptance,
    accepted,
    is_storage,
    negotiate,
)
from triage.receive.pdu import Broken
from triage.receive.request import AssociateRequest, is_ae_title, read_request
from triage.settings import Listener as Limits

CT, EXPLICIT, IMPLICIT = raw.CT, raw.EXPLICIT, raw.IMPLICIT
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEG, MPEG = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.100"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def by_pynetdicom(*contexts: tuple[str, list[str]], extras: tuple[Any, ...] = ()) -> bytes:
    """Let pynetdicom write an A-ASSOCIATE-RQ; without its header."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "STORESCU", "TRIAGE"
    offered = [build_context(abstract, syntaxes) for abstract, syntaxes in contexts]
    for number, context in enumerate(offered):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = offered
    most, uid = MaximumLengthNotification(), ImplementationClassUIDNotification()
    most.maximum_length_received, uid.implementation_class_uid = 32768, "1.2.3"
    primitive.user_information = [most, uid, *extras]
    return bytes(A_ASSOCIATE_RQ(primitive).encode()[6:])


def answer_to(content: bytes) -> A_ASSOCIATE_AC:
    """Let pynetdicom read our A-ASSOCIATE-AC."""
    request = read_request(content)
    answer = A_ASSOCIATE_AC()
    answer.decode(acceptance(request, negotiate(request), 131072))
    return answer


def _broken(content: bytes, why: str) -> None:
    with pytest.raises(Broken, match=why):
        read_request(content)


def taken(request: AssociateRequest) -> dict[int, Context]:
    return accepted(negotiate(request))


class TestReading:
    def test_it_reads_what_pynetdicom_writes(self) -> None:
        request = read_request(by_pynetdicom((CT, [EXPLICIT, IMPLICIT]), (FIND, [IMPLICIT])))
        assert (request.calling_ae_title, request.called_ae_title) == ("STORESCU", "TRIAGE")
        assert request.max_pdu_bytes == 32768
        assert not request.wants_async
        assert [one.abstract_syntax for one in request.proposals] == [CT, FIND]
        assert request.proposals[0].transfer_syntax == [EXPLICIT, IMPLICIT]

    @given(st.binary(max_size=300), st.booleans())
    def test_only_broken_escapes(self, noise: bytes, after_head: bool) -> None:
        head = raw.associate_rq([(CT, [EXPLICIT])])[6:74] if after_head else b""
        try:
            negotiate(read_request(head + noise))
        except Broken:
            return

    @given(st.integers(0, 400), st.integers(0, 255))
    def test_changed_bytes_are_read_or_broken(self, place: int, value: int) -> None:
        content = bytearray(by_pynetdicom((CT, [EXPLICIT]), (FIND, [IMPLICIT])))
        content[place % len(content)] = value
        try:
            request = read_request(content)
        except Broken:
            return
        door = Door(Limits(check_called_ae_title=False))
        if door.refusal(request, "127.0.0.1") is None:
            acceptance(request, negotiate(request), 131072)

    def test_a_hostile_mebibyte_takes_no_time(self) -> None:
        tiny = raw.item(0x20, b"\x01\0\0\0" + raw.item(0x30, b"1") + raw.item(0x40, b"1"))
        content = raw.associate_rq([])[6:74] + tiny * (2**20 // len(tiny))
        assert cpu_s(lambda: _broken(content, "too many")) < 0.1

    def test_unknown_items_and_what_is_no_uid_are_passed_over(self) -> None:
        odd = raw.item(0x20, b"\x05\0\0\0" + raw.item(0x30, b"CANARY") + raw.item(0x40, b"../x"))
        content = by_pynetdicom((CT, [EXPLICIT])) + raw.item(0x99, b"new") + odd
        request = read_request(content)
        assert taken(request) == {1: Context(CT, EXPLICIT)}
        answer = acceptance(request, negotiate(request), 131072)
        assert raw.results(answer[6:]) == {1: 0, 5: 3}
        assert b"CANARY" not in answer

    def test_syntaxes_without_end_are_broken_and_take_no_time(self) -> None:
        syntaxes = b"".join(raw.item(0x40, b"1.%d" % number) for number in range(5000))
        context = raw.item(0x20, b"\x01\0\0\0" + raw.item(0x30, CT.encode()) + syntaxes)
        content = raw.associate_rq([])[6:]
        assert taken(read_request(content + context)) == {}
        assert cpu_s(lambda: _broken(content + context * 4, "too many transfer syntaxes")) < 0.5

    def test_a_full_request_is_answered_before_others_wait_long(self) -> None:
        full = [(CT, [str(uid) for uid in AllTransferSyntaxes])] * 128
        content = raw.associate_rq(full)[6:]
        assert len(taken(read_request(content))) == 128
        assert cpu_s(lambda: read_request(content)) < 0.5

    def test_pynetdicom_quotes_nothing_into_our_log(self, caplog: pytest.LogCaptureFixture) -> None:
        content = raw.associate_rq([(CT, ["1.2.3"])], calling=b"\xc4CANARY")[6:]
        read_request(content)
        even = raw.item(0x20, b"\x02\0\0\0" + raw.item(0x30, CT.encode()))
        with pytest.raises(Broken, match="damaged A-ASSOCIATE-RQ"):
            read_request(content + even)
        assert caplog.records == []


class TestChoosing:
    def test_the_peers_order_decides_among_the_common_syntaxes(self) -> None:
        request = read_request(by_pynetdicom((CT, [MPEG, JPEG, EXPLICIT]), (CT, [IMPLICIT, JPEG])))
        assert taken(request) == {1: Context(CT, JPEG), 3: Context(CT, IMPLICIT)}

    def test_big_endian_and_deflated_are_taken_only_where_nothing_else_is_offered(self) -> None:
        request = read_request(
            by_pynetdicom((CT, [BIG, DEFLATED, IMPLICIT]), (CT, [BIG]), (CT, [DEFLATED]))
        )
        syntaxes = [context.transfer_syntax for context in taken(request).values()]
        assert syntaxes == [IMPLICIT, BIG, DEFLATED]

    def test_what_is_not_taken_says_why(self) -> None:
        answer = answer_to(by_pynetdicom((CT, [MPEG]), (FIND, [IMPLICIT]), (CT, [IMPLICIT])))
        results = [(one.context_id, one.result) for one in answer.presentation_context]
        assert results == [(1, 4), (3, 3), (5, 0)]

    def test_every_syntax_that_is_taken_is_one_that_pydicom_knows(self) -> None:
        offered = [str(uid) for uid in AllTransferSyntaxes]
        request = read_request(by_pynetdicom(*((CT, [uid]) for uid in offered)))
        syntaxes = {context.transfer_syntax for context in taken(request).values()}
        assert len(syntaxes) == 16
        assert MPEG not in syntaxes


class TestAnswering:
    def test_pynetdicom_reads_our_acceptance(self) -> None:
        answer = answer_to(by_pynetdicom((CT, [EXPLICIT])))
        assert (answer.calling_ae_title, answer.called_ae_title) == ("STORESCU", "TRIAGE")
        user: Any = answer.user_information
        assert user.maximum_length == 131072
        assert user.implementation_class_uid == IMPLEMENTATION_CLASS_UID
        assert user.async_ops_window is None

    def test_asynchronous_operations_are_answered_with_one_at_a_time(self) -> None:
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = 8
        window.maximum_number_operations_performed = 8
        answer = answer_to(by_pynetdicom((CT, [EXPLICIT]), extras=(window,)))
        user: Any = answer.user_information
        item = user.async_ops_window
        assert item.maximum_number_operations_invoked == 1
        assert item.maximum_number_operations_performed == 1

    def test_a_password_is_neither_believed_nor_answered(self) -> None:
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.primary_field = 2, b"CANARY"
        identity.secondary_field, identity.positive_response_requested = b"CANARY", True
        content = by_pynetdicom((CT, [EXPLICIT]), extras=(identity,))
        request = read_request(content)
        assert "CANARY" not in repr(request)
        assert b"CANARY" not in acceptance(request, negotiate(request), 131072)

    @pytest.mark.parametrize("rejection", Rejection)
    def test_pynetdicom_reads_our_rejections(self, rejection: Rejection) -> None:
        answer = A_ASSOCIATE_RJ()
        answer.decode(rejection.pdu)
        assert (answer.result, answer.source, answer.reason_diagnostic) == rejection.value
        assert answer.reason_str != "(No Value Available)"


class TestClasses:
    def test_every_storage_class_that_pynetdicom_knows_is_storage(self) -> None:
        unknown = {
            context.abstract_syntax
            for context in AllStoragePresentationContexts
            if not is_storage(context.abstract_syntax)
        }
        assert unknown == set()

    @pytest.mark.parametrize(
        "uid",
        [
            "1.2.840.10008.5.1.4.1.1.6",  # retired ultrasound
            "1.2.840.10008.5.1.4.1.1.999",  # newer than any dictionary
            "1.3.12.2.1107.5.9.1",  # a vendor's own
        ],
    )
    def test_retired_new_and_private_classes_are_storage(self, uid: str) -> None:
        assert is_storage(uid)

    @pytest.mark.parametrize(
        "uid",
        [
            "", FIND, raw.VERIFICATION, "1.2.840.10008.1.20.1", "1.2.840.10008.1.3.10",
            "1.2.840.10008.5.1.4.1.1.200.4", "1.2.840.10008.5.1.4.1.1.201.6",
        ],
    )  # fmt: skip
    def test_queries_commitment_and_media_are_not(self, uid: str) -> None:
        assert not is_storage(uid)


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("CT1", True), ("A" * 16, True), ("A B", True), ("", False), ("A" * 17, False),
        ("A\\B", False), ("A\nB", False), ("\x1b[31m", False), ("\xc4", False),
    ],
)  # fmt: skip
def test_an_ae_title_is_short_printable_ascii(text: str, fine: bool) -> None:
    assert is_ae_title(text) is fine
