"""Deleting bytes that are no longer needed here: of studies at rest whose report is committed.

Nothing goes that we promised somebody to keep, not even for want of room. Rows, hashes and audit
stay. A study is decided about under its row's lock, so that no step, late instance, sending or
promise of it can begin meanwhile; its rows say "purged" before its files go, and a deletion that
was interrupted is finished by the next one. Its files go under the lock again, and only those
whose rows still say so: what came again in between stays.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session, defer

from db.audit import Entry, Event, record
from db.conflicts import HOLD, standing
from db.custody import CustodyRow
from db.engine import Database, now
from db.outbox import SENT, WITHDRAWN
from db.promises import held, holds
from db.purged import AT_REST, still
from db.runs import MapRow
from db.tables import DetectionRow, InstanceRow, OutboxRow, StudyRow
from triage import maps
from triage.record.rows import ABOUT_REPORTS
from triage.retention import Retention
from triage.spool import FOLDERS, stored_path

PAGE: Final = 200
AT_ONCE: Final = 200
"""Files deleted under one lock: on SQLite it keeps everybody from writing."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A study whose images may be deleted, and why."""

    study_id: int
    study_instance_uid: str
    instances: int
    size_bytes: int
    settled_at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where the bytes are."""

    spool: Path
    results: Path


@dataclass(frozen=True, slots=True)
class Rules:
    """What the site says: when images may go, and how long what we promised to keep may not."""

    retention: Retention
    promised_days: float | None = None
    """From our report on; empty: for ever."""

    def least_days(self, *, pressed: bool) -> float | None:
        """Give how long images stay at least; None where they stay for ever."""
        return self.retention.least_days if pressed else self.retention.images_days

    def ended(self, at: datetime) -> datetime | None:
        """Give the time of the reports whose promises end now; None where none ever does."""
        return None if self.promised_days is None else at - timedelta(days=self.promised_days)


def due(
    session: Session, rules: Rules, *, pressed: bool = False, after: int = 0
) -> tuple[list[Candidate], int | None]:
    """Give those of one page of old studies, ids above ``after``, whose images may be deleted.

    With them the last id of the page, None where there was no study. ``pressed`` by a full disk,
    they go before their time; never before ``least_days``.
    """
    days = rules.least_days(pressed=pressed)
    if days is None:
        return [], None
    at = now(session)
    rows = session.scalars(
        select(StudyRow)
        .where(StudyRow.id > after, _is_old(at - timedelta(days=days)))
        .order_by(StudyRow.id)
        .limit(PAGE)
    ).all()
    promised = held(session, [row.id for row in rows], rules.ended(at))
    free = (row for row in rows if row.id not in promised)
    found = ((row, _why(session, row, rules.retention, at)) for row in free)
    page = [_candidate(session, row, why) for row, why in found if why]
    return page, rows[-1].id if rows else None


def count_promised(database: Database, rules: Rules, *, pressed: bool = False) -> int:
    """Give how many studies are old enough, and stay because we promised to keep some of them."""
    days = rules.least_days(pressed=pressed)
    if days is None:
        return 0
    with database.reading() as session:
        at = now(session)
        promised = and_(_is_old(at - timedelta(days=days)), holds(rules.ended(at)))
        return session.scalar(select(func.count()).select_from(StudyRow).where(promised)) or 0


def every_due(database: Database, rules: Rules, *, pressed: bool = False) -> Iterator[Candidate]:
    """Give all studies whose images may be deleted now."""
    after = 0
    while True:
        with database.reading() as session:
            page, last = due(session, rules, pressed=pressed, after=after)
        yield from page
        if last is None:
            return
        after = last


def purge(database: Database, places: Places, rules: Rules, *, actor: str) -> list[Candidate]:
    """Delete what is due, more where the disk is nearly full, and old maps; gives the studies.

    Where the services have users of their own, each deletes what its user owns: the ingestor
    images, a worker's user maps.
    """
    gone = _purge_images(database, places.spool, rules, actor) if is_ours(places.spool) else []
    purge_maps(database, places.results, rules.retention, actor=actor)
    return gone


def is_ours(spool: Path) -> bool:
    """Tell whether this process may delete what is kept."""
    return os.access(spool / "store", os.W_OK)


def _purge_images(database: Database, spool: Path, rules: Rules, actor: str) -> list[Candidate]:
    finish(database, spool)
    gone = [
        one
        for one in every_due(database, rules)
        if purge_study(database, spool, one.study_id, rules, actor=actor)
    ]
    if is_pressed(spool, rules.retention):
        gone += _purge_early(database, spool, rules, actor)
    return gone


def _purge_early(database: Database, spool: Path, rules: Rules, actor: str) -> list[Candidate]:
    """Delete the longest settled first, until there is room again."""
    gone = []
    early = every_due(database, rules, pressed=True)
    for one in sorted(early, key=lambda one: one.settled_at):
        if not is_pressed(spool, rules.retention):
            break
        if purge_study(database, spool, one.study_id, rules, actor=actor, pressed=True):
            gone.append(one)
    return gone


def is_pressed(spool: Path, rules: Retention) -> bool:
    """Tell whether there is less free space than the site wants."""
    facts = os.statvfs(spool)
    return facts.f_bavail * facts.f_frsize < rules.free_bytes


def purge_study(
    database: Database,
    spool: Path,
    study_id: int,
    rules: Rules,
    *,
    actor: str,
    pressed: bool = False,
) -> bool:
    """Delete one study's images if they still may be; tells whether."""
    with database.begin() as session:
        row = session.scalar(
            select(StudyRow)
            .where(StudyRow.id == study_id, StudyRow.state.in_(AT_REST))
            .with_for_update()
        )
        at = now(session)
        days = rules.least_days(pressed=pressed)
        if row is None or days is None or row.settled_at is None:
            return False
        if row.settled_at >= at - timedelta(days=days):
            return False
        why = _why(session, row, rules.retention, at)
        if not why or held(session, [row.id], rules.ended(at)):
            return False
        digests = _mark(session, row, at)
        entry = Entry(
            event=Event.STUDY_DELETED, kind="study.purged", action="D", actor=actor,
            object_type="study", object_id=row.study_instance_uid,
            detail={"instances": len(digests), "why": why, "pressed": pressed},
        )  # fmt: skip
        record(session, entry)
    _delete(database, spool, study_id, digests)
    return True


