"""Deleting the documents that were sent, of studies whose images are gone and whose time is over.

Digest, identifiers and what became of each stay; the bytes, which name the patient, go.
"""

from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, select, update
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.custody import CustodyRow
from db.delivery import WithdrawalRow
from db.engine import Database, now
from db.feedback import FeedbackRow
from db.outbox import QUEUED
from db.purged import AT_REST
from db.tables import InstanceRow, OutboxRow, StudyRow
from triage.record.purge import may_lose
from triage.retention import Retention

PAGE: Final = 200
NEWS: Final = timedelta(days=1)
"""Feedback this young may still be made a report, which is written from the study's own."""


def purge_documents(database: Database, rules: Retention, *, actor: str) -> int:
    """Delete the bytes of documents that are due; gives how many studies they were of."""
    count, after = 0, 0
    while page := _due(database, rules, after):
        for study_id in page:
            with database.begin() as session:
                count += _purge(session, study_id, rules, actor)
        after = page[-1]
    return count


def count_due(database: Database, rules: Retention) -> int:
    """Give of how many studies ``purge_documents`` would delete documents now."""
    count, after = 0, 0
    while page := _due(database, rules, after):
        with database.reading() as session:
            rows = session.scalars(select(StudyRow).where(StudyRow.id.in_(page)))
            count += sum(bool(may_lose(session, row, rules)) for row in rows)
        after = page[-1]
    return count


def _due(database: Database, rules: Retention, after: int) -> list[int]:
    with database.reading() as session:
        if (which := _which(session, rules)) is None:
            return []
        found = select(StudyRow.id).where(which, StudyRow.id > after)
        return list(session.scalars(found.order_by(StudyRow.id).limit(PAGE)))


def _which(session: Session, rules: Retention) -> ColumnElement[bool] | None:
    """Mean studies at rest for long enough, without images, with documents and none to send."""
    if rules.documents_days is None:
        return None
    at = now(session)
    theirs = OutboxRow.study_id == StudyRow.id
    has_image = (
        exists()
        .where(InstanceRow.study_id == StudyRow.id, CustodyRow.instance_id == InstanceRow.id)
        .where(CustodyRow.purged_at.is_(None))
    )
    return and_(
        StudyRow.state.in_(AT_REST),
        StudyRow.settled_at < at - timedelta(days=rules.documents_days),
        exists().where(theirs, OutboxRow.purged_at.is_(None)),
        ~exists().where(theirs, OutboxRow.state == QUEUED),
        ~exists().where(
            WithdrawalRow.study_id == StudyRow.id, WithdrawalRow.note_sop_instance_uid.is_(None)
        ),
        ~exists().where(FeedbackRow.study_id == StudyRow.id, FeedbackRow.at > at - NEWS),
        ~has_image,
    )


def _purge(session: Session, study_id: int, rules: Retention, actor: str) -> bool:
    """Delete one study's documents if they still may be; tells whether."""
    row = session.scalar(select(StudyRow).where(StudyRow.id == study_id).with_for_update())
    which = _which(session, rules)
    if row is None or which is None:
        return False
    is_due = session.scalar(select(func.count()).where(StudyRow.id == study_id, which))
    if not is_due or not may_lose(session, row, rules):
        return False
    left = (OutboxRow.study_id == study_id) & OutboxRow.purged_at.is_(None)
    gone = session.scalar(select(func.count()).select_from(OutboxRow).where(left))
    session.execute(update(OutboxRow).where(left).values(content=b"", purged_at=now(session)))
    entry = Entry(
        event=Event.STUDY_DELETED, kind="documents.purged", action="D", actor=actor,
        object_type="study", object_id=row.study_instance_uid, detail={"documents": gone},
    )  # fmt: skip
    record(session, entry)
    return True
