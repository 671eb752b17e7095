"""Failures that nobody could report when they happened: the worker that met them died."""

from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.states import StudyState
from db.tables import AuditRow, OutboxRow, StudyRow, TransitionRow
from triage.errors import REASONS, Reason
from triage.finding import Assessment, Document, Outcome
from triage.record.rows import ABOUT_REPORTS, outbox_row

BEGUN: Final = "report.of-failure"


def is_due(session: Session) -> bool:
    """Tell whether a failed study may be without a report; cheaper than trying, and no lock."""
    return session.scalar(ANY_UNREPORTED) is not None


def begin_report(session: Session, actor: str) -> tuple[int, Reason] | None:
    """Give a failed study without a report and the reason, and write down that it is begun.

    One try a failure: what killed workers may kill whoever reports it, and must not do so for ever.
    """
    study = session.scalars(_unreported().limit(1).with_for_update(skip_locked=True)).first()
    if study is None:
        return None
    code = study.reason_code if study.reason_code in REASONS else "internal"
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind=BEGUN, action="C", actor=actor, object_type="study",
        object_id=study.study_instance_uid, detail={"reason": code},
    )  # fmt: skip
    record(session, entry)
    return study.id, Reason(code or "internal", study.reason_detail or "")


def save_report_of_failure(
    session: Session,
    study_id: int,
    assessment: Assessment,
    documents: tuple[tuple[str, Document], ...],
) -> int:
    """Queue the report of a failure, unless the study moved on meanwhile; gives how many."""
    generation = assessment.study.ref.generation
    study = session.scalars(_unsent(study_id).with_for_update()).first()
    if study is None or study.generation != generation:
        return 0
    for destination, document in documents:
        session.add(outbox_row(session, study, generation, destination, document))
    session.flush()
    return len(documents)


def _unsent(study_id: int | None = None) -> Select[StudyRow]:
    """Select studies whose analysis failed and whose generation nobody was told anything of."""
    told = (
        select(OutboxRow.id)
        .where(OutboxRow.study_id == StudyRow.id, OutboxRow.generation == StudyRow.generation)
        .where(OutboxRow.kind.not_in(ABOUT_REPORTS))
        .exists()
    )
    found = (
        select(StudyRow)
        .where(StudyRow.state == StudyState.FAILED, StudyRow.outcome == Outcome.FAILED)
        .where(StudyRow.generation > 0, ~told)
        .order_by(StudyRow.id)
    )
    return found if study_id is None else found.where(StudyRow.id == study_id)


def _unreported() -> Select[StudyRow]:
    failed_at = (
        select(func.max(TransitionRow.at))
        .where(TransitionRow.study_id == StudyRow.id, TransitionRow.new == StudyState.FAILED)
        .scalar_subquery()
    )
    begun = (
        select(AuditRow.id)
        .where(AuditRow.object_id == StudyRow.study_instance_uid)
        .where(AuditRow.event_type == BEGUN, AuditRow.at >= failed_at)
        .exists()
    )
    return _unsent().where(~begun)


ANY_UNREPORTED: Final = _unreported().with_only_columns(StudyRow.id).limit(1)
