"""The rows of priors: begun, filled, finished, refused as a whole, forgotten. All audited."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.audit import SERIOUS, SUCCESS, Entry, Event, record
from db.engine import now
from db.priors import PriorInstanceRow, PriorRow
from db.tables import StudyRow
from triage.prior_sources import PriorSource
from triage.priors.choose import Older, Patient, Present, Series
from triage.priors.place import prior_path

ACTOR: Final = "priors"
OPEN: Final = ("fetching", "complete", "partial", "refused")
GRACE: Final = timedelta(minutes=5)
"""An instance that is sent by C-MOVE may come after the source said that it is done."""


@dataclass(frozen=True, slots=True)
class Came:
    """One instance of a prior that rests in its place."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    sha256: str
    size_bytes: int


def load(session: Session, study_id: int) -> Present:
    """Give the study at hand."""
    row = session.get_one(StudyRow, study_id)
    return Present(
        study_id=row.id, study_instance_uid=row.study_instance_uid, study_date=row.study_date,
        study_time=row.study_time, modality=row.modality, body_part=row.body_part,
        description=row.study_description, patient=patient(row),
    )  # fmt: skip


def patient(row: StudyRow) -> Patient:
    """Give whom one of our own studies names."""
    return Patient(row.patient_id, row.issuer_of_patient_id, row.patient_birth_date)


def begin(session: Session, present: Present, older: Older, source: PriorSource,
          series: Iterable[Series]) -> int:  # fmt: skip
    """Write down what is about to be fetched, before it can come; gives its number."""
    ones, at = list(series), now(session)
    row = _row(session, present, older)
    row.source, row.source_ae_title, row.method = source.name, source.ae_title, source.method
    row.state, row.reason_code, row.finished_at = "fetching", "", None
    row.modality = "\\".join(sorted({one.modality for one in ones}))
    row.body_part = next((one.body_part for one in ones if one.body_part), "")
    row.expected_count = sum(one.instance_count for one in ones)
    row.asked_at = at
    row.open_until = at + timedelta(seconds=source.budget.deadline_s) + GRACE
    session.flush()
    return row.id


def note_here(session: Session, present: Present, older: Older, row: StudyRow) -> None:
    """Write down that we hold the prior ourselves: nothing is fetched."""
    prior = _row(session, present, older)
    prior.state, prior.finished_at = "here", now(session)
    prior.modality, prior.body_part = row.modality, row.body_part
    prior.instance_count = row.instance_count


def add(session: Session, prior_id: int, came: Came) -> bool:
    """Write down one instance; False when it was there already."""
    known = select(PriorInstanceRow.id).where(
        PriorInstanceRow.prior_id == prior_id,
        PriorInstanceRow.sop_instance_uid == came.sop_instance_uid,
    )
    if session.scalar(known) is not None:
        return False
    session.add(
        PriorInstanceRow(
            prior_id=prior_id, sop_instance_uid=came.sop_instance_uid,
            sop_class_uid=came.sop_class_uid, series_instance_uid=came.series_instance_uid,
            transfer_syntax_uid=came.transfer_syntax_uid, modality=came.modality,
            sha256=came.sha256, size_bytes=came.size_bytes, received_at=now(session),
        )
    )  # fmt: skip
    row = session.get_one(PriorRow, prior_id)
    row.instance_count += 1
    row.size_bytes += came.size_bytes
    session.flush()
    return True


def finish(session: Session, prior_id: int, missing: int, *, reason: str = "") -> str:
    """Say how a fetch ended; gives the state."""
    row = session.get_one(PriorRow, prior_id)
    is_whole = not missing and not reason and row.instance_count >= max(row.expected_count, 1)
    row.state = "complete" if is_whole else "partial"
    row.reason_code, row.finished_at = reason, now(session)
    detail = {
        "prior": row.study_instance_uid, "source": row.source, "method": row.method,
        "instances": row.instance_count, "expected": row.expected_count, "bytes": row.size_bytes,
        "state": row.state,
    }  # fmt: skip
    _audit(session, row, Event.INSTANCES_TRANSFERRED, "prior.retrieved", detail)
    return row.state


