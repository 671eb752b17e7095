"""A fake modality: makes a study, announces it by MPPS, sends it as a real one would.

Source: Modality Performed Procedure Step, PS3.4 Annex F; IHE RAD-6 and RAD-7.
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.association import Association

from triage import dimse
from triage.commands.simulate_arrivals import Arrival
from triage.commands.simulate_ledger import Answer, Ledger
from triage.commands.simulate_studies import MPPS_CLASS, Image, Made, Maker
from triage.dimse import AssociationLost, Remote
from triage.errors import Broken, TryAgain

if TYPE_CHECKING:
    from queue import Queue

TRIES: Final = 8
PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0
SUCCESS: Final = 0x0000
NO_RESOURCES: Final = 0x0213
PROCESSING_FAILURE: Final = 0x0110
"""Also said of a step that is completed already (PS3.4 F.7.2.2): tried again, but not for long."""
FEW_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Task:
    """One study for a station to make and send."""

    number: int
    arrival: Arrival


@dataclass(frozen=True, slots=True)
class Sending:
    """What leaves a modality for one study."""

    made: Made
    first: tuple[Image, ...]
    """Before the procedure step is said to be completed."""
    late: tuple[Image, ...] = ()
    """After it."""
    pause_s: float = 0.0
    """Between the two."""


Note = Callable[[Made, Image, Answer], None]
Trouble = Callable[[Task, Made], Sending]
"""Turns a study into what is sent of it: the hostile extras come in here."""


@dataclass(slots=True)
class Told:
    """What the senders met, counted; threads share it."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, by: int = 1) -> None:
        """Count one more."""
        with self.lock:
            self.counts[what] += by

    def of(self, what: str) -> int:
        """Give how many."""
        with self.lock:
            return self.counts[what]


@dataclass(frozen=True, slots=True)
class Desk:
    """What every station shares."""

    maker: Maker
    ledger: Ledger
    told: Told
    trouble: Trouble
    archive: Remote | None = None
    """A PACS that gets every image first, so that it can be asked how many there are."""


class Station(threading.Thread):
    """One modality with an AE title of its own; takes studies from its modality's queue."""

    def __init__(self, to: Remote, desk: Desk, waiting: "Queue[Task | None]") -> None:
        super().__init__(name=to.calling_ae_title, daemon=True)
        self._to, self._desk, self._waiting = to, desk, waiting
        self._speaks_mpps = True

    def run(self) -> None:
        """Make and send until there is no more."""
        while (task := self._waiting.get()) is not None:
            made = self._desk.maker.make(task.number, task.arrival, datetime.now(UTC))
            try:
                self._send(self._desk.trouble(task, made))
            finally:
                self._desk.told.count("studies sent")
                shutil.rmtree(made.images[0].item.path.parent, ignore_errors=True)

    def _send(self, sending: Sending) -> None:
        made = sending.made
        self._announce(made)
        self._deliver(sending.first, made)
        self._finish(made, [image for image in made.images if image not in sending.late])
        if sending.late:
            time.sleep(sending.pause_s)
            self._deliver(sending.late, made)

    def _deliver(self, part: Sequence[Image], made: Made) -> None:
        if self._desk.archive:
            own = [image for image in part if image in made.images]
            self._store(own, made, self._desk.archive, self._note_archived)
        self._store(part, made, self._to, self._note)

    def _store(self, part: Sequence[Image], made: Made, to: Remote, note: Note) -> None:
        """Send images; what got no final answer is sent again, as a modality does."""
        left = list(part)
        for attempt in range(TRIES):
            left = self._over_one(left, made, to, note)
            if not left:
                return
            time.sleep(min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S))
        self._desk.told.count("images given up", len(left))

    def _over_one(self, images: list[Image], made: Made, to: Remote, note: Note) -> list[Image]:
        """Send over one association; gives what is to be sent again."""
        again: list[Image] = []
        try:
            wanted = dict.fromkeys(one.item.syntaxes for one in images)
            with dimse.associate(to, wanted) as association:
                for place, image in enumerate(images):
                    answer = _answer(association, image, to)
                    note(made, image, answer or Answer.UNKNOWN)
                    if answer is None:
                        again += images[place:]
                        break
                    if answer is Answer.UNKNOWN:
                        again.append(image)
        except Broken:
            for image in images:
                note(made, image, Answer.REFUSED)
        except TryAgain:
            self._desk.told.count("associations refused or lost")
            return images
        return again

    def _note(self, made: Made, image: Image, answer: Answer) -> None:
        self._desk.ledger.note(
            made.study_instance_uid, image.item.sop_instance_uid, image.sha256, answer
        )

    def _note_archived(self, _made: Made, _image: Image, answer: Answer) -> None:
        self._desk.told.count(f"archive {answer}")

    def _announce(self, made: Made) -> None:
        """Say that a procedure step has begun (N-CREATE)."""
        self._say("created", lambda peer: peer.send_n_create(
            begun(made, self._to.calling_ae_title), UID(MPPS_CLASS), UID(made.mpps_instance_uid)
        )[0])  # fmt: skip

    def _finish(self, made: Made, images: Sequence[Image]) -> None:
        """Say that the step is completed, and which images it made (N-SET)."""
        self._say("completed", lambda peer: peer.send_n_set(
            completed(made, images), UID(MPPS_CLASS), UID(made.mpps_instance_uid)
        )[0])  # fmt: skip

    def _say(self, what: str, ask: Callable[[Association], Dataset]) -> None:
        """Send one MPPS message; a receiver that takes none is sent no more of them."""
        if not self._speaks_mpps:
            return
        for attempt in range(TRIES):
            try:
                with dimse.associate(self._to, [(MPPS_CLASS, ImplicitVRLittleEndian)]) as peer:
                    status = ask(peer).get("Status")
            except Broken:
                self._speaks_mpps = False
                return
            except (TryAgain, RuntimeError, OSError):
                status = None
            if not _is_passing(status, attempt):
                self._desk.told.count(f"mpps {what if status == SUCCESS else 'refused'}")
                return
            time.sleep(min(PAUSE_S * 2**attempt, LONGEST_PAUSE_S))
        self._desk.told.count("mpps given up")


