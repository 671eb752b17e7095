"""A step: a function from noun to noun, and the four facts the clock needs to run it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db import lifecycle
from db.engine import Database, is_transient
from db.lifecycle import Claim, StaleStudyError
from db.states import StudyState
from triage import log, record
from triage.errors import CodedError, Held, NotEligible, Reason, TryAgain
from triage.settings import Work

Before = TypeVar("Before")
After = TypeVar("After")


@dataclass(frozen=True, kw_only=True)
class Step(Generic[Before, After]):
    """What is done to a study that rests in ``old``."""

    name: str
    old: StudyState
    load: Callable[[Session, int], Before]
    work: Callable[[Before], After]
    save: Callable[[Session, Claim, After], None]
    """Writes the result and advances the study, in one transaction."""
    refuse: Callable[[Session, Claim, Reason, Before], None]
    """Writes what NotEligible means here, and advances."""

    def run(self, database: Database, claim: Claim, pace: Work) -> None:
        """Load, work, save: all of it is written, or none of it is.

        No transaction is open while ``work`` runs. Running twice is harmless: the second save
        finds the fence moved and its rows are rolled back.
        """
        try:
            self._run(database, claim)
        except StaleStudyError:
            log.get().info("step.stale", step=self.name, study=claim.study_id)
        except TryAgain as why:
            self._later(database, claim, pace, str(why))
        except Held as why:
            self._stop(database, claim, StudyState.HELD, why.reason)
        except CodedError as why:
            self._stop(database, claim, StudyState.FAILED, why.reason)
        except DBAPIError as why:
            self._database_error(database, claim, pace, why)
        except Exception as why:  # noqa: BLE001 - the only broad except in the product
            # Only the class: an exception's text may quote a data set.
            where = f"{type(why).__name__} in {self.name}"
            log.get().error("step.failed", step=self.name, study=claim.study_id, error=where)
            self._stop(database, claim, StudyState.FAILED, Reason("internal", where))

    def _run(self, database: Database, claim: Claim) -> None:
        with database.reading() as session:
            before = self.load(session, claim.study_id)
        try:
            after = self.work(before)
        except NotEligible as why:
            with database.begin() as session:
                self.refuse(session, claim, why.reason, before)
            return
        with database.begin() as session:
            self.save(session, claim, after)

    def _database_error(
        self, database: Database, claim: Claim, pace: Work, why: DBAPIError
    ) -> None:
        """Wait out a database that is busy or restarting; its lease covers one that is away."""
        name = type(why).__name__
        log.get().warning("database.error", step=self.name, study=claim.study_id, why=name)
        with suppress(DBAPIError):
            if is_transient(why):
                self._later(database, claim, pace, f"the database was away ({name})")
            else:
                reason = Reason("internal", f"{name} in {self.name}")
                self._stop(database, claim, StudyState.FAILED, reason)

    def _later(self, database: Database, claim: Claim, pace: Work, why: str) -> None:
        try:
            with database.begin() as session:
                later(session, claim, pace, why)
        except StaleStudyError:
            log.get().info("step.stale", step=self.name, study=claim.study_id)

    def _stop(self, database: Database, claim: Claim, new: StudyState, reason: Reason) -> None:
        try:
            with database.begin() as session:
                record.save_stop(session, claim, new, reason)
        except StaleStudyError:
            log.get().info("step.stale", step=self.name, study=claim.study_id)


def later(session: Session, claim: Claim, pace: Work, why: str) -> None:
    """Postpone a study with a growing wait; after the last try it fails, visibly."""
    tries = lifecycle.tries(session, claim)
    if tries + 1 >= pace.max_tries:
        record.save_stop(session, claim, StudyState.FAILED, Reason("gave-up", why))
    else:
        lifecycle.postpone(session, claim, wait=backoff(tries, pace), reason=why)


def backoff(tries: int, pace: Work) -> timedelta:
    """Give the wait before the next try: doubling from the first, up to the longest."""
    return timedelta(seconds=min(pace.retry_first_s * 2 ** min(tries, 20), pace.retry_longest_s))