def refuse(session: Session, root: Path, prior_id: int, reason: str) -> None:
    """Discard a prior as a whole: somebody else's, or in doubt. Its row stays and says so."""
    row = session.get_one(PriorRow, prior_id)
    row.state, row.reason_code, row.finished_at = "refused", reason, now(session)
    count = _let_go(session, root, row)
    detail = {
        "prior": row.study_instance_uid, "source": row.source, "reason": reason, "instances": count,
    }  # fmt: skip
    _audit(session, row, Event.SECURITY_ALERT, "prior.refused", detail)


def forget(session: Session, root: Path, before: datetime) -> int:
    """Let the files of priors go that were fetched before a moment; gives how many priors."""
    old = select(PriorRow).where(
        PriorRow.state.in_(("complete", "partial")), PriorRow.finished_at < before
    )
    rows = session.scalars(old.limit(100)).all()
    for row in rows:
        row.state = "forgotten"
        count = _let_go(session, root, row)
        detail = {"prior": row.study_instance_uid, "instances": count}
        _audit(session, row, Event.STUDY_DELETED, "prior.forgotten", detail)
    return len(rows)


def expected(
    session: Session, study_instance_uid: str, ae_title: str, at: datetime
) -> PriorRow | None:
    """Give the prior that this sender was asked to send, if its time was not over ``at`` then.

    It may have been refused meanwhile.
    """
    return session.scalar(
        select(PriorRow)
        .where(PriorRow.study_instance_uid == study_instance_uid)
        .where(PriorRow.source_ae_title == ae_title, PriorRow.method == "move")
        .where(PriorRow.state.in_(OPEN), PriorRow.open_until > at)
        .order_by(PriorRow.id.desc())
        .limit(1)
    )


def of_study(session: Session, study_id: int) -> tuple[PriorRow, ...]:
    """Give the priors of a study, latest first."""
    found = select(PriorRow).where(PriorRow.study_id == study_id)
    return tuple(session.scalars(found.order_by(PriorRow.study_date.desc(), PriorRow.id)))


def audit_query(session: Session, present: Present, source: PriorSource, count: int) -> None:
    """Note that a source was asked about a patient; never whom by name."""
    entry = Entry(
        event=Event.QUERY, kind="prior.asked", outcome=SUCCESS, actor=ACTOR,
        ae_title=source.ae_title, object_type="study", object_id=present.study_instance_uid,
        detail={"source": source.name, "candidates": count},
    )  # fmt: skip
    record(session, entry)


def _row(session: Session, present: Present, older: Older) -> PriorRow:
    """Give the row of a prior, made if it is new."""
    row = session.scalar(
        select(PriorRow).where(
            PriorRow.study_id == present.study_id,
            PriorRow.study_instance_uid == older.study_instance_uid,
        )
    )
    if row is not None:
        return row
    at = now(session)
    row = PriorRow(
        study_id=present.study_id, study_instance_uid=older.study_instance_uid, source="",
        source_ae_title="", method="", state="fetching", reason_code="",
        study_date=older.study_date, modality="", body_part="",
        study_description=older.description, expected_count=0, instance_count=0, size_bytes=0,
        asked_at=at, open_until=at,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def _let_go(session: Session, root: Path, row: PriorRow) -> int:
    """Remove a prior's instances, and the files that no other prior holds."""
    mine = select(PriorInstanceRow.sha256).where(PriorInstanceRow.prior_id == row.id)
    contents = set(session.scalars(mine))
    session.execute(delete(PriorInstanceRow).where(PriorInstanceRow.prior_id == row.id))
    others = select(PriorInstanceRow.sha256).where(PriorInstanceRow.sha256.in_(contents))
    for sha256 in contents - set(session.scalars(others)):
        prior_path(root, sha256).unlink(missing_ok=True)
    count = row.instance_count
    row.instance_count = row.size_bytes = 0
    session.flush()
    return count


def held_bytes(session: Session) -> int:
    """Give how much the priors of all studies take."""
    return int(session.scalar(select(func.sum(PriorRow.size_bytes))) or 0)


def _audit(
    session: Session, row: PriorRow, event: Event, kind: str, detail: dict[str, Any]
) -> None:
    study = session.get_one(StudyRow, row.study_id)
    entry = Entry(
        event=event, kind=kind, action="D" if event == Event.STUDY_DELETED else "C",
        outcome=SERIOUS if event == Event.SECURITY_ALERT else SUCCESS, actor=ACTOR,
        ae_title=row.source_ae_title, object_type="study", object_id=study.study_instance_uid,
        detail=detail,
    )  # fmt: skip
    record(session, entry)
