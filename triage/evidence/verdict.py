"""Is this study complete, and what says so? Asked whenever a study is due to be assembled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from db import conflicts, lifecycle, purged
from db.engine import now
from db.evidence import (
    AnnouncedInstanceRow,
    AnnouncedStudyRow,
    AnnouncementRow,
    ClosingRow,
    SeriesArrivalRow,
    SourceCountRow,
)
from db.lifecycle import Claim
from db.tables import InstanceRow, StudyRow
from triage.completeness import Expected
from triage.evidence import announcements, counts, pace
from triage.evidence.announcements import IAN, IN_PROGRESS, MPPS
from triage.evidence.arrivals import DELETED, INCOMPLETE
from triage.settings import Completeness

NOT_IMAGES: Final = frozenset(
    {"SR", "PR", "KO", "DOC", "SEG", "REG", "FID", "RWV", "PLAN", "RTSTRUCT", "RTPLAN", "RTRECORD",
     "RTDOSE", "AU", "SMR"}
)  # fmt: skip
"""Modalities of what announcements often leave out and no study waits for."""
WAIT: Final = "wait"
SHORT: Final = "short"
TIMEOUT: Final = "timeout"
LOOK_S: Final = 5.0
"""Between two looks at a study that is known to be incomplete."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and by which evidence."""

    kind: str
    """mpps, ian, count, series, quiet or timeout close the study; wait and short do not."""
    sentence: str
    held: int
    expected: int | None = None
    wait_s: float = 0.0
    code: str = INCOMPLETE
    """Why a study that is short is held."""

    @property
    def is_complete(self) -> bool:
        """Tell whether the study is closed by it."""
        return self.kind not in {WAIT, SHORT}


@dataclass(frozen=True, slots=True)
class _Case:
    """A study that is due, and what is announced of it."""

    session: Session
    study: StudyRow
    rules: Completeness
    announced: tuple[AnnouncementRow, ...]
    silence_s: float
    """Since the last instance."""


def judge(session: Session, study_id: int, rules: Completeness) -> Verdict:
    """Weigh all evidence on a study that is due, the strongest first."""
    study = session.get_one(StudyRow, study_id)
    case = _Case(
        session, study, rules, announcements.of_study(session, study.study_instance_uid),
        (now(session) - study.last_instance_at).total_seconds(),
    )  # fmt: skip
    found = _weighed(case)
    return _without_deleted(case, found) if found.is_complete else found


def _weighed(case: _Case) -> Verdict:
    """Judge by what arrived, whether it is still here or not."""
    is_open = any(one.state == IN_PROGRESS for one in case.announced)
    if not is_open and (found := _listed(case, MPPS) or _listed(case, IAN) or _counted(case)):
        return found
    if is_open and case.silence_s < case.rules.in_progress_at_most_s:
        left = case.rules.in_progress_at_most_s - case.silence_s
        return _wait(case, "a performed step is still in progress", left)
    short = _short(case)
    if short is not None:
        return _bear(case, short)
    if is_open:
        sentence = f"a performed step did not end in {case.rules.in_progress_at_most_s:g} s"
        return Verdict(TIMEOUT, sentence, case.study.instance_count)
    return _by_silence(case)


def _without_deleted(case: _Case, found: Verdict) -> Verdict:
    """Bear with a complete study of which retention deleted something, as with one that is short.

    One of which nothing is here is never closed: there is nothing to analyse.
    """
    deleted = purged.of_study(case.session, case.study.id)
    if not deleted.gone:
        return found
    everything = deleted.gone + deleted.here
    sentence = f"{deleted.gone} of {everything} instances were deleted here"
    if found.kind == TIMEOUT:
        sentence = f"{found.sentence}; {sentence}"
    return _bear(case, Verdict(SHORT, sentence, deleted.here, everything, code=DELETED))


