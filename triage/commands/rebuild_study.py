"""One study's rows made anew from the spool, in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import lifecycle
from db.custody import CustodyRow
from db.engine import now
from db.queries import NOT_IMAGES
from db.states import StudyState
from db.tables import GenerationMemberRow, GenerationRow, InstanceRow, StudyRow
from triage import evidence
from triage.arrival import read_arrival
from triage.commands.rebuild_passed import OfOne, Passed
from triage.evidence import ended
from triage.ingest import index
from triage.record.generations import ClosedGeneration, noted
from triage.settings import Completeness
from triage.spool import stored_path


@dataclass(slots=True)
class Rebuilt:
    """What a run did."""

    files: int = 0
    """In the store."""
    known: int = 0
    indexed: int = 0
    restored: int = 0
    """Contents that came again after retention had deleted them, of which the rows do not know."""
    studies: int = 0
    generations: int = 0
    """Closed again as they were."""
    steps: int = 0
    """Ended procedure steps that were kept, and not known."""
    quarantined: int = 0
    found: int = 0
    """Files in quarantine that no row knew, put there before for a reason of their own."""
    corrupt: list[str] = field(default_factory=list)
    """Digests of files whose bytes are no longer what they were: not indexed."""
    passed_over: list[Passed] = field(default_factory=list)
    """Every file that was not indexed now and was not known, with its reason."""


@dataclass(frozen=True, slots=True)
class Found:
    """A kept file, and when it came."""

    at: datetime
    sha256: str


def write_study(
    session: Session, root: Path, rules: Completeness, uid: str, files: Sequence[Found]
) -> Rebuilt:
    """Write all rows of one study; gives what was done, if it is committed.

    Raises:
        OfOne: one file cannot be indexed.
    """
    here = _here(session, root, uid, files)
    if not here:
        return Rebuilt()
    restored = _index(session, root, rules, here)
    return Rebuilt(
        indexed=len(here) - restored, restored=restored, studies=1,
        generations=_close_again(session, root, uid),
        # At last: a study that they hold has its generations by then, and their numbers.
        steps=recall(session, ended.of_study(root, uid)),
    )  # fmt: skip


def _here(session: Session, root: Path, uid: str, files: Sequence[Found]) -> list[Found]:
    """Lock a study, as retention does that deletes of it; gives its files as they came."""
    found = select(StudyRow.id).where(StudyRow.study_instance_uid == uid).with_for_update()
    session.execute(found)
    here = [one for one in files if stored_path(root, one.sha256).exists()]
    return sorted(here, key=lambda one: one.at)


def _index(session: Session, root: Path, rules: Completeness, files: Sequence[Found]) -> int:
    """Index one study's files; the list shows how long it has really waited.

    Gives how many of them had been deleted, and are here again.

    Raises:
        OfOne: one file cannot be indexed.
    """
    restored = 0
    for one in files:
        try:
            restored += _index_one(session, root, rules, one)
        except Exception as why:
            raise OfOne(one.sha256) from why
    return restored


def _index_one(session: Session, root: Path, rules: Completeness, one: Found) -> bool:
    arrival = read_arrival(stored_path(root, one.sha256), one.sha256)
    is_restored = index(session, arrival, rules)
    row = session.scalars(select(InstanceRow).where(InstanceRow.sha256 == one.sha256)).one()
    row.received_at = min(one.at, row.received_at)
    study = session.get_one(StudyRow, row.study_id)
    study.received_at = min(one.at, study.received_at)
    session.flush()
    return is_restored


def _close_again(session: Session, root: Path, uid: str) -> int:
    """Close the generations that were noted and are not known; gives how many.

    The study is analysed next when nothing came after the last one. Objects that are no images do
    not count for that: they may be reports of ours that came back.
    """
    study = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == uid)).one()
    rows = session.execute(
        select(InstanceRow, CustodyRow.set_aside)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == study.id)
    ).all()
    by_content = {(row.sop_instance_uid, row.sha256): row for row, _ in rows}
    counting = {(row.sop_instance_uid, row.sha256) for row, aside in rows if not aside}
    count, members = 0, set[tuple[str, str]]()
    for closed in noted(root, uid):
        is_whole = set(closed.members) <= set(by_content)
        if study.state != StudyState.RECEIVING or closed.number <= study.generation or not is_whole:
            continue
        _write(session, study, closed, by_content)
        count, members = count + 1, set(closed.members)
    later = [by_content[one] for one in counting - members]
    if count and members <= counting and all(one.modality in NOT_IMAGES for one in later):
        lifecycle.move(
            session, study, StudyState.READY, reason="closed before, indexed anew",
            actor="rebuild-index", due_at=now(session),
        )  # fmt: skip
    return count


def recall(session: Session, messages: Iterable[Path]) -> int:
    """Write what kept messages say of procedure steps; gives how many were not known."""
    return sum(evidence.recall(session, path) for path in messages)


def _write(
    session: Session,
    study: StudyRow,
    closed: ClosedGeneration,
    by_content: dict[tuple[str, str], InstanceRow],
) -> None:
    generation = GenerationRow(
        study_id=study.id, number=closed.number, digest=closed.digest, evidence=closed.evidence,
        closed_at=now(session),
    )  # fmt: skip
    session.add(generation)
    session.flush()
    session.add_all(
        GenerationMemberRow(generation_id=generation.id, instance_id=by_content[content].id)
        for content in closed.members
    )
    study.generation = closed.number
    session.flush()
