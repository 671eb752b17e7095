"""``triage rebuild-index``: rows made anew from the spool, after the database was lost or is old.

A study is indexed whole, in one transaction: nothing of it is analysed before all of it is there
and what its modality said of it is known again, and a run that was cut off goes on with the studies
that are missing.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import lifecycle, quarantine
from db.audit import SERIOUS, SUCCESS, Entry, Event, record
from db.custody import CustodyRow
from db.engine import Database, now
from db.queries import NOT_IMAGES
from db.states import StudyState
from db.tables import GenerationMemberRow, GenerationRow, InstanceRow, QuarantineRow, StudyRow
from triage import evidence
from triage.arrival import Arrival, Unindexable, read_arrival
from triage.evidence import ended
from triage.ingest import index
from triage.record.generations import ClosedGeneration, noted
from triage.settings import Completeness
from triage.spool import FOLDERS, Spool, digest, stored_path

Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


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
    corrupt: list[str] = field(default_factory=list)
    """Digests of files whose bytes are no longer what they were: not indexed."""


@dataclass(frozen=True, slots=True)
class _Found:
    at: datetime
    sha256: str


def rebuild(
    database: Database, spool: Spool, rules: Completeness, *, actor: str, progress: Progress
) -> Rebuilt:
    """Index each stored file that has no row, or one that calls it deleted; gives what was done."""
    done = Rebuilt()
    unknown = _unknown(database, spool.root, done)
    studies = _by_study(database, spool, unknown, done, progress)
    ordered = sorted(studies.items(), key=lambda item: min(one.at for one in item[1]))
    for number, (uid, files) in enumerate(ordered, start=1):
        with database.begin() as session:
            here = _here(session, spool.root, uid, files)
            restored = _index(session, spool.root, rules, here)
            done.generations += _close_again(session, spool.root, uid) if here else 0
            # At last: a study that they hold has its generations by then, and their numbers.
            done.steps += _recall(session, ended.of_study(spool.root, uid)) if here else 0
        done.indexed += len(here) - restored
        done.restored += restored
        done.studies += bool(here)
        progress("studies", number, len(ordered))
    for path in ended.every(spool.root):  # of studies that are known, or have not come
        with database.begin() as session:
            done.steps += _recall(session, [path])
    _audit(database, done, actor)
    return done


def _unknown(database: Database, root: Path, done: Rebuilt) -> list[str]:
    """Give the digests of stored files that no row knows as here, folder by folder."""
    found: list[str] = []
    for folder in FOLDERS:
        names = {path.stem for path in (root / "store" / folder).glob("*.dcm")}
        with database.reading() as session:
            known = _known(session, folder) - _gone(session, folder)
            found += sorted(names - known)
        done.files += len(names)
    done.known = done.files - len(found)
    return found


def _known(session: Session, folder: str) -> set[str]:
    rows = select(InstanceRow.sha256).where(InstanceRow.sha256 >= folder)
    apart = select(QuarantineRow.sha256).where(QuarantineRow.sha256 >= folder)
    return {
        *session.scalars(rows.where(InstanceRow.sha256 < f"{folder}g")),
        *session.scalars(
            apart.where(QuarantineRow.sha256 < f"{folder}g").where(
                QuarantineRow.reason_code.in_(quarantine.NOT_INDEXED)
            )
        ),
    }


def _gone(session: Session, folder: str) -> set[str]:
    digests = (
        select(InstanceRow.sha256)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.sha256 >= folder, InstanceRow.sha256 < f"{folder}g")
        .where(CustodyRow.purged_at.is_not(None))
    )
    return set(session.scalars(digests))


def _by_study(
    database: Database, spool: Spool, unknown: Sequence[str], done: Rebuilt, progress: Progress
) -> dict[str, list[_Found]]:
    """Check each file's bytes, and give the digests of each study with when they came."""
    studies: dict[str, list[_Found]] = {}
    for number, sha256 in enumerate(unknown, start=1):
        progress("files", number, len(unknown))
        path = stored_path(spool.root, sha256)
        with suppress(FileNotFoundError):  # retention was at it
            if digest(path) != sha256:
                done.corrupt.append(sha256)
                continue
            try:
                arrival = read_arrival(path, sha256)
            except Unindexable as why:
                spool.quarantine(path, sha256)
                _quarantine(database, path, sha256, str(why))
                done.quarantined += 1
                continue
            found = _Found(_came_at(arrival, path), sha256)
            studies.setdefault(arrival.values["StudyInstanceUID"], []).append(found)
    return studies


def _came_at(arrival: Arrival, path: Path) -> datetime:
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return arrival.passage.spooled_at or written


def _here(session: Session, root: Path, uid: str, files: Sequence[_Found]) -> list[_Found]:
    """Lock a study, as retention does that deletes of it; gives its files as they came."""
    found = select(StudyRow.id).where(StudyRow.study_instance_uid == uid).with_for_update()
    session.execute(found)
    here = [one for one in files if stored_path(root, one.sha256).exists()]
    return sorted(here, key=lambda one: one.at)


def _index(session: Session, root: Path, rules: Completeness, files: Sequence[_Found]) -> int:
    """Index one study's files; the list shows how long it has really waited.

    Gives how many of them had been deleted, and are here again.
    """
    restored = 0
    for one in files:
        arrival = read_arrival(stored_path(root, one.sha256), one.sha256)
        restored += index(session, arrival, rules)
        row = session.scalars(select(InstanceRow).where(InstanceRow.sha256 == one.sha256)).one()
        row.received_at = min(one.at, row.received_at)
        study = session.get_one(StudyRow, row.study_id)
        study.received_at = min(one.at, study.received_at)
    session.flush()
    return restored


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


def _recall(session: Session, messages: Iterable[Path]) -> int:
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


def _quarantine(database: Database, path: Path, sha256: str, why: str) -> None:
    with database.begin() as session:
        quarantine.note(session, sha256, path.stat().st_size, "unparsable", why)


def _audit(database: Database, done: Rebuilt, actor: str) -> None:
    entry = Entry(
        event=Event.IMPORT, kind="index.rebuilt", action="C",
        outcome=SERIOUS if done.corrupt else SUCCESS, actor=actor, object_type="spool",
        detail={
            "files": done.files, "indexed": done.indexed, "restored": done.restored,
            "studies": done.studies,
            "generations": done.generations, "steps": done.steps, "quarantined": done.quarantined,
            "corrupt": len(done.corrupt),
        },
    )  # fmt: skip
    with database.begin() as session:
        record(session, entry)