def finish(database: Database, spool: Path) -> int:
    """Delete files whose rows say that they are purged; gives how many were left."""
    count = 0
    for folder in FOLDERS:
        with database.reading() as session:
            purged = session.execute(
                select(InstanceRow.study_id, InstanceRow.sha256)
                .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
                .where(InstanceRow.sha256 >= folder, InstanceRow.sha256 < f"{folder}g")
                .where(CustodyRow.purged_at.is_not(None))
            ).all()
        left = defaultdict[int, list[str]](list)
        for study_id, sha256 in purged:
            if stored_path(spool, sha256).exists():
                left[study_id].append(sha256)
        count += sum(_delete(database, spool, *one) for one in left.items())
    return count


def purge_maps(database: Database, results: Path, rules: Retention, *, actor: str) -> int:
    """Delete anomaly maps of which every detection is old enough; gives how many."""
    if rules.maps_days is None:
        return 0
    with database.begin() as session:
        limit = now(session) - timedelta(days=rules.maps_days)
        old = session.scalars(
            select(MapRow.sha256)
            .join(DetectionRow, DetectionRow.id == MapRow.detection_id)
            .join(StudyRow, StudyRow.id == DetectionRow.study_id)
            .group_by(MapRow.sha256)
            .having(func.max(DetectionRow.at) < limit)
            .having(func.sum(case((StudyRow.state.in_(AT_REST), 0), else_=1)) == 0)
        ).all()
        files = {one: maps.path_of(results, one) for one in old}
        gone = [
            one for one, path in files.items() if path.exists() and os.access(path.parent, os.W_OK)
        ]
        if gone:
            entry = Entry(
                event=Event.STUDY_DELETED, kind="maps.purged", action="D", actor=actor,
                object_type="results", detail={"maps": len(gone)},
            )  # fmt: skip
            record(session, entry)
    for sha256 in gone:
        files[sha256].unlink(missing_ok=True)
    return len(gone)


