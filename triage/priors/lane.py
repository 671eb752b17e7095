"""The lane of priors: a process of its own beside the road, which waits for none of it."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db.engine import Database, now
from db.priors import PriorSearchRow
from db.states import StudyState
from db.tables import StudyRow
from db.upsert import insert_once
from triage import log
from triage.errors import TryAgain
from triage.passed_over import PassedOver
from triage.priors import keep
from triage.priors.arrivals import take_arrivals
from triage.priors.search import Search
from triage.settings import Settings
from triage.spool import Spool

COMPLETE: Final = (StudyState.READY, StudyState.ANALYSED, StudyState.DELIVERED)
"""From here on a study's content is known, and its analysis waits for nothing of ours."""
FRESH: Final = timedelta(days=1)
"""Older arrivals had their chance: nobody wants ten years of priors on the first day."""
LEASE: Final = timedelta(minutes=30)
LONGEST_S: Final = 3_600.0
BATCH: Final = 50
CLEAN_S: Final = 600.0
Stopping = Callable[[], bool]


def work(settings: Settings, database: Database, owner: str, stopping: Stopping) -> None:
    """Find and fetch priors until told to stop."""
    lane = Lane(settings, database, owner)
    log.get().info("priors.ready", sources=len(settings.site.priors.sources))
    next_clean = 0.0
    while not stopping():
        try:
            done = lane.look() + lane.take() + lane.step()
            if time.monotonic() >= next_clean:
                next_clean = time.monotonic() + CLEAN_S
                lane.clean()
        except (SQLAlchemyError, OSError) as why:
            log.get().warning("priors.away", why=type(why).__name__)
            done = 0
        if not done:
            time.sleep(settings.site.priors.poll_s)


class Lane:
    """Takes one study after the other."""

    def __init__(self, settings: Settings, database: Database, owner: str) -> None:
        self._settings = settings
        self._priors = settings.site.priors
        self._database = database
        self._spool = Spool(settings.spool, settings.readers)
        self._owner = owner
        self._passed = PassedOver(actor=keep.ACTOR)

    def look(self) -> int:
        """Write down the studies that became complete since; gives how many."""
        if not self._priors.sources:
            return 0
        with self._database.begin() as session:
            known = select(PriorSearchRow.study_id)
            asked = (
                select(StudyRow.id)
                .where(StudyRow.state.in_(COMPLETE), StudyRow.id.not_in(known))
                .where(StudyRow.received_at > now(session) - FRESH)
                .order_by(StudyRow.id.desc())
                .limit(BATCH)
            )
            found = list(session.scalars(asked))
            for study_id in found:
                want(session, study_id)
        return len(found)

    def take(self) -> int:
        """Settle what came by C-MOVE and waits; gives how many files.

        One that cannot be read now is left alone for a while.

        Raises:
            SQLAlchemyError: the database is away.
            OSError: the spool is away, the disk full, or no more files can be opened.
        """
        return take_arrivals(self._database, self._settings, passed=self._passed)

    def step(self) -> int:
        """Search for one study that is due; gives 1, or 0 when none is."""
        study_id = self._claim()
        if study_id is None:
            return 0
        self.search(study_id)
        return 1

    def search(self, study_id: int) -> str:
        """Search for one study, and write down what came of it; gives that in a word."""
        with self._database.reading() as session:
            present = keep.load(session, study_id)
        try:
            search = Search(
                self._database, self._settings, self._spool, present, passed=self._passed
            )
            found, detail = search.run(), ""
        except TryAgain as why:
            found, detail = "", str(why)
        except SQLAlchemyError:
            raise
        except Exception as why:  # noqa: BLE001 - a bug must not close the lane; its text may quote a data set
            log.get().error("priors.bug", error=type(why).__name__)
            found, detail = "", "internal error"
        with self._database.begin() as session:
            self._note(session, study_id, found, detail)
        return found or detail

    def clean(self) -> int:
        """Let go of priors that were kept long enough; gives how many."""
        with self._database.begin() as session:
            before = now(session) - timedelta(days=self._priors.keep_days)
            return keep.forget(session, self._settings.spool, before)

    def _claim(self) -> int | None:
        with self._database.begin() as session:
            at = now(session)
            row = session.scalar(
                select(PriorSearchRow)
                .where(PriorSearchRow.state == "due", PriorSearchRow.due_at <= at)
                .where(or_(PriorSearchRow.leased_until.is_(None), PriorSearchRow.leased_until < at))
                .order_by(PriorSearchRow.due_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if row is None:
                return None
            row.leased_until, row.leased_by = at + LEASE, self._owner
            return row.study_id

    def _note(self, session: Session, study_id: int, found: str, detail: str) -> None:
        row, at = session.get_one(PriorSearchRow, study_id), now(session)
        row.leased_until = row.leased_by = None
        row.detail = detail
        if found:
            row.state, row.found, row.finished_at = "done", found, at
            return
        row.tries += 1
        if row.tries >= self._priors.max_tries:
            row.state, row.finished_at = "given-up", at
        wait = min(self._priors.retry_s * 2 ** min(row.tries - 1, 16), LONGEST_S)
        row.due_at = at + timedelta(seconds=wait)


def want(session: Session, study_id: int) -> None:
    """Have a study's prior looked for, now, whatever was found before."""
    at = now(session)
    first = {"study_id": study_id, "state": "due", "found": "", "due_at": at, "tries": 0,
             "detail": ""}  # fmt: skip
    insert_once(session, PriorSearchRow, first)
    row = session.get_one(PriorSearchRow, study_id)
    row.state, row.found, row.due_at, row.tries, row.detail = "due", "", at, 0, ""
    row.finished_at = None
