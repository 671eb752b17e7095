"""The number of a study's instances at its source: asked by C-FIND, and when to ask again.

A source may itself be receiving: only two equal answers in a row, with nothing received between
them, are believed. Every source has a budget of questions a minute.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db import lifecycle
from db.engine import now
from db.evidence import SourceCountRow
from db.states import StudyState
from db.tables import InstanceRow, OutboxRow, StudyRow
from triage import dimse
from triage.completeness import Source
from triage.dimse import STUDY_ROOT_FIND, Remote
from triage.errors import TryAgain
from triage.settings import Completeness

AGREE: Final = 2
LONGEST_S: Final = 60.0
"""Between two questions about one study."""
PENDING: Final = frozenset((0xFF00, 0xFF01))


@dataclass(frozen=True, slots=True)
class Question:
    """A study to ask about, claimed."""

    study_id: int
    study_instance_uid: str


def claim(session: Session, source: Source) -> Question | None:
    """Take the longest due question to a source, within its budget; None where there is none."""
    at = now(session)
    mine = SourceCountRow.source == source.name
    recent = select(func.count()).where(mine, SourceCountRow.asked_at > at - timedelta(minutes=1))
    if (session.scalar(recent) or 0) >= source.max_per_minute:
        return None
    row = session.scalar(
        select(SourceCountRow)
        .where(mine, SourceCountRow.due_at <= at)
        .order_by(SourceCountRow.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return None
    study = session.get_one(StudyRow, row.study_id)
    if study.state != StudyState.RECEIVING:
        row.due_at = None
        return None
    row.asked_at = at
    row.due_at = at + timedelta(seconds=2 * source.deadline_s)  # for whoever follows if we die
    return Question(row.study_id, study.study_instance_uid)


def is_due(session: Session, source: Source) -> bool:
    """Tell whether there may be a question for a source, without a lock."""
    mine = SourceCountRow.source == source.name
    due = select(SourceCountRow.study_id).where(mine, SourceCountRow.due_at <= now(session))
    return session.scalar(due.limit(1)) is not None


def remote(source: Source) -> Remote:
    """Give the source as a peer of ours."""
    return Remote(
        source.ae_title, source.host, source.port, source.calling_ae_title, source.deadline_s,
        source.tls,
    )  # fmt: skip


def ask(question: Question, source: Source) -> int:
    """Ask a source how many instances a study has: by study, else by series, else one by one.

    Raises:
        TryAgain, Broken: as ``dimse.associate``; TryAgain also where it gives no number.
    """
    uid = question.study_instance_uid
    with dimse.associate(
        remote(source), [(STUDY_ROOT_FIND, ImplicitVRLittleEndian)]
    ) as association:
        found = _find(association, "STUDY", "NumberOfStudyRelatedInstances", StudyInstanceUID=uid)
        if not found:
            return 0
        if (number := _number(found[0], "NumberOfStudyRelatedInstances")) is not None:
            return number
        series = _find(
            association, "SERIES", "NumberOfSeriesRelatedInstances", "SeriesInstanceUID",
            StudyInstanceUID=uid,
        )  # fmt: skip
        return sum(_of_series(association, uid, one) for one in series)


def answered(
    session: Session, question: Question, answer: int | None, error: str, rules: Completeness
) -> bool:
    """Note an answer, or why there is none; tells whether it completes the study, now due."""
    study = session.scalars(
        select(StudyRow).where(StudyRow.id == question.study_id).with_for_update()
    ).one()
    row = session.get_one(SourceCountRow, question.study_id)
    at = now(session)
    if row.asked_at is not None and study.last_instance_at > row.asked_at:
        return False  # something came meanwhile, and a new question with it
    row.last_error = error or None
    if answer is None:
        row.tries += 1
        row.due_at = at + _back_off(row.tries)
        return False
    held = study.instance_count
    agrees = 0 < held <= answer <= held + ours_at_source(session, study.id)
    row.agreed = (
        row.agreed + 1 if agrees and (row.answer, row.held) == (answer, held) else int(agrees)
    )
    row.answer, row.held = answer, held
    row.tries = 0 if agrees else row.tries + 1
    wait = timedelta(seconds=rules.count_confirm_s) if agrees else _back_off(row.tries)
    row.due_at = None if row.agreed >= AGREE else at + wait
    if row.agreed < AGREE or study.state != StudyState.RECEIVING:
        return False
    lifecycle.touch(session, study, due_at=at)
    return True


def ours_at_source(session: Session, study_id: int) -> int:
    """Count the reports of ours that a source may count as well, and that are not among ours."""
    here = select(InstanceRow.sop_instance_uid).where(InstanceRow.study_id == study_id)
    counted = select(func.count(OutboxRow.sop_instance_uid.distinct())).where(
        OutboxRow.study_id == study_id,
        OutboxRow.sent_at.is_not(None),
        OutboxRow.sop_instance_uid.not_in(here),
    )
    return session.scalar(counted) or 0


def _back_off(tries: int) -> timedelta:
    return timedelta(seconds=min(2.0 ** min(tries, 10), LONGEST_S))


def _of_series(association: Association, study_uid: str, series: Dataset) -> int:
    number = _number(series, "NumberOfSeriesRelatedInstances")
    if number is not None:
        return number
    uid = str(series.get("SeriesInstanceUID", ""))
    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": uid}
    return len(_find(association, "IMAGE", "SOPInstanceUID", **keys))


def _find(association: Association, level: str, *wanted: str, **keys: str) -> list[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword in wanted:
        setattr(query, keyword, None)
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    found = []
    for status, match in association.send_c_find(query, STUDY_ROOT_FIND):
        code = status.get("Status")
        if code in PENDING and match is not None:
            found.append(match)
        elif code != dimse.SUCCESS:
            msg = "the source gave no answer to a C-FIND" if code is None else (
                f"the source did not do a C-FIND (0x{code:04X})"
            )  # fmt: skip
            raise TryAgain(msg)
    return found


def _number(found: Dataset, keyword: str) -> int | None:
    try:
        return int(found.get(keyword))
    except (TypeError, ValueError):
        return None
