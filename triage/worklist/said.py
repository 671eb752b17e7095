"""What readers say of findings, as rows: a word, another word, a word taken back; never an edit.

Nothing here touches a score, a priority or a place on the list.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import queries
from db.audit import Entry, Event, record
from db.engine import now
from db.feedback import OF_THE_STUDY, FeedbackRow, latest, of_study
from db.queries import Detail
from db.tables import DecisionRow, DetectionRow, OutboxRow, StudyRow
from triage.finding import Document
from triage.outputs.assessed import (
    OF_A_FINDING,
    REASONS,
    Verdict,
    tracked,
    tracking_uid,
)
from triage.worklist.sessions import Viewer

REPORT = "structured_report"
DECISIVE = "decisive"


@dataclass(frozen=True, slots=True)
class Finding:
    """One detector's word on the current generation, and what this reader said of it."""

    detection: DetectionRow
    said: FeedbackRow | None
    decisive: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """The reader's own words for the page; nobody else's, so that each judges alone."""

    findings: tuple[Finding, ...]
    of_study: FeedbackRow | None
    can_undo: bool


class NotSaid(Exception):
    """The word fits no finding of the study, or is none of ours."""


def panel(session: Session, detail: Detail, who: Viewer) -> Panel:
    """Give the reader's own last words on the study's current generation."""
    words = _last(session, detail.study, who)
    decisive = detail.decisive
    return Panel(
        findings=tuple(
            Finding(one, words.get(str(one.id)), decisive is not None and one.id == decisive.id)
            for one in detail.detections
            if one.generation == detail.study.generation
        ),
        of_study=words.get(OF_THE_STUDY),
        can_undo=bool(words),
    )


def decisive_at(session: Session, study: StudyRow, seen: str) -> str:
    """Give the number of the finding that a list which was made at ``seen`` called decisive.

    Raises:
        NotSaid: there is none, or another decision has been taken since.
    """
    of_now = (DecisionRow.study_id == study.id, DecisionRow.generation == study.generation)
    decision = session.scalars(select(DecisionRow).where(*of_now)).first()
    made = select(DetectionRow).where(DetectionRow.study_id == study.id)
    finding = queries.decisive(study, session.scalars(made).all())
    if decision is None or finding is None or not _is_before(decision.at, seen):
        raise NotSaid(DECISIVE)
    return str(finding.id)


def _is_before(decided: datetime, seen: str) -> bool:
    try:
        return decided <= datetime.fromisoformat(seen)
    except (ValueError, TypeError):  # no moment, or one without a zone
        return False


def say(
    session: Session, study: StudyRow, who: Viewer, said: tuple[str, str, str], *, mode: str
) -> FeedbackRow | None:
    """Write a reader's word, audited; None when it is what the reader said already.

    ``said`` is the verdict, the reason's code or "", and the detection's number or "".

    Raises:
        NotSaid: there is no such verdict, reason or finding.
    """
    verdict, reason, finding = said
    if verdict not in (OF_A_FINDING if finding else (Verdict.MISSED,)):
        raise NotSaid(verdict)
    if reason and reason not in REASONS:
        raise NotSaid(reason)
    detection = _detection(session, study, finding) if finding else None
    subject = str(detection.id) if detection else OF_THE_STUDY
    former = _former(session, study, who, subject)
    if former and (former.verdict, former.reason_code or "") == (verdict, reason):
        return None
    row = _row(session, study, who, former)
    row.subject, row.verdict, row.reason_code, row.mode = subject, verdict, reason or None, mode
    _point(session, study, row, detection)
    return _write(session, study, who, row)


def undo(
    session: Session, study: StudyRow, who: Viewer, *, mode: str, finding: str = ""
) -> FeedbackRow | None:
    """Take the reader's last word on this generation back; None when there is none to take.

    With ``finding``, a detection's number, only the word on that one.

    Raises:
        NotSaid: there is no such finding.
    """
    words = list(_last(session, study, who).values())
    if finding:
        subject = str(_detection(session, study, finding).id)
        words = [one for one in words if one.subject == subject]
    former = max(words, key=lambda one: one.id, default=None)
    if former is None:
        return None
    row = _row(session, study, who, former)
    row.subject, row.verdict, row.mode = former.subject, Verdict.WITHDRAWN, mode
    row.detection_id, row.detector = former.detection_id, former.detector
    row.tracking_uid = former.tracking_uid
    row.report_sop_instance_uid = former.report_sop_instance_uid
    return _write(session, study, who, row)


def _last(session: Session, study: StudyRow, who: Viewer) -> dict[str, FeedbackRow]:
    """Give the reader's standing words, by subject."""
    words = of_study(session, study.id, study.generation, who.user_id)
    return {one.subject: one for one in latest(words) if one.verdict != Verdict.WITHDRAWN}


def _former(session: Session, study: StudyRow, who: Viewer, subject: str) -> FeedbackRow | None:
    words = of_study(session, study.id, study.generation, who.user_id)
    return next((one for one in reversed(words) if one.subject == subject), None)


def _detection(session: Session, study: StudyRow, finding: str) -> DetectionRow:
    number = int(finding) if finding.isdecimal() and len(finding) < 10 else 0
    row = session.get(DetectionRow, number)
    if row is None or (row.study_id, row.generation) != (study.id, study.generation):
        raise NotSaid(finding)
    return row


def _row(session: Session, study: StudyRow, who: Viewer, former: FeedbackRow | None) -> FeedbackRow:
    return FeedbackRow(
        study_id=study.id,
        generation=study.generation,
        number=former.number + 1 if former else 1,
        user_id=who.user_id,
        reader=who.name,
        reader_role=who.role,
        outcome=study.outcome,
        state=study.state,
        at=now(session),
    )


def _point(
    session: Session, study: StudyRow, row: FeedbackRow, detection: DetectionRow | None
) -> None:
    """Name the finding as the report that left, or will leave, names it."""
    report = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study.id, OutboxRow.generation == study.generation)
        .where(OutboxRow.kind == REPORT)
        .order_by(OutboxRow.id.desc())
        .limit(1)
    ).first()
    row.report_sop_instance_uid = report.sop_instance_uid if report else ""
    if detection is None:
        return
    row.detection_id, row.detector = detection.id, detection.detector
    if report is not None and report.purged_at is None:
        document = Document(report.kind, report.sop_class_uid, "", report.content)
        found = tracked(document)
        row.tracking_uid = tracking_uid(found, detection.detector, detection.series_instance_uid)


def _write(session: Session, study: StudyRow, who: Viewer, row: FeedbackRow) -> FeedbackRow:
    session.add(row)
    session.flush()
    withdrawn = row.verdict == Verdict.WITHDRAWN
    entry = Entry(
        event=Event.PROCEDURE_RECORD,
        kind="feedback.withdrawn" if withdrawn else "feedback.given",
        action="C",
        actor=who.name,
        actor_role=who.role,
        network_address=who.address,
        object_type="study",
        object_id=study.study_instance_uid,
        detail={
            "verdict": row.verdict, "reason": row.reason_code, "generation": row.generation,
            "tracking_uid": row.tracking_uid, "feedback": row.id, "mode": row.mode,
        },
    )  # fmt: skip
    record(session, entry)
    return row
