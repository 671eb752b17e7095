"""Each trick sends what it says, and the share of each is what was asked for."""

import socket
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from tests.triage.receive.conftest import soon
from tests.triage.receive.test_hostile import read
from triage.commands.simulate_arrivals import Arrival
from triage.commands.simulate_hostile import SHARES, Hostility, Idlers, Trick
from triage.commands.simulate_modality import Sending, Task
from triage.commands.simulate_studies import Made, Maker
from triage.dimse import Remote
from triage.errors import Refused
from triage.receive.scan import scan

CT = Arrival(0, "CT", "HEAD", 5, abnormal=False)


def played(tmp_path: Path, trick: Trick) -> tuple[Hostility, Made, Sending]:
    hostility = Hostility(1, shares={trick: 1.0})
    made = Maker(tmp_path, 1, 16).make(0, CT, datetime.now(UTC))
    sending = hostility(Task(0, CT), made)
    assert hostility.chosen == {made.study_instance_uid: trick}
    return hostility, made, sending


def test_repeated_sends_every_image_twice(tmp_path: Path) -> None:
    _, made, sending = played(tmp_path, Trick.REPEATED)
    assert Counter(sending.first) == dict.fromkeys(made.images, 2)


def test_late_keeps_some_images_back(tmp_path: Path) -> None:
    _, made, sending = played(tmp_path, Trick.LATE)
    assert (*sending.first, *sending.late) == made.images
    assert sending.late
    assert sending.pause_s > 0


def test_two_patients_adds_an_image_of_another(tmp_path: Path) -> None:
    _, made, sending = played(tmp_path, Trick.TWO_PATIENTS)
    [other] = set(sending.first) - set(made.images)
    dataset = pydicom.dcmread(other.item.path)
    assert dataset.StudyInstanceUID == made.study_instance_uid
    assert dataset.PatientID != made.header.PatientID
    assert other.item.sop_instance_uid not in {one.item.sop_instance_uid for one in made.images}


def test_cut_adds_an_image_that_no_receiver_may_take(tmp_path: Path) -> None:
    hostility, made, sending = played(tmp_path, Trick.CUT)
    [cut] = set(sending.first) - set(made.images)
    assert hostility.cut == {cut.item.sop_instance_uid}
    with pytest.raises(Refused):
        scan(read(cut.item.path).data, cut.item.transfer_syntax_uid)


def test_tricks_come_as_often_as_they_should_and_the_same_for_the_same_seed() -> None:
    hostility, again = Hostility(3), Hostility(3)
    drawn = [hostility._trick(number) for number in range(4000)]
    assert drawn == [again._trick(number) for number in range(4000)]
    counts = Counter(drawn)
    for trick, share in SHARES.items():
        mean = 4000 * share
        assert abs(counts[trick] - mean) < 5 * mean**0.5, trick


def test_idlers_come_back_when_they_are_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        idlers = Idlers(Remote("X", *server.getsockname()), count=2)
        idlers.start()
        try:
            server.accept()[0].close()
            server.accept()[0].close()
            assert soon(lambda: idlers.ended >= 2, 30)
            third, _ = server.accept()
            with third:
                assert third.recv(6) == bytes((1, 0, 0, 0, 1, 0))
        finally:
            idlers.stop()
    assert not idlers.is_alive()
