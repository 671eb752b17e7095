"""What runs an installation looks at: studies by state and age, failures, queues, detectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.orm import Session

from db import outbox
from db.delivery import CapabilityRow
from db.engine import now
from db.runs import RefusalRow
from db.states import StudyState
from db.tables import AuditRow, AuditSealRow, DetectionRow, OutboxRow, StudyRow

AGES: Final[tuple[tuple[str, timedelta], ...]] = (
    ("under 15 min", timedelta(minutes=15)),
    ("under 1 h", timedelta(hours=1)),
    ("under 4 h", timedelta(hours=4)),
    ("under 1 d", timedelta(days=1)),
    ("under 7 d", timedelta(days=7)),
)
OLDER: Final = "older"
BANDS: Final = (*(name for name, _ in AGES), OLDER)
MOST: Final = 200
INTERNAL: Final = "internal"
"""Where a study that failed does not say why."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Failed studies with one reason."""

    reason: str
    count: int
    oldest: datetime | None
    """When the first of them failed."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One destination's documents."""

    destination: str
    by_state: Mapping[str, int]
    oldest: datetime | None
    """When the first that still waits was built."""
    dead: int
    """With which only a person gets further."""
    last_sent: datetime | None
    asked_at: datetime | None
    """When it was last asked what it takes."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a detector said in a time, for one stratum."""

    detector: str
    stratum: str
    studies: int
    flagged: Mapping[float, int]
    """Studies with a p-value at or below each threshold."""
    last: datetime


def by_age(session: Session) -> Mapping[StudyState, Mapping[str, int]]:
    """Count the studies of each state by the time since their first image."""
    at = now(session)
    band = case(*((StudyRow.received_at > at - limit, name) for name, limit in AGES), else_=OLDER)
    rows = session.execute(
        select(StudyRow.state, band, func.count()).group_by(StudyRow.state, band)
    ).all()
    found: dict[StudyState, dict[str, int]] = {state: {} for state in StudyState}
    for state, name, count in rows:
        found[StudyState(state)][name] = count
    return found


def failures(session: Session) -> tuple[Failure, ...]:
    """Count the failed studies by reason, the commonest first."""
    rows = session.execute(
        select(StudyRow.reason_code, func.count(), func.min(StudyRow.settled_at))
        .where(StudyRow.state == StudyState.FAILED)
        .group_by(StudyRow.reason_code)
    ).all()
    found: dict[str, Failure] = {}
    for code, count, oldest in rows:
        one = Failure(code or INTERNAL, count, oldest)
        found[one.reason] = _both(found[one.reason], one) if one.reason in found else one
    return tuple(sorted(found.values(), key=lambda one: (-one.count, one.reason)))


def failed_for(reason: str) -> ColumnElement[bool]:
    """Mean the studies that ``failures`` counts under a reason."""
    named = StudyRow.reason_code == reason
    if reason != INTERNAL:
        return named
    return or_(named, StudyRow.reason_code.is_(None), StudyRow.reason_code == "")


def _both(one: Failure, other: Failure) -> Failure:
    began = [at for at in (one.oldest, other.oldest) if at is not None]
    return Failure(one.reason, one.count + other.count, min(began, default=None))


def failed(session: Session, *, limit: int = MOST) -> tuple[StudyRow, ...]:
    """Give the latest failed studies."""
    wanted = select(StudyRow).where(StudyRow.state == StudyState.FAILED)
    return tuple(session.scalars(wanted.order_by(StudyRow.id.desc()).limit(limit)))


def queues(session: Session) -> Mapping[str, Queue]:
    """Give every destination that a document was ever written for."""
    states: dict[str, dict[str, int]] = {}
    for to, state, count in session.execute(
        select(OutboxRow.destination, OutboxRow.state, func.count()).group_by(
            OutboxRow.destination, OutboxRow.state
        )
    ):
        states.setdefault(to, {})[state] = count
    name = OutboxRow.destination
    oldest = select(name, func.min(OutboxRow.built_at)).where(OutboxRow.state == outbox.QUEUED)
    last = select(name, func.max(OutboxRow.sent_at)).where(OutboxRow.sent_at.is_not(None))
    asked = select(CapabilityRow.destination, func.max(CapabilityRow.checked_at))
    built = dict(session.execute(oldest.group_by(name)).all())
    sent = dict(session.execute(last.group_by(name)).all())
    probed = dict(session.execute(asked.group_by(CapabilityRow.destination)).all())
    return {
        one: Queue(
            one, states.get(one, {}), built.get(one),
            sum(states.get(one, {}).get(state, 0) for state in outbox.DEAD),
            sent.get(one), probed.get(one),
        )
        for one in sorted({*states, *probed})
    }  # fmt: skip


def spoken(
    session: Session, since: datetime, until: datetime, thresholds: tuple[float, ...]
) -> tuple[Spoken, ...]:
    """Give what each detector said of how many studies between two moments, by stratum."""
    flagged = [
        func.count(func.distinct(case((DetectionRow.p_value <= one, DetectionRow.study_id))))
        for one in thresholds
    ]
    rows = session.execute(
        select(
            DetectionRow.detector, DetectionRow.stratum,
            func.count(func.distinct(DetectionRow.study_id)), func.max(DetectionRow.at), *flagged,
        )
        .where(DetectionRow.at >= since, DetectionRow.at < until)
        .group_by(DetectionRow.detector, DetectionRow.stratum)
        .order_by(DetectionRow.detector, DetectionRow.stratum)
    ).all()  # fmt: skip
    return tuple(
        Spoken(row[0], row[1], row[2], dict(zip(thresholds, row[4:], strict=True)), row[3])
        for row in rows
    )


def refused(session: Session, since: datetime) -> Mapping[str, int]:
    """Count, by detector, the series that it could not speak about since a moment."""
    wanted = (
        select(RefusalRow.detector, func.count())
        .where(RefusalRow.at >= since)
        .group_by(RefusalRow.detector)
    )
    return dict(session.execute(wanted).all())


def last_artifacts(session: Session) -> Mapping[str, str]:
    """Give, by detector, the hash of the artifact that last spoke."""
    latest = select(func.max(DetectionRow.id)).group_by(DetectionRow.detector)
    rows = session.execute(
        select(DetectionRow.detector, DetectionRow.artifact_sha256).where(
            DetectionRow.id.in_(latest)
        )
    ).all()
    return dict(rows)


def leases(session: Session) -> Mapping[str, int]:
    """Count, by worker, the studies that it is at now: its lease is a heartbeat."""
    wanted = (
        select(StudyRow.leased_by, func.count())
        .where(StudyRow.leased_until > now(session))
        .group_by(StudyRow.leased_by)
    )
    return {name or "?": count for name, count in session.execute(wanted)}


def waiting(session: Session) -> Mapping[StudyState, tuple[int, datetime | None]]:
    """Give, of each state at work, how many studies are due now, and since when."""
    wanted = (
        select(StudyRow.state, func.count(), func.min(StudyRow.due_at))
        .where(StudyRow.state.in_((StudyState.RECEIVING, StudyState.READY, StudyState.ANALYSED)))
        .where(StudyRow.due_at <= now(session))
        .group_by(StudyRow.state)
    )
    return {StudyState(state): (count, since) for state, count, since in session.execute(wanted)}


def unsealed(session: Session) -> int:
    """Count the audit rows behind the newest sealed one."""
    newest = session.scalar(select(func.max(AuditSealRow.audit_id))) or 0
    rows = select(func.count()).select_from(AuditRow).where(AuditRow.id > newest)
    return session.scalar(rows) or 0
