"""Local workers: the embedded default. They poll the rows and claim exactly as Celery's do."""

import time
from collections.abc import Collection
from datetime import timedelta

from db import lifecycle
from db.engine import Database
from db.states import StudyState
from triage import log
from triage.commands import loading
from triage.settings import Settings
from triage.stopping import on_stop_signal
from workers.bench import Bench
from workers.lanes import Lanes
from workers.lease import held, owner
from workers.refusals import Refusals
from workers.tasks import QUEUES, SENDING, steps


class Worker:
    """Runs the steps of some queues, one study at a time."""

    def __init__(self, database: Database, settings: Settings, queues: Collection[str]) -> None:
        self._database = database
        self._pace = settings.site.work
        self.bench = Bench(settings)
        self._steps = steps(settings, self.bench)
        self._states = [state for state, queue in QUEUES.items() if queue in queues]
        self._queues = queues
        self._refusals = Refusals(database)
        self.lanes = Lanes(database, settings) if SENDING & set(queues) else None

    def warm(self) -> None:
        """Load what the queues need before the first study."""
        self.bench.warm(self._queues)
        self._refusals.tell(self.bench.refused)

    def run(self, study_id: int) -> bool:
        """Claim one study and run its step; False when there is nothing to claim."""
        with self._database.begin() as session:
            claim = lifecycle.claim(
                session,
                study_id,
                self._states,
                owner=owner(),
                lease=timedelta(seconds=self._pace.lease_s),
                max_attempts=self._pace.max_attempts,
            )
        if claim is None:
            return False
        started = time.monotonic()
        with held(self._database, claim, self._pace):
            self._steps[claim.state].run(self._database, claim, self._pace)
        self._refusals.tell(self.bench.refused)
        log.get().info(
            "step.done",
            study=study_id,
            step=self._steps[claim.state].name,
            ms=round((time.monotonic() - started) * 1000),
        )
        return True

    def run_first(self, study_id: int) -> bool:
        """Run what is due first, which need not be the study whose turn it is.

        A broker's line is first come, first served; each of its messages is for one step.
        """
        first = self.due(limit=1)
        return self.run(first[0][0] if first else study_id)

    def due(self, limit: int = 8) -> list[tuple[int, StudyState]]:
        """Give what waits for this worker's queues."""
        with self._database.reading() as session:
            return lifecycle.due(
                session, self._states, limit=limit, max_attempts=self._pace.max_attempts
            )

    def drain(self) -> int:
        """Run everything due now, and send it; gives how many steps ran."""
        count = 0
        while True:
            ran = sum(self.run(study_id) for study_id, _ in self.due())
            sent = self.lanes.drain() if self.lanes else 0
            if not ran + sent:
                return count
            count += ran


def serve(database: Database, settings: Settings, queues: Collection[str]) -> None:
    """Work until SIGTERM; the step in hand is finished first."""
    stopping = on_stop_signal()
    worker = Worker(database, settings, queues)
    worker.warm()
    if worker.lanes:
        worker.lanes.start()
    loading.settle()
    log.get().info("worker.ready", queues=sorted(queues))
    try:
        while not stopping():
            waiting = worker.due(limit=1)
            if not (waiting and worker.run(waiting[0][0])):
                stopping.wait(settings.site.work.poll_s)
    finally:
        if worker.lanes:
            worker.lanes.stop()
        worker.bench.close()