def _is_passing(status: int | None, attempt: int) -> bool:
    """Tell whether an MPPS message is worth another try."""
    return status in (None, NO_RESOURCES) or (status == PROCESSING_FAILURE and attempt < FEW_TRIES)


def _answer(association: Association, image: Image, to: Remote) -> Answer | None:
    """Send one image; None when nothing more goes over this association."""
    try:
        dimse.store(association, image.item, to)
    except AssociationLost:
        association.abort()
        return None
    except TryAgain:
        return Answer.UNKNOWN
    except Broken:
        return Answer.REFUSED
    return Answer.STORED


def begun(made: Made, ae_title: str) -> Dataset:
    """Give the attributes of an N-CREATE: in progress, nothing made yet (PS3.4 Table F.7.2-1)."""
    header, now = made.header, datetime.now(UTC)
    step, scheduled = Dataset(), Dataset()
    scheduled.StudyInstanceUID = header.StudyInstanceUID
    scheduled.ReferencedStudySequence = []
    scheduled.AccessionNumber = header.AccessionNumber
    scheduled.RequestedProcedureID = header.StudyID
    scheduled.RequestedProcedureDescription = header.get("StudyDescription", "")
    scheduled.ScheduledProcedureStepID = header.StudyID
    scheduled.ScheduledProcedureStepDescription = header.get("StudyDescription", "")
    scheduled.ScheduledProtocolCodeSequence = []
    step.SpecificCharacterSet = "ISO_IR 192"
    step.ScheduledStepAttributesSequence = [scheduled]
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID"):
        setattr(step, keyword, header.get(keyword, ""))
    step.ReferencedPatientSequence = []
    step.PerformedProcedureStepID = header.PerformedProcedureStepID
    step.PerformedStationAETitle = ae_title
    step.PerformedStationName = step.PerformedLocation = ""
    step.PerformedProcedureStepStartDate = now.strftime("%Y%m%d")
    step.PerformedProcedureStepStartTime = now.strftime("%H%M%S")
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepDescription = header.get("StudyDescription", "")
    step.PerformedProcedureTypeDescription = ""
    step.ProcedureCodeSequence = []
    step.PerformedProcedureStepEndDate = step.PerformedProcedureStepEndTime = ""
    step.Modality = made.arrival.modality
    step.PerformedProtocolCodeSequence = []
    step.PerformedSeriesSequence = []
    return step


def completed(made: Made, images: Sequence[Image]) -> Dataset:
    """Give the modifications of an N-SET: completed, with every image by its UID."""
    step, now = Dataset(), datetime.now(UTC)
    step.PerformedProcedureStepStatus = "COMPLETED"
    step.PerformedProcedureStepEndDate = now.strftime("%Y%m%d")
    step.PerformedProcedureStepEndTime = now.strftime("%H%M%S")
    step.PerformedSeriesSequence = [
        _series(made, uid, [one for one in images if one.series_instance_uid == uid])
        for uid in dict.fromkeys(one.series_instance_uid for one in images)
    ]
    return step


def _series(made: Made, uid: str, images: Sequence[Image]) -> Dataset:
    series = Dataset()
    series.PerformingPhysicianName = series.OperatorsName = series.SeriesDescription = ""
    series.ProtocolName = made.header.get("StudyDescription", "") or made.arrival.modality
    series.SeriesInstanceUID = UID(uid)
    series.RetrieveAETitle = ""
    series.ReferencedImageSequence = [_reference(image) for image in images]
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    return series


def _reference(image: Image) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = UID(image.item.sop_class_uid)
    reference.ReferencedSOPInstanceUID = UID(image.item.sop_instance_uid)
    return reference
