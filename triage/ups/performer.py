"""We as a task performer: find work items for studies we hold, claim them, and answer for them.

The claim's row, with its Transaction UID, is written before the manager hears of it. Whoever finds
an open row, after whatever crash, goes on with the same Transaction UID: the lock is ours again.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from pydicom.dataset import Dataset
from sqlalchemy import select

from db.engine import Database
from db.tables import StudyRow
from triage import log
from triage.destinations import Common
from triage.errors import TryAgain
from triage.ups import claims
from triage.ups.answer import Answer, answer, holds, input_study
from triage.ups.claims import Held, Stage
from triage.ups.client import Manager
from triage.ups.words import NotDone, State, Status
from triage.workflow import Performer as Settings

SETTLED: Final = {State.COMPLETED: Stage.COMPLETED, State.CANCELED: Stage.CANCELED}
LONGEST_DOUBLING: Final = 10


class Performer:
    """Works on the items of some managers for one database."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        managers: Sequence[Manager],
        destinations: Mapping[str, Common],
        owner: str = claims.ACTOR,
    ) -> None:
        self._database = database
        self._settings = settings
        self._managers = {one.name: one for one in managers}
        self._destinations = destinations
        self._owner = owner

    def look(self) -> int:
        """Write claims on waiting items for studies that are here; gives how many."""
        return sum(self._look_at(manager) for manager in self._managers.values())

    def work(self) -> bool:
        """Go on with one claim that is due; False when none is."""
        lease = timedelta(seconds=self._settings.lease_s)
        with self._database.begin() as session:
            held = claims.take(session, list(self._managers), self._owner, lease)
        if held is None:
            return False
        try:
            self._go_on(self._managers[held.manager], held)
        except TryAgain as why:
            self._again(held, str(why))
        return True

    def close(self) -> None:
        """Close the managers' connections."""
        for manager in self._managers.values():
            manager.close()

    def _look_at(self, manager: Manager) -> int:
        try:
            offers = {str(one.SOPInstanceUID): one for one in manager.offers()}
        except (TryAgain, NotDone) as why:
            log.get().info("ups.manager-away", manager=manager.name, why=type(why).__name__)
            return 0
        with self._database.reading() as session:
            known = claims.seen(session, manager.name, offers)
        fresh = [item for uid, item in offers.items() if uid not in known]
        return sum(
            self._claim_for(manager, item) for item in fresh if _is_ours(item, manager.codes)
        )

    def _claim_for(self, manager: Manager, item: Dataset) -> bool:
        """Write the claim if the item's study is here."""
        named = input_study(item)
        with self._database.reading() as session:
            study = session.scalar(select(StudyRow).where(StudyRow.study_instance_uid == named))
            if study is None or not holds(session, study, item):
                return False
            study_id = study.id
        return claims.write(self._database, manager.name, str(item.SOPInstanceUID), study_id)

    def _go_on(self, manager: Manager, held: Held) -> None:
        if held.stage is Stage.CLAIMING and not self._claim(manager, held):
            self._settle(held, Stage.LOST, "another performer has it")
            return
        if held.stage is Stage.CLAIMING:
            with self._database.begin() as session:
                claims.hold(session, held)
            self._watch(manager, held)
            return
        with self._database.reading() as session:
            said = answer(session, held.id, self._destinations, self._settings.station_name)
        try:
            self._say(manager, held, said)
        except NotDone as why:
            self._refused(manager, held, why)

    def _claim(self, manager: Manager, held: Held) -> bool:
        """Claim the item; where the answer leaves a doubt, our lock tells whether it is ours."""
        try:
            manager.claim(held.uid, held.transaction_uid)
        except NotDone as why:
            if why.status is Status.UNKNOWN:
                return False
            return self._opens(manager, held)
        return True

    def _opens(self, manager: Manager, held: Held) -> bool:
        """Tell whether our lock opens the item: then an earlier claim of ours got through."""
        with self._database.reading() as session:
            said = answer(session, held.id, self._destinations, self._settings.station_name)
        try:
            manager.update(held.uid, held.transaction_uid, said.change)
        except NotDone:
            return False
        return True

    def _watch(self, manager: Manager, held: Held) -> None:
        """Ask to hear of a cancel request; a manager without events is worked for all the same."""
        try:
            manager.watch(held.uid)
        except (NotDone, TryAgain) as why:
            log.get().info("ups.not-watched", manager=manager.name, why=type(why).__name__)

    def _say(self, manager: Manager, held: Held, said: Answer) -> None:
        pause = timedelta(seconds=self._settings.poll_s)
        if said.told != held.told:
            manager.update(held.uid, held.transaction_uid, said.change)
        if said.state is State.IN_PROGRESS:
            with self._database.begin() as session:
                claims.later(session, held, pause, told=said.told)
            return
        manager.finish(held.uid, held.transaction_uid, said.state)
        self._settle(held, SETTLED[said.state], "" if said.state is State.COMPLETED else said.told)

    def _refused(self, manager: Manager, held: Held, why: NotDone) -> None:
        """Find out what the item has come to; it may have been finished before we crashed."""
        try:
            state = str(manager.get(held.uid).get("ProcedureStepState") or "")
        except NotDone:
            state = ""
        if state in set(SETTLED):
            self._settle(held, SETTLED[State(state)], "")
        elif why.status in {Status.WRONG_TRANSACTION, Status.UNKNOWN} or not state:
            self._settle(held, Stage.LOST, str(why))
        else:
            self._again(held, str(why))

    def _again(self, held: Held, why: str) -> None:
        doubled = self._settings.poll_s * 2 ** min(held.attempts, LONGEST_DOUBLING)
        wait = timedelta(seconds=min(doubled, self._settings.retry_longest_s))
        with self._database.begin() as session:
            claims.later(session, held, wait, why=why)

    def _settle(self, held: Held, stage: Stage, why: str) -> None:
        with self._database.begin() as session:
            claims.settle(session, held, stage, why)
        log.get().info("ups.settled", study=held.study_id, stage=stage.value)


def _is_ours(item: Dataset, wanted: frozenset[str]) -> bool:
    codes = item.get("ScheduledWorkitemCodeSequence") or ()
    asked = {str(one.get("CodeValue")) for one in codes}
    return not wanted or not wanted.isdisjoint(asked)
