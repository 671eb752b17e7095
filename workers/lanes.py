"""Lanes: one thread and one sending process a destination, so that none waits for another.

A lane takes the most urgent document due at its destination, sends it, writes down the answer,
and takes the next. Any number of processes may have a lane to the same place: rows are leased.
"""

import random
import threading
import time
from datetime import timedelta
from typing import Final, Protocol

from sqlalchemy import ColumnElement
from sqlalchemy.exc import DBAPIError

from db import outbox
from db.engine import Database
from db.lifecycle import StaleStudyError
from triage import deliver, log
from triage.destinations import Destination, Dimse
from triage.errors import Broken, InDoubt, TryAgain
from triage.record import capabilities
from triage.record import outbox as record
from triage.record.outbox import CORRUPT, Answer, Errand, Terms
from triage.settings import Settings, Work
from workers.commitments import request_commitment
from workers.counts import Counts
from workers.laments import Laments
from workers.lease import owner
from workers.notes import Notes, supersede
from workers.promises import Promises
from workers.steps import backoff

SPARE_S: Final = 60.0
"""A lease outlasts the deadline, the start of a sending process and the writing of its answer."""
LOOK_S: Final = 60.0
"""Between two looks whether a destination is to be probed."""
JITTER: Final = 0.1
"""Of a wait: destinations that failed together do not come back together."""


class Way(Protocol):
    """Something that does one thing at a time."""

    @property
    def name(self) -> str: ...  # noqa: D102 - of its thread's errors
    def step(self) -> bool: ...  # noqa: D102 - False when nothing is due


class Lane:
    """The way to one destination."""

    def __init__(self, database: Database, settings: Settings, to: Destination) -> None:
        self._database = database
        self._work = settings.site.work
        self._reject_superseded = settings.site.delivery.reject_superseded
        self._probe_every = timedelta(seconds=settings.site.delivery.probe_every_s)
        self._to = to
        self._whose = outbox.to(to.name)

    @property
    def name(self) -> str:
        """Give the destination's name."""
        return self._to.name

    def step(self) -> bool:
        """Do one thing that is due; False when there is none."""
        errand = _claim(self._database, self._whose, self._to.deadline_s)
        if errand is not None:
            answer = self._sent(errand)
            _save(self._database, errand, answer, self._terms(errand))
            if self._reject_superseded:
                supersede(self._database, errand)
            return True
        return isinstance(self._to, Dimse) and request_commitment(self._database, self._to)

    def tend(self) -> None:
        """Ask the destination what it can do, where that was long ago and nothing waits for it."""
        with self._database.reading() as session:
            if outbox.is_waiting(session, self._whose) or not capabilities.is_probe_due(
                session, self.name, self._probe_every
            ):
                return
        found = deliver.capabilities(self._to)
        with self._database.begin() as session:
            capabilities.save_capabilities(session, self.name, found)
        log.get().info("destination.probed", destination=self.name, services=len(found))

    def _sent(self, errand: Errand) -> Answer:
        if errand.corrupt:
            return Answer(refused=CORRUPT)
        try:
            receipt = deliver.deliver(errand.document, self._to, in_doubt=errand.in_doubt)
        except TryAgain as why:
            return Answer(why.status, again=str(why), in_doubt=isinstance(why, InDoubt))
        except Broken as why:
            return Answer(why.status, refused=why.reason.sentence)
        return Answer(receipt.status)

    def _terms(self, errand: Errand) -> Terms:
        wait = backoff(errand.tries, self._work)
        return Terms(
            actor=owner(),
            wait=wait * random.uniform(1 - JITTER, 1),  # noqa: S311 - no secret
            max_tries=self._work.max_tries,
            commitment=isinstance(self._to, Dimse) and self._to.commitment,
        )


class Nowhere:
    """The way of documents whose destination left the configuration: they are refused."""

    name = "nowhere"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._whose = outbox.to_none_of([one.name for one in settings.site.destinations])

    def step(self) -> bool:
        """Refuse one document; False when there is none."""
        errand = _claim(self._database, self._whose, SPARE_S)
        if errand is None:
            return False
        answer = Answer(refused=f"destination {errand.destination} is no longer configured")
        _save(self._database, errand, answer, Terms(owner(), timedelta(), 1))
        return True


class Lanes:
    """All lanes of a site."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._pace = settings.site.work
        ways = [Lane(database, settings, one) for one in settings.site.destinations]
        self._lanes: list[Way] = [
            *ways,
            Nowhere(database, settings),
            Notes(database, settings),
            Laments(database, settings),
            *(Counts(database, settings, one) for one in settings.site.completeness.sources),
            Promises(database, settings),
        ]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def drain(self) -> int:
        """Do everything that is due, one lane after the other; gives how many things."""
        count = 0
        while done := sum(lane.step() for lane in self._lanes):
            count += done
        return count

    def start(self) -> None:
        """Have each lane work in a thread of its own until ``stop``."""
        for lane in self._lanes:
            thread = threading.Thread(
                target=_drive, args=(lane, self._stop, self._pace), daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let what is under way be answered, and end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _drive(lane: Way, stop: threading.Event, pace: Work) -> None:
    name, next_look = lane.name, 0.0
    while not stop.is_set():
        try:
            done = lane.step()
            if not done and isinstance(lane, Lane) and time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK_S
                lane.tend()
        except DBAPIError as why:
            log.get().warning("database.error", lane=name, why=type(why).__name__)
            done = False
        except Exception as why:  # noqa: BLE001 - a bug must not close a lane; its text may quote a data set
            log.get().error("lane.failed", lane=name, error=type(why).__name__)
            done = False
        if not done:
            stop.wait(pace.poll_s)


def _claim(database: Database, whose: ColumnElement[bool], deadline_s: float) -> Errand | None:
    with database.reading() as session:
        if not outbox.is_due(session, whose & outbox.TO_SEND):
            return None
    lease = timedelta(seconds=deadline_s + SPARE_S)
    with database.begin() as session:
        return record.claim_errand(session, whose, owner=owner(), lease=lease)


def _save(database: Database, errand: Errand, answer: Answer, terms: Terms) -> None:
    try:
        with database.begin() as session:
            record.save_answer(session, errand, answer, terms)
    except StaleStudyError:
        log.get().info("errand.stale", outbox=errand.outbox_id)
    else:
        log.get().info(
            "errand.done", outbox=errand.outbox_id, destination=errand.destination,
            status=answer.status, again=bool(answer.again), refused=bool(answer.refused),
        )  # fmt: skip
