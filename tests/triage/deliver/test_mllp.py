"""HL7 v2 over MLLP: what an acknowledgement means, and that a message sent twice is one."""

import time
from collections.abc import Iterator
from pathlib import Path

import hl7
import pytest

from tests.servers import free_port
from tests.triage.outputs import studies
from tests.triage.receivers.mllp import Engine, engine
from tests.triage.receivers.smtp import certificate
from triage.deliver import Sender, mllp
from triage.destinations import Mllp
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document
from triage.outputs import hl7_oru


@pytest.fixture(scope="module")
def message() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return hl7_oru.build(assessment, studies.context())


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    one = Sender()
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    with engine(Engine()) as to:  # its first message costs a second of imports
        one.send(hl7_oru.build(assessment, studies.context()), to)
    yield one
    one.stop()


def test_the_message_arrives_addressed_as_the_site_says(message: Document, sender: Sender) -> None:
    script = Engine()
    names = {"receiving_application": "RIS|1", "receiving_facility": "St. Elsewhere"}
    with engine(script, None, **names) as to:
        assert sender.send(message, to) == 0
    (arrived,) = script.arrived
    header = hl7.parse(arrived).segment("MSH")
    assert str(header(5)) == "RIS\\F\\1"
    assert str(header(6)) == "St. Elsewhere"
    assert arrived.partition(b"\r")[2] == message.content.partition(b"\r")[2]


@pytest.mark.parametrize("answer", ["AA", "CA", "AE 205"])
def test_accepted_and_duplicate_mean_stored(answer: str, message: Document) -> None:
    with engine(Engine([answer])) as to:
        assert mllp.store(message, to) == 0


@pytest.mark.parametrize("answer", ["AE", "AE 207", "AE 204", "AR 206", "AE 999"])
def test_an_application_error_means_later(answer: str, message: Document) -> None:
    with engine(Engine([answer])) as to, pytest.raises(TryAgain, match="ris answered A") as caught:
        mllp.store(message, to)
    assert not isinstance(caught.value, InDoubt)


@pytest.mark.parametrize("answer", ["AR", "AE 101", "AR 203"])
def test_a_rejection_and_an_error_of_form_are_final(answer: str, message: Document) -> None:
    with engine(Engine([answer])) as to, pytest.raises(Broken, match="refused") as caught:
        mllp.store(message, to)
    assert "words of the receiver" not in str(caught.value)


@pytest.mark.parametrize("answer", ["cut", "other", "noise"])
def test_without_an_acknowledgement_of_ours_it_is_in_doubt(answer: str, message: Document) -> None:
    with engine(Engine([answer])) as to, pytest.raises(InDoubt):
        mllp.store(message, to)


def test_silence_costs_the_deadline_and_not_the_sending_process(
    message: Document, sender: Sender
) -> None:
    sender.start()
    pid = sender.pid
    with engine(Engine(["silence"]), deadline_s=2.0) as to:
        begin = time.monotonic()
        with pytest.raises(InDoubt, match="no acknowledgement"):
            sender.send(message, to)
        assert 1.7 <= time.monotonic() - begin < 3.0
    assert sender.pid == pid


def test_nobody_there_means_later(message: Document) -> None:
    to = Mllp(name="ris", host="127.0.0.1", port=free_port(), deadline_s=2.0)
    with pytest.raises(TryAgain, match="no connection") as caught:
        mllp.store(message, to)
    assert not isinstance(caught.value, InDoubt)


@pytest.mark.parametrize("first", ["AE", "cut", "silence"])
def test_what_is_sent_again_is_one_message_to_the_receiver(
    first: str, message: Document, sender: Sender
) -> None:
    script = Engine([first, "AA"])
    with engine(script, deadline_s=2.0) as to:
        with pytest.raises(TryAgain):
            sender.send(message, to)
        assert sender.send(message, to, in_doubt=True) == 0
    assert len(script.arrived) == 2
    assert list(script.kept) == [hl7_oru.control_id(message.sop_instance_uid)]


def test_it_goes_encrypted_to_a_known_certificate_and_to_no_other(
    message: Document, tmp_path: Path
) -> None:
    script, (cert, key) = Engine(), certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with engine(script, (cert, key), ca_file=cert) as to:
        assert mllp.store(message, to) == 0
        unknown = to.model_copy(update={"ca_file": certificate(other)[0]})
        with pytest.raises(TryAgain, match="SSL"):
            mllp.store(message, unknown)
    assert len(script.arrived) == 1
