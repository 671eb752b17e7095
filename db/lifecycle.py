"""The only writer of a study's state: claim, renew, advance, postpone, reopen, bury.

A claim is a lease (by the database's clock) plus a fence number that grows with every claim and
every arrival. Results are written in the transaction of ``advance``, which moves nothing unless
state and fence are still the claim's: a stale worker's rows roll back and nobody is alarmed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import CursorResult, Update, bindparam, or_, select, update
from sqlalchemy.orm import Session

from db.engine import now
from db.evidence import UrgencyRow
from db.states import ARROWS, FINAL, StudyState
from db.tables import StudyRow, TransitionRow

REOPENS: Final = frozenset(old for old, new in ARROWS if new == StudyState.RECEIVING) - {
    StudyState.HELD
}
"""States a late instance reopens."""


WAITING: Final = (
    select(StudyRow.id, StudyRow.state, StudyRow.priority, StudyRow.due_at)
    .where(StudyRow.state.in_(bindparam("states", expanding=True)))
    .where(StudyRow.due_at <= bindparam("at"))
    .where(or_(StudyRow.leased_until.is_(None), StudyRow.leased_until <= bindparam("at")))
    .where(StudyRow.attempts < bindparam("max_attempts"))
    .order_by(StudyRow.priority.desc(), StudyRow.due_at)
    .limit(bindparam("most"))
)
"""Made once: every worker asks several times a second."""
URGENT: Final = WAITING.add_columns(UrgencyRow.head_start_s).join(
    UrgencyRow, UrgencyRow.study_id == StudyRow.id
)


class StaleStudyError(Exception):
    """The study moved on under us; someone else has it. Nothing to do, nothing to fix."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on one study in one state."""

    study_id: int
    state: StudyState
    fence: int
    owner: str