def closed(
    session: Session, study_id: int, generation: int, verdict: Verdict, rules: Completeness
) -> None:
    """Keep the evidence on which a generation was closed, and learn its station's pace."""
    study = session.get_one(StudyRow, study_id)
    session.add(
        ClosingRow(
            study_id=study_id, generation=generation, kind=verdict.kind,
            sentence=verdict.sentence, expected=verdict.expected, held=verdict.held,
            last_instance_at=study.last_instance_at, closed_at=now(session),
        )
    )  # fmt: skip
    pace.learn(session, rules, study_id)


def unfinished(session: Session, claim: Claim, verdict: Verdict) -> None:
    """Give a study back that is not complete, or hold it where it will not become so by itself.

    Raises:
        StaleStudyError: the study is no longer this claim's.
    """
    if verdict.kind == WAIT:
        lifecycle.wait(session, claim, wait=timedelta(seconds=verdict.wait_s))
        return
    study = lifecycle.hold(session, claim)
    sentence = verdict.sentence
    conflicts.hold(session, study, verdict.code, sentence, actor=claim.owner)


def _listed(case: _Case, kind: str) -> Verdict | None:
    """Close by announcements that list everything, and all of it is here."""
    mine = [one for one in case.announced if one.kind == kind]
    listed = _distinct(case, mine)
    if not listed or _missing(case) or _unlisted(case):
        return None
    who = "performed step" if kind == MPPS else "availability notification"
    count = f"{len(mine)} {who}{'s' if len(mine) > 1 else ''}"
    sentence = f"{kind.upper()}: {count}, {listed} of {listed} instances are here"
    return Verdict(kind, sentence, case.study.instance_count, listed)


def _counted(case: _Case) -> Verdict | None:
    """Close by the source's own count, where it was the same twice and nothing came between."""
    row = case.session.get(SourceCountRow, case.study.id)
    if row is None or row.agreed < counts.AGREE or row.held != case.study.instance_count:
        return None
    sentence = f"count: {row.source} has {row.answer} instances, as are here"
    return Verdict("count", sentence, case.study.instance_count, row.answer)


def _by_silence(case: _Case) -> Verdict:
    rule = _rule(case)
    if rule is not None:
        sentence = f"expected series are here, {_quiet(case)}"
        return Verdict("series", sentence, case.study.instance_count)
    return Verdict("quiet", str(_quiet(case)), case.study.instance_count)


def _quiet(case: _Case) -> pace.Quiet:
    usual = pace.of_study(case.session, case.rules, case.study.id)
    rule = _rule(case)
    return pace.Quiet(rule.quiet_s) if rule is not None and rule.quiet_s else usual


def _short(case: _Case) -> Verdict | None:
    """Give what says that something is missing, and how much of it there should be."""
    held = case.study.instance_count
    listed = _distinct(case, case.announced)
    if (missing := _missing(case)) and listed:
        sentence = f"{max(listed - missing, 0)} of {listed} received"
        return Verdict(SHORT, sentence, held, listed)
    row = case.session.get(SourceCountRow, case.study.id)
    if row is not None and row.answer is not None and row.answer > held:
        ours = counts.ours_at_source(case.session, case.study.id)
        if row.answer > held + ours:
            return Verdict(SHORT, f"{held} of {row.answer} received", held, row.answer)
    rule = _rule(case, met=False)
    if rule is not None:
        return _unmet(case, rule)
    return None


def _bear(case: _Case, short: Verdict) -> Verdict:
    """Wait for what is missing; at last hold the study, or take it as it is."""
    left = case.rules.incomplete_after_s - case.silence_s
    if left > 0:
        return _wait(case, short.sentence, left)
    if not short.held:
        return short
    if conflicts.is_released(case.session, case.study, short.code, short.sentence):
        why = "because a person let it go on"
    elif case.rules.incomplete == "analyse":
        why = f"after {case.rules.incomplete_after_s:g} s"
    else:
        return short
    return replace(short, kind=TIMEOUT, sentence=f"{short.sentence}, taken as it is {why}")


