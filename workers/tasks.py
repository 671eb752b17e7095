"""The whole order of the product: assemble, analyse, deliver."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy.orm import Session

from db.lifecycle import Claim
from db.states import StudyState
from triage import evidence, record
from triage.assemble import plan, read
from triage.decide import decide, failed, not_analysed, warnings
from triage.errors import Broken, CodedError, NotEligible, Reason, TryAgain
from triage.evidence import Verdict
from triage.finding import Assessment, Document, Outcome, Refusal
from triage.report import Accepted
from triage.settings import Completeness, Settings
from triage.study import Study, StudyRef
from workers.bench import Bench
from workers.steps import Step

QUEUES: Final = {
    StudyState.RECEIVING: "cpu",
    StudyState.READY: "gpu",
    StudyState.ANALYSED: "out",
}
"""Which queue serves which state."""
SENDING: Final = frozenset({"out"})
"""Queues of the lanes, which lease documents themselves: no broker carries them."""


@dataclass(frozen=True, slots=True)
class Due:
    """A study due, with the documents that its report would supersede, and what PACS take."""

    ref: StudyRef
    former: tuple[Document, ...] = ()
    accepted: Accepted = field(default_factory=dict)
    verdict: Verdict | None = None
    """Of a study that is still open: whether it is complete, and what says so."""


@dataclass(frozen=True, slots=True)
class Analysed:
    """A finished assessment and its documents, each with its destination's name."""

    assessment: Assessment
    documents: tuple[tuple[str, Document], ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """A study that is complete; assessed already where there was nothing to analyse."""

    due: Due
    analysed: Analysed | None = None


def steps(settings: Settings, bench: Bench) -> dict[StudyState, Step[Any, Any]]:
    """Give the step for each working state, in the order of the road."""
    road: tuple[Step[Any, Any], ...] = (
        assembling(settings, bench),
        analysing(settings, bench),
        delivering(),
    )
    return {step.old: step for step in road}


def assembling(settings: Settings, bench: Bench) -> Step[Due, Closed | Verdict]:
    """Close a generation that is complete by evidence, if a route takes the study."""
    rules = settings.site.completeness

    def load(session: Session, study_id: int) -> Due:
        verdict = evidence.judge(session, study_id, rules)
        ref = _arrived(session, study_id, verdict, settings)
        return Due(ref, accepted=record.load_accepted(session), verdict=verdict)

    def work(due: Due) -> Closed | Verdict:
        if due.verdict is not None and not due.verdict.is_complete:
            return due.verdict
        study = read(due.ref)
        try:
            plan(study, settings.routes, settings.recipes)
        except NotEligible as why:
            return Closed(due, _reported(bench, study, why, due))
        return Closed(due)

    def save(session: Session, claim: Claim, after: Closed | Verdict) -> None:
        if isinstance(after, Verdict):
            evidence.unfinished(session, claim, after)
            return
        _keep_evidence(session, claim, after.due, rules)
        if after.analysed is None:
            record.save_generation(session, claim, after.due.ref)
        else:
            record.close_generation(session, claim, after.due.ref)
            _save_analysed(settings)(session, claim, after.analysed)

    return Step(
        name="assemble",
        old=StudyState.RECEIVING,
        load=load,
        work=work,
        save=save,
        refuse=_refuse(settings, lambda due: due.ref),
    )


def analysing(settings: Settings, bench: Bench) -> Step[Due, Analysed]:
    """Preprocess, detect, decide and report one closed generation."""

    def load(session: Session, study_id: int) -> Due:
        return Due(
            record.load_generation(session, study_id, settings.spool),
            record.load_former_reports(session, study_id),
            record.load_accepted(session),
        )

    def work(due: Due) -> Analysed:
        study = read(due.ref)
        try:
            assessment = assess(study, settings, bench)
        except NotEligible as why:
            return _reported(bench, study, why, due)
        except Broken as why:
            return _lamented(bench, study, why, due)
        return _with_documents(bench, assessment, due)

    return Step(
        name="analyse",
        old=StudyState.READY,
        load=load,
        work=work,
        save=_save_analysed(settings),
        refuse=_refuse(settings, lambda due: due.ref),
    )


def assess(study: Study, settings: Settings, bench: Bench) -> Assessment:
    """Run every detector that the routes name, and decide.

    Raises:
        NotEligible: no detector could speak about any series of the study.
    """
    detections, refusals, refused = [], [], []
    for selection in plan(study, settings.routes, settings.recipes):
        for name in selection.route.detectors:
            try:
                detections.append(bench.detect(study, selection.series, name))
            except NotEligible as why:
                refused.append(why)
                series = selection.series.series_instance_uid
                refusals.append(Refusal(name, series, why.reason))
    if not detections:
        raise refused[0]
    return Assessment(
        study,
        tuple(detections),
        decide(detections, settings.policy),
        tuple(refusals),
        warnings=warnings(detections, settings.policy),
    )


def delivering() -> Step[None, None]:
    """Look whether a study's documents have arrived; the lanes send them, each on its own."""

    def save(session: Session, claim: Claim, _after: None) -> None:
        record.watch_delivery(session, claim)

    def refuse(_session: Session, _claim: Claim, reason: Reason, _before: None) -> None:
        raise Broken(reason.code, reason.detail)

    return Step(
        name="deliver",
        old=StudyState.ANALYSED,
        load=lambda _session, _study_id: None,
        work=lambda _before: None,
        save=save,
        refuse=refuse,
    )


def _reported(bench: Bench, study: Study, why: NotEligible, due: Due) -> Analysed:
    """Turn "not eligible" into a report of that, where the site wants one; else raise it."""
    if not bench.reports_not_analysed:
        raise why
    try:
        return _with_documents(bench, Assessment(study, (), not_analysed(why.reason)), due)
    except CodedError:
        raise why from None  # no report can be built of it: the reason itself still stands


def _lamented(bench: Bench, study: Study, why: Broken, due: Due) -> Analysed:
    """Turn a failure into a report of that, where the site wants one; else raise it."""
    if not bench.reports_failed:
        raise why
    try:
        return _with_documents(bench, Assessment(study, (), failed(why.reason)), due)
    except (CodedError, TryAgain):
        raise why from None


def _with_documents(bench: Bench, assessment: Assessment, due: Due) -> Analysed:
    documents = bench.report(assessment, due.former, accepted=due.accepted)
    return Analysed(assessment, documents)


def _save_analysed(settings: Settings) -> Callable[[Session, Claim, Analysed], None]:
    mode = settings.site.intended_use.mode

    def save(session: Session, claim: Claim, after: Analysed) -> None:
        if after.assessment.decision.outcome == Outcome.FAILED:
            record.save_failed(session, claim, after.assessment, after.documents)
            return
        record.save_assessment(session, claim, after.assessment, after.documents, mode=mode)

    return save


def _arrived(session: Session, study_id: int, verdict: Verdict, settings: Settings) -> StudyRef:
    """Give what is here of a complete study; of another one nothing is read yet."""
    if not verdict.is_complete:
        return StudyRef(study_id, "", 0, verdict.sentence, ())
    arrived = record.load_arrivals(session, study_id, settings.spool)
    return replace(arrived, evidence=verdict.sentence)


def _keep_evidence(session: Session, claim: Claim, due: Due, rules: Completeness) -> None:
    """Keep what closed a generation, in the transaction that closes it."""
    if due.verdict is not None:
        evidence.closed(session, claim.study_id, due.ref.generation, due.verdict, rules)


def _refuse(
    settings: Settings, ref_of: Callable[[Any], StudyRef]
) -> Callable[[Session, Claim, Reason, Any], None]:
    mode = settings.site.intended_use.mode

    def refuse(session: Session, claim: Claim, reason: Reason, before: Any) -> None:  # noqa: ANN401 - whatever the step loaded
        ref = ref_of(before)
        if isinstance(before, Due):
            _keep_evidence(session, claim, before, settings.site.completeness)
        record.save_not_analysed(session, claim, ref, not_analysed(reason), mode=mode)

    return refuse
