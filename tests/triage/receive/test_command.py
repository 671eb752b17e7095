"""Command sets are read and written as pydicom and pynetdicom do."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE

from tests.triage.receive import raw
from triage.receive.command import Command, Field, read_command, response
from triage.receive.pdu import Broken


def by_pynetdicom(sop_class: str, sop_instance: str) -> bytes:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 4711, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = sop_class, sop_instance
    primitive.DataSet = io.BytesIO(b"1234")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    first = next(iter(message.encode_msg(1, 0)))
    return bytes(first.presentation_data_value_list[0][1][1:])


def decoded(data: bytes) -> Dataset:
    return read_dataset(io.BytesIO(data), is_implicit_VR=True, is_little_endian=True)


def test_it_reads_what_pynetdicom_writes() -> None:
    command = read_command(by_pynetdicom(raw.CT, "1.2.3"))
    assert command.field == Field.C_STORE
    assert command.message_id == 4711
    assert command.sop_class_uid.rstrip(b"\0") == raw.CT.encode()
    assert command.sop_instance_uid.rstrip(b"\0") == b"1.2.3"
    assert command.has_data_set


def test_pydicom_reads_the_response() -> None:
    answer = decoded(response(read_command(by_pynetdicom(raw.CT, "1.2.3")), 0xA700, "no room"))
    assert answer.CommandField == 0x8001
    assert answer.MessageIDBeingRespondedTo == 4711
    assert answer.Status == 0xA700
    assert answer.ErrorComment == "no room"
    assert answer.CommandDataSetType == 0x0101
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (raw.CT, "1.2.3")
    body = response(read_command(by_pynetdicom(raw.CT, "1.2.3")), 0xA700, "no room")
    assert answer.CommandGroupLength == len(body) - 12


@pytest.mark.parametrize("uid", [b"../../x", b"1.2\0.3", b"CANARY", b"1" * 65])
def test_what_is_no_uid_is_not_repeated(uid: bytes) -> None:
    answer = response(Command(1, 1, b"1.2", uid, has_data_set=True), 0x0117)
    assert uid not in answer
    assert "AffectedSOPInstanceUID" not in decoded(answer)


def test_a_comment_is_cut_at_64_characters() -> None:
    answer = decoded(response(Command(1, 1, b"1.2", b"1.3", has_data_set=True), 0xC000, "x" * 99))
    assert len(answer.ErrorComment) == 64


def test_pydicom_reads_the_response_to_an_echo() -> None:
    echo = read_command(raw.command(0x30, raw.VERIFICATION.encode(), data=False))
    answer = decoded(response(echo, 0x0122, "not here"))
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo) == (0x8030, 7)
    assert (answer.Status, answer.ErrorComment) == (0x0122, "not here")
    assert answer.AffectedSOPClassUID == raw.VERIFICATION
    assert answer.CommandDataSetType == 0x0101


def without(number: int) -> bytes:
    fields = raw.elements_of(raw.command(1, b"1.2", b"1.3", data=True))
    del fields[number]
    return b"".join(raw.element(key, value) for key, value in fields.items())


@pytest.mark.parametrize("number", [0x0100, 0x0110, 0x0800])
def test_a_command_without_what_an_answer_needs_is_broken(number: int) -> None:
    with pytest.raises(Broken, match=f"{number:04X}"):
        read_command(without(number))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0\0\0\x01", raw.command(0x8001, b"1.2", data=False),
        raw.command(1, b"1.2", data=True)[:-1],
        b"\x08\0\x05\0\x02\0\0\0ab",
    ],
)  # fmt: skip
def test_damaged_commands_and_responses_are_broken(data: bytes) -> None:
    with pytest.raises(Broken):
        read_command(data)


def test_a_cancel_needs_no_message_id() -> None:
    cancel = raw.element(0x0100, b"\xff\x0f") + raw.element(0x0120, b"\x01\0")
    assert read_command(cancel).field == Field.C_CANCEL


@given(st.binary(max_size=200))
def test_only_broken_escapes(data: bytes) -> None:
    try:
        decoded(response(read_command(data), 0))
    except Broken:
        return
