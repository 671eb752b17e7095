"""One study's prior, from the question to the last instance.

We look among what we hold, then ask each source; the newest comparable study of all is fetched,
and where it turns out to be somebody else's, the next. Nothing of the road waits for it.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from db.engine import Database
from db.priors import PriorRow
from db.tables import StudyRow
from triage import log
from triage.errors import Broken, TryAgain
from triage.passed_over import PassedOver
from triage.prior_sources import Comparable, PriorSource
from triage.priors import asking, budget, keep
from triage.priors.arrivals import take_arrivals
from triage.priors.budget import NotNow
from triage.priors.choose import Older, Present, Series, comparable
from triage.priors.taking import Taker
from triage.settings import Settings
from triage.spool import Spool

OURS: Final = 500
"""Of our own rows of the patient, how many are looked at."""
A_FEW: Final = 4
"""Arrivals that are indexed between two looks at the budget."""
NO_ROOM: Final = "the disk is nearly full"
UNKNOWN, NONE, HERE, KEPT, REFUSED = "unknown-patient", "none", "here", "kept", "refused"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An older study that compares, and which of its series do."""

    older: Older
    series: tuple[Series, ...] = ()
    source: PriorSource | None = None


@dataclass(slots=True)
class Search:
    """The search for one study."""

    database: Database
    settings: Settings
    spool: Spool
    present: Present
    troubles: list[str] = field(default_factory=list)
    """Sources that could not be asked: the search is not over then."""
    passed: PassedOver = field(default_factory=lambda: PassedOver(actor=keep.ACTOR))
    """What waits and could not be read: its pauses are the lane's."""

    def run(self) -> str:
        """Look, choose, fetch; gives what was found in one word.

        Raises:
            TryAgain: a source is away, busy, or not to be asked now. What came is kept.
        """
        priors = self.settings.site.priors
        rule = self.present.rule(priors)
        patient = self.present.patient
        known = patient.patient_id and (patient.birth_date or not priors.require_birth_date)
        if not known or rule is None or not self.present.study_date.isdecimal():
            return UNKNOWN if rule is not None else NONE
        found = REFUSED
        for _ in range(priors.candidates):
            if found != REFUSED:
                break
            asked = [one for source in priors.sources for one in self._ask(source, rule)]
            candidates = (*self._own(rule), *asked)
            found = self._first(sorted(candidates, key=lambda c: c.older.when, reverse=True))
        if found in {NONE, REFUSED} and self.troubles:
            raise TryAgain("; ".join(self.troubles))
        return found

    def _first(self, candidates: Sequence[Candidate]) -> str:
        """Take the first that turns out to be what it says."""
        found = NONE
        for one in candidates:
            if one.source is None:
                self._note_here(one.older)
                return HERE
            found = self._fetch(one.source, one)
            if found == KEPT:
                return found
        return found

    def _own(self, rule: Comparable) -> list[Candidate]:
        """Give our own studies of the patient that compare."""
        me, priors = self.present.patient, self.settings.site.priors
        asked = (
            select(StudyRow)
            .where(StudyRow.patient_id == me.patient_id, StudyRow.id != self.present.study_id)
            .order_by(StudyRow.study_date.desc())
            .limit(OURS)
        )
        with self.database.reading() as session:
            rows = list(session.scalars(asked))
        found = []
        for row in rows:
            older = Older(
                row.study_instance_uid, row.study_date, row.study_time, keep.patient(row),
                row.study_description,
            )  # fmt: skip
            one = Series("", row.modality, row.body_part, row.study_description)
            is_other = me.doubt(older.patient, birth_date=priors.require_birth_date)
            if is_other or not self.present.is_newer_than(older, priors):
                continue
            if comparable(self.present, rule, older, [one]):
                found.append(Candidate(older))
        return found

    def _ask(self, source: PriorSource, rule: Comparable) -> list[Candidate]:
        """Give a source's newest study that compares, at most one; a trouble is remembered."""
        priors = self.settings.site.priors
        try:
            self._spend(source, "find")
            answers = asking.find_studies(source, self.present, self.present.date_range(priors))
            same = [one for one in answers if self._is_same(one, source)]
            with self.database.begin() as session:
                keep.audit_query(session, self.present, source, len(same))
            same.sort(key=lambda one: one.when, reverse=True)
            for older in same[: priors.candidates]:
                self._spend(source, "find")
                series = comparable(self.present, rule, older, asking.find_series(source, older))
                count = sum(one.instance_count for one in series)
                if series and count <= priors.max_instances and not self._was_refused(older):
                    return [Candidate(older, tuple(series), source)]
        except (TryAgain, NotNow, Broken, ValueError) as why:
            self._trouble(source, why)
        return []

    def _is_same(self, older: Older, source: PriorSource) -> bool:
        """Sort out what is surely not the patient's: what an answer leaves open, a file tells."""
        me, priors = self.present.patient.of(source.issuer_of_patient_id), self.settings.site.priors
        theirs = older.patient
        return (
            theirs.patient_id == me.patient_id
            and theirs.issuer in {"", me.issuer}
            and theirs.birth_date in {"", me.birth_date}
            and self.present.is_newer_than(older, priors)
        )

    def _fetch(self, source: PriorSource, one: Candidate) -> str:
        until = time.monotonic() + source.budget.deadline_s
        with self.database.begin() as session:
            prior_id = keep.begin(session, self.present, one.older, source, one.series)
            left = budget.bytes_left(session, source)
        taker = Taker(
            self.database, self.settings, self.spool, source, self.present, one.older, prior_id,
            left,
        )  # fmt: skip
        missing, reason, trouble = 0, "", None
        try:
            for series in one.series:
                missing += self._fetch_series(taker, series, until - time.monotonic())
                if taker.doubt or taker.full or self._is_refused(prior_id):
                    break
        except (TryAgain, NotNow, Broken) as why:
            reason, trouble = _reason(why), why
        if taker.full:  # whether or not the source heeded it, and whatever it said in the end
            reason = taker.full
            trouble = budget.no_bytes(source) if reason == "budget" else TryAgain(NO_ROOM)
        if trouble and not taker.doubt:
            self._trouble(source, trouble)
        return self._settle(prior_id, taker, missing, reason)

    def _fetch_series(self, taker: Taker, series: Series, left_s: float) -> int:
        """Fetch one series; gives how many instances did not come."""
        source, before = taker.source, taker.size_bytes
        if source.method == "move":
            self._check_fits(source, series)
        request = self._spend(source, source.method)
        title = self.settings.site.listener.prior_ae_title
        try:
            if source.method == "get":
                return asking.get(source, taker.older, series, taker, left_s)
            if title is None:
                detail = "site.yaml: listener.prior_ae_title is needed for C-MOVE"
                raise Broken(code="refused", detail=detail)
            return self._move(taker, series, title, left_s)
        finally:
            with self.database.begin() as session:
                budget.note(session, request, taker.size_bytes - before)

    def _check_fits(self, source: PriorSource, series: Series) -> None:
        """Hold what a source announces against its budget: by C-MOVE, nothing can be declined.

        Raises:
            NotNow: it is likely to be more than the bytes that are left.
        """
        with self.database.reading() as session:
            likely = budget.likely_bytes(session, self.present.study_id, series.instance_count)
            if likely > budget.bytes_left(session, source):
                raise budget.no_bytes(source)

    def _move(self, taker: Taker, series: Series, title: str, left_s: float) -> int:
        """Have a series sent to our listener, and stop it when the budget of bytes is full.

        What it brings is counted as it is indexed, also what comes after the source has ended.
        """

        def is_over() -> bool:
            with suppress(SQLAlchemyError, OSError):  # asked again in a moment
                while not taker.full and self._take(A_FEW):
                    with self.database.reading() as session:
                        if budget.bytes_left(session, taker.source) < 0:
                            taker.full = "budget"
            return bool(taker.full)

        try:
            missing = asking.move(taker.source, taker.older, series, title, left_s, is_over)
        finally:
            while self._take():  # all that the listener received so far
                pass
        if not missing:
            taker.full = ""  # all of it was under way before it could be stopped
        return missing

    def _take(self, limit: int = 500) -> int:
        """Index some of what the listener received so far; gives how many instances."""
        return take_arrivals(self.database, self.settings, limit, passed=self.passed)

    def _settle(self, prior_id: int, taker: Taker, missing: int, reason: str) -> str:
        with self.database.begin() as session:
            row = session.get_one(PriorRow, prior_id)
            if taker.doubt:
                keep.refuse(session, self.settings.spool, prior_id, taker.doubt)
            elif row.state != REFUSED:
                keep.finish(session, prior_id, missing, reason=reason)
            state, count = row.state, row.instance_count
        log.get().info("prior.fetched", study=self.present.study_id, state=state, instances=count)
        if state == REFUSED:
            return REFUSED
        return KEPT if count and not reason else NONE

    def _note_here(self, older: Older) -> None:
        with self.database.begin() as session:
            uid = StudyRow.study_instance_uid == older.study_instance_uid
            keep.note_here(session, self.present, older, session.scalars(
                select(StudyRow).where(uid)).one())  # fmt: skip

    def _spend(self, source: PriorSource, kind: str) -> int:
        with self.database.begin() as session:
            return budget.spend(session, source, kind)

    def _was_refused(self, older: Older) -> bool:
        with self.database.reading() as session:
            rows = keep.of_study(session, self.present.study_id)
        uids = {row.study_instance_uid for row in rows if row.state == REFUSED}
        return older.study_instance_uid in uids

    def _is_refused(self, prior_id: int) -> bool:
        with self.database.reading() as session:
            return session.get_one(PriorRow, prior_id).state == REFUSED

    def _trouble(self, source: PriorSource, why: Exception) -> None:
        said = str(why) if not isinstance(why, ValueError) else "the study has no usable date"
        self.troubles.append(said)
        log.get().info("prior.trouble", source=source.name, why=type(why).__name__)


def _reason(why: TryAgain | NotNow | Broken) -> str:
    """Give what a prior that was begun is "partial" for."""
    if isinstance(why, NotNow):
        return why.reason
    return "refused" if isinstance(why, Broken) else "away"
