"""A station speaks as a modality: a procedure step around its images, none given up early."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from tests.triage.peers import Scripted, scripted
from triage.commands.simulate_arrivals import Arrival
from triage.commands.simulate_hostile import plain
from triage.commands.simulate_ledger import Ledger
from triage.commands.simulate_modality import Desk, Station, Task, Told
from triage.commands.simulate_studies import MPPS_CLASS, Maker
from triage.dimse import Remote

CT = Arrival(0, "CT", "HEAD", 3, abnormal=False)


@dataclass
class Heard:
    """What a receiver with MPPS was told, in order."""

    said: list[str] = field(default_factory=list)
    steps: dict[str, Dataset] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)

    def create(self, event: evt.Event) -> tuple[int, Dataset]:
        self.said.append("created")
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        self.steps[uid] = event.attribute_list
        return 0x0000, event.attribute_list

    def set(self, event: evt.Event) -> tuple[int, Dataset]:
        self.said.append("set")
        uid = str(event.request.RequestedSOPInstanceUID)  # type: ignore[union-attr]
        self.steps[uid].update(event.modification_list)
        return 0x0000, event.modification_list

    def store(self, event: evt.Event) -> int:
        self.said.append("image")
        self.images.append(str(event.request.AffectedSOPInstanceUID))  # type: ignore[union-attr]
        return 0x0000


@contextmanager
def receiver() -> Iterator[tuple[Heard, Remote]]:
    heard, ae = Heard(), AE(ae_title="HEARS")
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_supported_context(MPPS_CLASS)
    handlers: list[Any] = [
        (evt.EVT_N_CREATE, heard.create), (evt.EVT_N_SET, heard.set),
        (evt.EVT_C_STORE, heard.store),
    ]  # fmt: skip
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield heard, Remote("HEARS", "127.0.0.1", server.socket.getsockname()[1], "SIMCT1")
    finally:
        server.shutdown()


def work(tmp_path: Path, to: Remote, *arrivals: Arrival) -> tuple[Ledger, Told]:
    """Let one station make and send studies; gives what it wrote down and counted."""
    told, waiting = Told(), Queue[Task | None]()
    for number, arrival in enumerate(arrivals):
        waiting.put(Task(number, arrival))
    waiting.put(None)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        Station(to, Desk(Maker(tmp_path / "made", 1, 16), ledger, told, plain), waiting).run()
    return ledger, told


def test_a_step_is_begun_before_and_completed_after_its_images(tmp_path: Path) -> None:
    with receiver() as (heard, to):
        ledger, told = work(tmp_path, to, CT)
    assert heard.said == ["created", "image", "image", "image", "set"]
    [step] = heard.steps.values()
    assert step.PerformedProcedureStepStatus == "COMPLETED"
    assert step.PerformedStationAETitle == "SIMCT1"
    assert step.Modality == "CT"
    [series] = step.PerformedSeriesSequence
    listed = [one.ReferencedSOPInstanceUID for one in series.ReferencedImageSequence]
    assert sorted(listed) == sorted(heard.images) == sorted(one.instance for one in ledger.entries)
    [scheduled] = step.ScheduledStepAttributesSequence
    assert {scheduled.StudyInstanceUID} == {one.study for one in ledger.entries}
    assert told.counts["mpps completed"] == 1
    assert not list((tmp_path / "made").iterdir())  # a day of studies would fill the disk


def test_a_receiver_without_mpps_is_asked_once_and_gets_its_images(tmp_path: Path) -> None:
    script = Scripted()
    with scripted(script) as peer:
        to = Remote(peer.ae_title, peer.host, peer.port, "SIMCT1")
        ledger, told = work(tmp_path, to, CT, CT)
    assert len(script.stored) == ledger.counts()["stored"] == 6
    asked = [one for one in script.requested if any(MPPS_CLASS in context for context in one)]
    assert len(asked) == 1
    assert not [key for key in told.counts if key.startswith("mpps")]


def test_a_busy_receiver_gets_the_same_image_again(tmp_path: Path) -> None:
    script = Scripted(statuses=[0x0000, 0xA700, 0x0000])
    with scripted(script) as peer:
        to = Remote(peer.ae_title, peer.host, peer.port, "SIMCT1")
        ledger, told = work(tmp_path, to, CT)
    assert [one.answer for one in ledger.entries] == ["stored", "unknown", "stored", "stored"]
    again = {one.instance for one in ledger.entries if one.answer == "unknown"}
    assert ledger.entries[-1].instance in again
    assert told.of("images given up") == 0


def test_a_refused_image_is_not_sent_again(tmp_path: Path) -> None:
    script = Scripted(statuses=[0xC000, 0x0000])
    with scripted(script) as peer:
        to = Remote(peer.ae_title, peer.host, peer.port, "SIMCT1")
        ledger, _ = work(tmp_path, to, CT)
    assert ledger.counts() == {"stored": 2, "refused": 1, "unknown": 0}
    assert len(script.stored) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_association_that_breaks_costs_no_image(tmp_path: Path) -> None:
    script = Scripted(abort=True)
    with scripted(script) as peer:
        to = Remote(peer.ae_title, peer.host, peer.port, "SIMCT1", deadline_s=5)
        told, waiting = Told(), Queue[Task | None]()
        waiting.put(Task(0, CT))
        waiting.put(None)
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            desk = Desk(Maker(tmp_path / "made", 1, 16), ledger, told, plain)
            station = Station(to, desk, waiting)
            station.start()
            while ledger.counts()["unknown"] < 1:
                station.join(0.05)
            script.abort = False
            station.join(60)
    assert ledger.counts()["stored"] == 3
    assert len(ledger.acknowledged()) == 3