def claim(
    session: Session,
    study_id: int,
    states: Collection[StudyState],
    *,
    owner: str,
    lease: timedelta,
    max_attempts: int,
) -> Claim | None:
    """Lease the study if it rests in one of ``states``, is due and is free; else None."""
    at = now(session)
    row = session.scalar(
        select(StudyRow)
        .where(StudyRow.id == study_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None or row.state not in states or row.due_at > at or row.attempts >= max_attempts:
        return None
    if row.leased_until is not None and row.leased_until > at:
        return None
    row.leased_until = at + lease
    row.leased_by = owner
    row.fence += 1
    row.attempts += 1
    session.flush()
    return Claim(study_id, StudyState(row.state), row.fence, owner)


def due(
    session: Session, states: Collection[StudyState], *, limit: int, max_attempts: int
) -> list[tuple[int, StudyState]]:
    """Give the studies waiting to be claimed, urgent first, then the longest due.

    An urgent study has a head start over the others and no more: one that has waited for longer
    than that goes before it.
    """
    given = {
        "states": list(states), "at": now(session), "max_attempts": max_attempts, "most": limit,
    }  # fmt: skip
    found = {row.id: row for row in session.execute(WAITING, given)}
    if not found:
        return []
    starts: dict[int, int] = {}
    for row in session.execute(URGENT, given):
        found[row.id], starts[row.id] = row, row.head_start_s
    first = sorted(
        found.values(),
        key=lambda row: (-row.priority, row.due_at - timedelta(seconds=starts.get(row.id, 0))),
    )
    return [(row.id, StudyState(row.state)) for row in first[:limit]]


def renew(session: Session, held: Claim, lease: timedelta) -> bool:
    """Extend the lease; False when the study is no longer ours."""
    return _touch(session, _mine(held).values(leased_until=now(session) + lease))


def still_held(session: Session, held: Claim) -> bool:
    """Tell whether the claim's fence is still the study's."""
    fence = session.scalar(
        select(StudyRow.fence).where(StudyRow.id == held.study_id, StudyRow.state == held.state)
    )
    return fence == held.fence


def hold(session: Session, held: Claim) -> StudyRow:
    """Lock a claimed study before its result is written, and give its row.

    A stale worker that wrote first would meet the rows of the one who overtook it.

    Raises:
        StaleStudyError: the study is no longer this claim's.
    """
    row = session.scalar(
        select(StudyRow)
        .where(StudyRow.id == held.study_id, StudyRow.state == held.state)
        .where(StudyRow.fence == held.fence)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise StaleStudyError(held.study_id)
    return row


def advance(session: Session, held: Claim, new: StudyState, *, reason: str) -> None:
    """Move a claimed study along one arrow, in the transaction that writes its result.

    Raises:
        StaleStudyError: the study is no longer this claim's; the caller's rows must roll back.
        ValueError: there is no such arrow.
    """
    _check(held.state, new)
    at = now(session)
    _note(session, held.study_id, (held.state, new), reason=reason, actor=held.owner)
    if not _touch(session, _mine(held).values(**_arrived(new, at, at))):
        raise StaleStudyError(held.study_id)


def tries(session: Session, held: Claim) -> int:
    """Give how often this step has said "try again" since it began."""
    row = session.get_one(StudyRow, held.study_id)
    return row.tries


def postpone(session: Session, held: Claim, *, wait: timedelta, reason: str) -> None:
    """Give a claimed study back for later, same state.

    Raises:
        StaleStudyError: the study is no longer this claim's.
    """
    given_back = {
        "due_at": now(session) + wait,
        "leased_until": None,
        "leased_by": None,
        "published_at": None,
        "attempts": 0,
        "tries": StudyRow.tries + 1,
    }
    if not _touch(session, _mine(held).values(**given_back)):
        raise StaleStudyError(held.study_id)
    _note(session, held.study_id, (held.state, held.state), reason=reason, actor=held.owner)


def wait(session: Session, held: Claim, *, wait: timedelta) -> None:
    """Give a claimed study back for later, same state: others are working for it.

    Raises:
        StaleStudyError: the study is no longer this claim's.
    """
    given_back = {
        "due_at": now(session) + wait,
        "leased_until": None,
        "leased_by": None,
        "published_at": None,
        "attempts": 0,
    }
    if not _touch(session, _mine(held).values(**given_back)):
        raise StaleStudyError(held.study_id)


def release(session: Session, held: Claim) -> None:
    """Give a claimed study back at once, as if it had not been claimed (a shutdown)."""
    _touch(
        session,
        _mine(held).values(
            leased_until=None, leased_by=None, published_at=None, attempts=StudyRow.attempts - 1
        ),
    )


def move(
    session: Session, row: StudyRow, new: StudyState, *, reason: str, actor: str, due_at: datetime
) -> None:
    """Move a study that nobody needs to have claimed: an arrival, a person, the reconciler.

    The fence grows, so a worker at it discards its result.

    Raises:
        StaleStudyError: the study changed since ``row`` was read; a caller who locked it is safe.
        ValueError: there is no such arrow.
    """
    old, fence = StudyState(row.state), row.fence
    _check(old, new)
    at = now(session)
    _note(session, row.id, (old, new), reason=reason, actor=actor)
    here = _at(row.id, old, fence)
    if not _touch(session, here.values(**_arrived(new, at, due_at), fence=fence + 1)):
        raise StaleStudyError(row.id)
    session.refresh(row)


def touch(session: Session, row: StudyRow, *, due_at: datetime) -> None:
    """Note a further arrival: due later, and whoever is assembling it must start again."""
    row.due_at = due_at
    row.leased_until = row.leased_by = row.published_at = None
    row.fence += 1
    row.attempts = 0
    session.flush()


def abandon(session: Session, owners: Collection[str]) -> int:
    """End the leases of workers known to be dead; gives how many studies became free."""
    freed = session.execute(
        update(StudyRow)
        .where(StudyRow.leased_by.in_(owners), StudyRow.state.not_in(FINAL))
        .values(leased_until=None, leased_by=None, published_at=None)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(freed, CursorResult)  # noqa: S101 - an UPDATE always gives one
    return freed.rowcount


def lease_owners(session: Session) -> list[str]:
    """Give everyone who holds a lease."""
    owners = select(StudyRow.leased_by).where(StudyRow.leased_by.is_not(None)).distinct()
    return [owner for owner in session.scalars(owners) if owner is not None]


def publishable(
    session: Session,
    *,
    after: timedelta,
    limit: int,
    max_attempts: int,
    besides: Collection[StudyState] = (),
) -> list[tuple[int, StudyState]]:
    """Mark and give the due studies that were not published lately, for a broker to carry.

    States ``besides`` are not a broker's.
    """
    at = now(session)
    rows = session.scalars(
        select(StudyRow)
        .where(StudyRow.state.not_in({*FINAL, *besides}), StudyRow.due_at <= at)
        .where(or_(StudyRow.leased_until.is_(None), StudyRow.leased_until <= at))
        .where(or_(StudyRow.published_at.is_(None), StudyRow.published_at <= at - after))
        .where(StudyRow.attempts < max_attempts)
        .order_by(StudyRow.priority.desc(), StudyRow.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        row.published_at = at
    return [(row.id, StudyState(row.state)) for row in rows]


def unpublish(session: Session, study_ids: Collection[int]) -> None:
    """Take back "published": the broker did not take the message."""
    session.execute(
        update(StudyRow)
        .where(StudyRow.id.in_(study_ids))
        .values(published_at=None)
        .execution_options(synchronize_session=False)
    )


def bury(session: Session, *, max_attempts: int, limit: int = 100) -> list[int]:
    """Fail the studies whose last allowed attempt crashed; gives their ids."""
    at = now(session)
    rows = session.scalars(
        select(StudyRow)
        .where(StudyRow.state.not_in(FINAL), StudyRow.attempts >= max_attempts)
        .where(or_(StudyRow.leased_until.is_(None), StudyRow.leased_until <= at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        old, detail = row.state, f"{row.attempts} attempts came to nothing"
        row.reason_code, row.reason_detail = "crashed", detail
        if old != StudyState.ANALYSED:  # a failed delivery leaves the finding as it is
            row.outcome, row.sentence = "failed", f"Failed. {detail}."
        reason = f"crashed: {detail} in state {old}"
        move(session, row, StudyState.FAILED, reason=reason, actor="reconciler", due_at=at)
    return [row.id for row in rows]


def failed_from(session: Session, study_id: int) -> StudyState:
    """Give the state in which a FAILED study failed: where a retry resumes."""
    old = session.scalar(
        select(TransitionRow.old)
        .where(TransitionRow.study_id == study_id, TransitionRow.new == StudyState.FAILED)
        .order_by(TransitionRow.id.desc())
        .limit(1)
    )
    return StudyState(old) if old is not None else StudyState.READY


def _mine(held: Claim) -> Update:
    return _at(held.study_id, held.state, held.fence)


def _at(study_id: int, state: StudyState, fence: int) -> Update:
    return update(StudyRow).where(
        StudyRow.id == study_id, StudyRow.state == state, StudyRow.fence == fence
    )


def _touch(session: Session, statement: Update) -> bool:
    """Run an update of one row; tells whether there was such a row."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)  # noqa: S101 - an UPDATE always gives one
    return result.rowcount == 1


def _check(old: StudyState, new: StudyState) -> None:
    if (old, new) not in ARROWS:
        msg = f"no arrow {old} -> {new}"
        raise ValueError(msg)


def _arrived(new: StudyState, at: datetime, due_at: datetime) -> dict[str, object]:
    return {
        "state": new,
        "due_at": due_at,
        "leased_until": None,
        "leased_by": None,
        "published_at": None,
        "attempts": 0,
        "tries": 0,
        "settled_at": at if new in FINAL else None,
    }


def _note(
    session: Session,
    study_id: int,
    arrow: tuple[StudyState, StudyState],
    *,
    reason: str,
    actor: str,
) -> None:
    """Write the transition before the state: the database refuses a state without one."""
    old, new = arrow
    session.add(
        TransitionRow(
            study_id=study_id, old=old, new=new, reason=reason, actor=actor, at=now(session)
        )
    )
    session.flush()
