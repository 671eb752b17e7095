"""``triage rebuild-index``: rows made anew from the spool, after the database was lost or is old.

A study is indexed whole, in one transaction: nothing of it is analysed before all of it is there
and what its modality said of it is known again, and a run that was cut off goes on with the studies
that are missing. What is wrong with one file is said of it at the end, and holds up no other.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db import quarantine
from db.audit import SERIOUS, SUCCESS, Entry, Event, record
from db.custody import CustodyRow
from db.engine import Database
from db.tables import InstanceRow, QuarantineRow
from triage.arrival import Arrival, read_arrival
from triage.commands.rebuild_passed import (
    Corrupt,
    Misplaced,
    OfOne,
    Passed,
    Study,
    entries,
    is_everybodys,
    is_gone,
    is_placed,
    passed,
    stopped,
)
from triage.commands.rebuild_quarantine import recall_quarantined
from triage.commands.rebuild_study import Found, Rebuilt, recall, write_study
from triage.evidence import ended
from triage.settings import Completeness
from triage.spool import FOLDERS, Spool, digest, stored_path

__all__ = ["Progress", "Rebuilt", "rebuild"]
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


def rebuild(
    database: Database, spool: Spool, rules: Completeness, *, actor: str, progress: Progress
) -> Rebuilt:
    """Index each stored file that has no row, or one that calls it deleted; gives what was done.

    What is wrong with one file is noted in what it gives, and the next one is taken.

    Raises:
        Stopped: every file would meet it: the database is away, the disk is full. What was
            indexed before is kept, and another run goes on.
    """
    done = Rebuilt()
    try:
        _rebuild(database, spool, rules, done, progress)
        _audit(database, done, actor)
    except (OSError, SQLAlchemyError) as why:
        raise stopped(why, done.indexed + done.restored, len(done.passed_over)) from why
    return done


def _rebuild(
    database: Database, spool: Spool, rules: Completeness, done: Rebuilt, progress: Progress
) -> None:
    unknown = _unknown(database, spool, done)
    studies = _by_study(database, spool, unknown, done, progress)
    ordered = sorted(studies.items(), key=lambda item: min(one.at for one in item[1]))
    for number, (uid, files) in enumerate(ordered, start=1):
        _take_study(database, spool, rules, uid, files, done)
        progress("studies", number, len(ordered))
    for path in ended.every(spool.root):  # of studies that are known, or have not come
        try:
            with database.begin() as session:
                count = recall(session, [path])
        except Exception as why:
            if is_everybodys(database, why):
                raise
            done.passed_over.append(replace(passed(path, why), code="step"))
        else:
            done.steps += count
    recall_quarantined(database, spool.root, done)


def _unknown(database: Database, spool: Spool, done: Rebuilt) -> list[str]:
    """Give the digests of stored files that no row knows as here, folder by folder."""
    found: list[str] = []
    for folder in FOLDERS:
        try:
            paths = list(entries(spool.root, folder))
        except OSError as why:
            if is_everybodys(database, why):
                raise
            done.passed_over.append(passed(spool.root / "store" / folder / "*", why))
            continue
        names = {path.stem for path in paths if is_placed(path)}
        with database.reading() as session:
            known = _known(session, folder) - _gone(session, folder)
        found += sorted(names - known)
        done.files += len(paths)
        done.known += len(names & known)
        for path in paths:
            if not is_placed(path):
                done.passed_over.append(passed(path, Misplaced()))
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
) -> dict[str, list[Found]]:
    """Check each file's bytes, and give the digests of each study with when they came."""
    studies: dict[str, list[Found]] = {}
    for number, sha256 in enumerate(unknown, start=1):
        progress("files", number, len(unknown))
        try:
            uid, found = _look(spool.root, sha256)
        except Exception as why:
            if is_everybodys(database, why):
                raise
            _pass_over(database, spool, sha256, why, done)
        else:
            studies.setdefault(uid, []).append(found)
    return studies


def _look(root: Path, sha256: str) -> tuple[str, Found]:
    """Give a kept file's Study Instance UID, and when it came.

    Raises:
        Corrupt: its bytes are no longer its digest's.
        Unindexable: it is no readable DICOM.
        OSError: the disk does not give it.
    """
    path = stored_path(root, sha256)
    if digest(path) != sha256:
        raise Corrupt
    arrival = read_arrival(path, sha256)
    return arrival.values["StudyInstanceUID"], Found(_came_at(arrival, path), sha256)


def _pass_over(
    database: Database, spool: Spool, sha256: str, error: BaseException, done: Rebuilt
) -> None:
    """Note a file that is not indexed; what no later run could index goes into quarantine.

    Raises:
        OSError: the disk takes nothing.
        SQLAlchemyError: the database takes no row.
    """
    path = stored_path(spool.root, sha256)
    if is_gone(path, error):
        return
    one = passed(path, error)
    if one.code in quarantine.NOT_INDEXED:
        try:
            spool.quarantine(path, sha256)
            _quarantine(database, path, sha256, one)
            done.quarantined += 1
        except OSError as why:
            if is_everybodys(database, why):
                raise
            one = passed(path, why)
    if one.code == "corrupt":
        done.corrupt.append(sha256)
    done.passed_over.append(one)


def _came_at(arrival: Arrival, path: Path) -> datetime:
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return arrival.passage.spooled_at or written


def _take_study(
    database: Database,
    spool: Spool,
    rules: Completeness,
    uid: str,
    files: Sequence[Found],
    done: Rebuilt,
) -> None:
    """Index a study's files in one transaction; begins anew without each one that is refused.

    A study that cannot be written for another reason is passed over as a whole: what holds it may
    be what was not written.
    """
    left = list(files)
    while left:
        try:
            with database.begin() as session:
                counts = write_study(session, spool.root, rules, uid, left)
        except OfOne as refused:
            why = refused.__cause__ or refused
            if is_everybodys(database, why):
                raise why from None
            _pass_over(database, spool, refused.sha256, why, done)
            left = [one for one in left if one.sha256 != refused.sha256]
        except Exception as why:
            if is_everybodys(database, why):
                raise
            of_study = Study()
            of_study.__cause__ = why
            for one in left:
                _pass_over(database, spool, one.sha256, of_study, done)
            return
        else:
            done.indexed += counts.indexed
            done.restored += counts.restored
            done.studies += counts.studies
            done.generations += counts.generations
            done.steps += counts.steps
            return


def _quarantine(database: Database, path: Path, sha256: str, one: Passed) -> None:
    with database.begin() as session:
        quarantine.note(session, sha256, path.stat().st_size, one.code, one.detail)


def _audit(database: Database, done: Rebuilt, actor: str) -> None:
    entry = Entry(
        event=Event.IMPORT, kind="index.rebuilt", action="C",
        outcome=SERIOUS if done.passed_over else SUCCESS, actor=actor, object_type="spool",
        detail={
            "files": done.files, "indexed": done.indexed, "restored": done.restored,
            "studies": done.studies,
            "generations": done.generations, "steps": done.steps, "quarantined": done.quarantined,
            "found": done.found,
            "corrupt": len(done.corrupt),
            "passed_over": dict(Counter(one.code for one in done.passed_over)),
        },
    )  # fmt: skip
    with database.begin() as session:
        record(session, entry)
