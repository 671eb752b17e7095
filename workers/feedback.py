"""Readers' words on their way out: once a reader has said no more for a while, a report is made.

The report goes through the outbox like any other; its UID comes from the words it holds, so that
two dispatchers, or one that was killed, make it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.audit import Entry, Event
from db.audit import record as note
from db.engine import Database, now
from db.feedback import FeedbackRow, latest, of_study
from db.tables import OutboxRow, StudyRow
from triage import log
from triage.errors import Broken
from triage.finding import Document
from triage.keys import site_key
from triage.outputs import feedback_report
from triage.outputs.assessed import Verdict, Word, tracked
from triage.outputs.context import Predecessor, ReportContext
from triage.outputs.feedback_report import KIND, Reader
from triage.record.rows import document_of, outbox_row
from triage.settings import Settings

LOOK_BACK: Final = timedelta(days=7)
"""Words older than this were sent, or could not be."""
REPORT: Final = "structured_report"
ACTOR: Final = "feedback"
_UNBUILT: Final[set[str]] = set()
"""Reports that cannot be built: said once, not every two seconds."""


@dataclass(frozen=True, slots=True)
class Said:
    """All that one reader said of one generation of a study."""

    study_id: int
    generation: int
    user_id: int


def queue_settled(database: Database, settings: Settings) -> int:
    """Put a report of every reader's settled words into the outbox; gives how many were made."""
    of = settings.site.feedback
    if not of.destinations:
        return 0
    with database.reading() as session:
        waiting = _settled(session, timedelta(seconds=of.settle_s))
    return sum(_queue(database, settings, said) for said in waiting)


def _settled(session: Session, pause: timedelta) -> list[Said]:
    """Give whose last word is old enough to be the last, and new enough to be news."""
    at = now(session)
    last = func.max(FeedbackRow.at)
    rows = session.execute(
        select(FeedbackRow.study_id, FeedbackRow.generation, FeedbackRow.user_id)
        .where(FeedbackRow.at >= at - LOOK_BACK)
        .group_by(FeedbackRow.study_id, FeedbackRow.generation, FeedbackRow.user_id)
        .having(last <= at - pause)
    )
    return [Said(*row) for row in rows]


def _queue(database: Database, settings: Settings, said: Said) -> bool:
    """Make the report of one reader's words unless it is there; tells whether it was made."""
    with database.reading() as session:
        rows = of_study(session, said.study_id, said.generation, said.user_id)
        report = _report(session, said)
        made = _made(session, said)
    if report is None:
        return False  # nothing of ours left about this generation: the words stay as rows
    context = _context(settings)
    reader = Reader(rows[-1].reader, rows[-1].at, rows[-1].id)
    uid = feedback_report.uid_of(context, report.sop_instance_uid, reader)
    mine = [one for one in made if _is_of(one, context, report, rows)]
    if uid in _UNBUILT or any(one.sop_instance_uid == uid for one in mine):
        return False
    words = words_of(rows, report, again=bool(mine))
    if not words:
        return False
    former = Predecessor.of(mine[-1]) if mine else None
    try:
        document = feedback_report.build(words, reader, report, context, former)
    except Broken as why:
        _UNBUILT.add(uid)
        log.get().error("feedback.not-built", study=said.study_id, why=why.reason.detail)
        return False
    return _write(database, settings, said, document)


def words_of(rows: Sequence[FeedbackRow], report: Document, *, again: bool) -> list[Word]:
    """Give the words that stand, of findings that the report holds.

    What was taken back is said only to who heard it: in a report that follows another.
    """
    known = {one.tracking_uid for one in tracked(report)}
    return [
        Word(Verdict(one.verdict), one.reason_code or "", one.tracking_uid)
        for one in latest(rows)
        if (again or one.verdict != Verdict.WITHDRAWN)
        and (one.tracking_uid in known or one.detection_id is None)
    ]


def _report(session: Session, said: Said) -> Document | None:
    row = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == said.study_id, OutboxRow.generation == said.generation)
        .where(OutboxRow.kind == REPORT, OutboxRow.purged_at.is_(None))
        .order_by(OutboxRow.id.desc())
        .limit(1)
    ).first()
    return document_of(row) if row else None


def _made(session: Session, said: Said) -> list[Document]:
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == said.study_id, OutboxRow.generation == said.generation)
        .where(OutboxRow.kind == KIND, OutboxRow.purged_at.is_(None))
        .order_by(OutboxRow.id)
    )
    return list({row.sop_instance_uid: document_of(row) for row in rows}.values())


def _is_of(
    made: Document, context: ReportContext, report: Document, rows: Sequence[FeedbackRow]
) -> bool:
    """Tell whether a reader's report is of one of these words."""
    return any(
        made.sop_instance_uid
        == feedback_report.uid_of(
            context, report.sop_instance_uid, Reader(one.reader, one.at, one.id)
        )
        for one in rows
    )


def _write(database: Database, settings: Settings, said: Said, document: Document) -> bool:
    try:
        with database.begin() as session:
            study = session.get_one(StudyRow, said.study_id)
            for name in settings.site.feedback.destinations:
                session.add(outbox_row(session, study, said.generation, name, document))
            entry = Entry(
                event=Event.EXPORT, kind="feedback.queued", action="R", actor=ACTOR,
                object_type="study", object_id=study.study_instance_uid,
                detail={"sop_instance_uid": document.sop_instance_uid},
            )  # fmt: skip
            note(session, entry)
    except IntegrityError:
        return False  # another dispatcher was first
    log.get().info("feedback.queued", study=said.study_id)
    return True


def _context(settings: Settings) -> ReportContext:
    site = settings.site
    return ReportContext(
        site_key=site_key(settings.secrets),
        reporting=site.reporting,
        mode=site.intended_use.mode,
        version=version("triage"),
        now=datetime.now(UTC),
    )