def _is_old(before: datetime) -> ColumnElement[bool]:
    """Mean studies that came to rest before, of which images are here."""
    images = (
        select(InstanceRow.id)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == StudyRow.id, CustodyRow.purged_at.is_(None))
    )
    return and_(StudyRow.state.in_(AT_REST), StudyRow.settled_at < before, images.exists())


def may_lose(session: Session, row: StudyRow, rules: Retention) -> str:
    """Say why a study at rest may lose what is kept of it; nothing where it may not."""
    return _why(session, row, rules, now(session))


def _why(session: Session, row: StudyRow, rules: Retention, at: datetime) -> str:
    """Say why a study at rest may lose its images; nothing where it may not."""
    is_leased = row.leased_until is not None and row.leased_until > at
    if is_leased or any(one.weight == HOLD for one in standing(session, row.id)):
        return ""
    documents = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == row.id, OutboxRow.kind.not_in(ABOUT_REPORTS))
        .where(OutboxRow.state != WITHDRAWN)
        .options(defer(OutboxRow.content, raiseload=True))
    ).all()
    if any(one.state != SENT for one in documents):
        return ""
    current = [one for one in documents if one.generation == row.generation]
    if not current:
        return _unreported(row, rules, at)
    archived = [one for one in current if one.sop_class_uid] or current
    if all(one.committed_at is not None for one in archived):
        return "its report is committed"
    return _sent_is_enough(archived, rules, at)


def _unreported(row: StudyRow, rules: Retention, at: datetime) -> str:
    days = rules.unreported_after_days
    is_old = days is not None and _before(row.settled_at, at, days)
    return "no report was due" if is_old else ""


def _sent_is_enough(documents: Sequence[OutboxRow], rules: Retention, at: datetime) -> str:
    days = rules.sent_is_enough_after_days
    if days is None or any(one.commitment and not one.committed_at for one in documents):
        return ""
    uncommitted = [one for one in documents if not one.commitment]
    if all(_before(one.sent_at, at, days) for one in uncommitted):
        return f"its report was sent {days:g} days ago"
    return ""


def _before(moment: datetime | None, at: datetime, days: float) -> bool:
    return moment is not None and moment < at - timedelta(days=days)


def _candidate(session: Session, row: StudyRow, why: str) -> Candidate:
    count, size = session.execute(
        select(func.count(), func.coalesce(func.sum(InstanceRow.size_bytes), 0))
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(InstanceRow.study_id == row.id, CustodyRow.purged_at.is_(None))
    ).one()
    settled_at = row.settled_at or row.last_instance_at
    return Candidate(row.id, row.study_instance_uid, count, int(size), settled_at, why)


def _mark(session: Session, row: StudyRow, at: datetime) -> list[str]:
    """Write that a study's images are purged; gives their digests."""
    rows = session.execute(
        select(CustodyRow, InstanceRow.sha256)
        .join(InstanceRow, InstanceRow.id == CustodyRow.instance_id)
        .where(InstanceRow.study_id == row.id, CustodyRow.purged_at.is_(None))
    ).all()
    for custody, _ in rows:
        custody.purged_at = at
    session.flush()
    return [sha256 for _, sha256 in rows]


def _delete(database: Database, spool: Path, study_id: int, digests: Sequence[str]) -> int:
    """Delete those files of a study that are still purged; gives how many there were."""
    count = 0
    for start in range(0, len(digests), AT_ONCE):
        with database.begin() as session:
            gone = still(session, study_id, digests[start : start + AT_ONCE])
            count += sum(_unlink(spool, sha256) for sha256 in gone)
    return count


def _unlink(spool: Path, sha256: str) -> bool:
    with suppress(FileNotFoundError):
        stored_path(spool, sha256).unlink()
        return True
    return False
