"""What goes wrong in hospitals, on purpose: repeats, late slices, mixed patients, cut files."""

import random
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import pydicom

from triage.commands.simulate_modality import Sending, Task
from triage.commands.simulate_studies import Image, Made, save
from triage.dimse import Remote
from triage.spool import digest

IDLERS: Final = 8
BYTE_EVERY_S: Final = 1.0
CUT_BYTES: Final = 301
"""Odd, so that no element ends there."""
ASSOCIATE_HEADER: Final = bytes((1, 0, 0, 0, 1, 0))
"""Of an A-ASSOCIATE-RQ of 256 bytes, which never come."""


class Trick(StrEnum):
    """One way in which a study is sent."""

    PLAIN = "plain"
    REPEATED = "repeated"
    """Every image twice, over two associations."""
    LATE = "late"
    """The last images come after the study was closed."""
    TWO_PATIENTS = "two patients"
    """One more image names another patient: the study must be held."""
    CUT = "cut"
    """One more image whose bytes end too early: it must be refused."""


SHARES: Final[Mapping[Trick, float]] = {
    Trick.REPEATED: 0.15,
    Trick.LATE: 0.08,
    Trick.TWO_PATIENTS: 0.05,
    Trick.CUT: 0.05,
}


@dataclass
class Hostility:
    """Chooses a trick for each study, by seed, and remembers what it expects of it."""

    seed: int
    shares: Mapping[Trick, float] = field(default_factory=lambda: SHARES)
    late_s: float = 10.0
    """How long after the rest late images come."""
    chosen: dict[str, Trick] = field(default_factory=dict)
    """Study Instance UID -> its trick; senders' threads each write their own keys."""
    cut: set[str] = field(default_factory=set)
    """SOP Instance UIDs that no receiver may take."""

    def __call__(self, task: Task, made: Made) -> Sending:
        """Give what is sent of a study."""
        trick = self._trick(task.number)
        if trick is Trick.LATE and len(made.images) < 2:
            trick = Trick.REPEATED
        self.chosen[made.study_instance_uid] = trick
        images = made.images
        if trick is Trick.REPEATED:
            return Sending(made, images + images)
        if trick is Trick.LATE:
            split = max(1, len(images) * 4 // 5)
            return Sending(made, images[:split], images[split:], pause_s=self.late_s)
        if trick is Trick.TWO_PATIENTS:
            return Sending(made, (*images, _of_another(made)))
        if trick is Trick.CUT:
            spoilt = _cut(made)
            self.cut.add(spoilt.item.sop_instance_uid)
            return Sending(made, (images[0], spoilt, *images[1:]))
        return Sending(made, images)

    def _trick(self, number: int) -> Trick:
        drawn = random.Random(f"{self.seed}/{number}").random()  # noqa: S311 - no secret
        for trick, share in self.shares.items():
            if (drawn := drawn - share) < 0:
                return trick
        return Trick.PLAIN


def plain(_task: Task, made: Made) -> Sending:
    """Send a study as it should be."""
    return Sending(made, made.images)


def _one_more(made: Made, name: str) -> pydicom.FileDataset:
    """Give the last image as another instance."""
    dataset = pydicom.dcmread(made.images[-1].item.path)
    dataset.SOPInstanceUID = pydicom.uid.generate_uid(
        prefix=None, entropy_srcs=[made.study_instance_uid, name]
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _of_another(made: Made) -> Image:
    dataset = _one_more(made, "another")
    dataset.PatientID = f"{dataset.PatientID}-OTHER"
    return save(dataset, made.images[0].item.path.with_name("another.dcm"))


def _cut(made: Made) -> Image:
    path = made.images[0].item.path.with_name("cut.dcm")
    whole = save(_one_more(made, "cut"), path)
    path.write_bytes(path.read_bytes()[:-CUT_BYTES])
    return replace(whole, sha256=digest(path))


class Idlers(threading.Thread):
    """Keeps connections open that send next to nothing, and opens new ones when they are ended."""

    def __init__(self, to: Remote, count: int = IDLERS) -> None:
        super().__init__(name="idlers", daemon=True)
        self._to, self._count = to, count
        self._stop_asked = threading.Event()
        self.ended = 0
        """Connections that the receiver has ended."""

    def run(self) -> None:
        """Hold connections until told to stop."""
        held: list[socket.socket] = []
        while not self._stop_asked.wait(BYTE_EVERY_S):
            while len(held) < self._count and (one := self._open()):
                held.append(one)
            alive = [one for one in held if self._trickle(one)]
            self.ended += len(held) - len(alive)
            held = alive
        for one in held:
            one.close()

    def stop(self) -> None:
        """End it, and wait for the end."""
        self._stop_asked.set()
        if self.is_alive():
            self.join(10)

    def _open(self) -> socket.socket | None:
        try:
            one = socket.create_connection((self._to.host, self._to.port), timeout=2)
            one.sendall(ASSOCIATE_HEADER)
        except OSError:
            time.sleep(0.1)
            return None
        one.settimeout(0)
        return one

    def _trickle(self, one: socket.socket) -> bool:
        """Send a byte; False when the other side has ended the connection."""
        try:
            one.send(b"\0")
            with suppress(BlockingIOError):
                if not one.recv(64):
                    one.close()
                    return False
        except OSError:
            one.close()
            return False
        return True