def _wait(case: _Case, sentence: str, left_s: float) -> Verdict:
    wait_s = min(max(left_s, 0.1), LOOK_S)
    return Verdict(WAIT, sentence, case.study.instance_count, wait_s=wait_s)


def _distinct(case: _Case, announced: Sequence[AnnouncementRow]) -> int:
    """Count what some announcements list, once each."""
    if not announced:
        return 0
    counted = select(func.count(AnnouncedInstanceRow.sop_instance_uid.distinct())).where(
        AnnouncedInstanceRow.announcement_id.in_([one.id for one in announced])
    )
    return case.session.scalar(counted) or 0


def _missing(case: _Case) -> int:
    """Count what some announcement lists and is not here, once each."""
    ids = [one.id for one in case.announced]
    here = exists().where(InstanceRow.sop_instance_uid == AnnouncedInstanceRow.sop_instance_uid)
    counted = select(func.count(AnnouncedInstanceRow.sop_instance_uid.distinct())).where(
        AnnouncedInstanceRow.announcement_id.in_(ids), ~here
    )
    return case.session.scalar(counted) or 0 if ids else 0


def _unlisted(case: _Case) -> bool:
    """Tell whether images came of a series that no announcement knows: another station's."""
    known = (
        select(AnnouncedInstanceRow.series_instance_uid)
        .join(
            AnnouncedStudyRow,
            AnnouncedStudyRow.announcement_id == AnnouncedInstanceRow.announcement_id,
        )
        .where(AnnouncedStudyRow.study_instance_uid == case.study.study_instance_uid)
    )
    stray = select(SeriesArrivalRow.id).where(
        SeriesArrivalRow.study_id == case.study.id,
        SeriesArrivalRow.modality.not_in(NOT_IMAGES),
        SeriesArrivalRow.series_instance_uid.not_in(known),
    )
    return case.session.scalar(stray.limit(1)) is not None


def _series(case: _Case) -> list[SeriesArrivalRow]:
    mine = SeriesArrivalRow.study_id == case.study.id
    images = SeriesArrivalRow.modality.not_in(NOT_IMAGES)
    return list(case.session.scalars(select(SeriesArrivalRow).where(mine, images)))


def _rule(case: _Case, *, met: bool = True) -> Expected | None:
    """Give the first rule that fits the study and is met, or is not."""
    if not case.rules.expected:
        return None
    series = _series(case)
    fitting = ((rule, _fitting(rule, series)) for rule in case.rules.expected)
    return next((rule for rule, its in fitting if its and _is_met(rule, its) == met), None)


def _fitting(rule: Expected, series: Sequence[SeriesArrivalRow]) -> list[SeriesArrivalRow]:
    """Give the series that a rule speaks of; others of the study neither meet nor fail it."""
    return [
        one
        for one in series
        if (not rule.modality or one.modality in rule.modality)
        and (not rule.body_part or one.body_part in rule.body_part)
    ]


def _is_met(rule: Expected, series: Sequence[SeriesArrivalRow]) -> bool:
    return (
        len(series) >= rule.min_series
        and sum(one.instances for one in series) >= rule.min_images
        and all(any(word in one.description for one in series) for word in rule.descriptions)
    )


def _unmet(case: _Case, rule: Expected) -> Verdict:
    series = _fitting(rule, _series(case))
    held = sum(one.instances for one in series)
    if held < rule.min_images:
        sentence = f"{held} of at least {rule.min_images} received"
        return Verdict(SHORT, sentence, case.study.instance_count, rule.min_images)
    if len(series) < rule.min_series:
        sentence = f"{len(series)} of at least {rule.min_series} series received"
        return Verdict(SHORT, sentence, case.study.instance_count)
    lacking = [
        word for word in rule.descriptions if not any(word in one.description for one in series)
    ]
    sentence = f"no series {' and none '.join(lacking)} received"
    return Verdict(SHORT, sentence, case.study.instance_count)
