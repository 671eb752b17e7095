"""The nightly sum: received = analysed + excluded + quarantined + still open, and files = rows.

What is on disk is compared with the index, folder by folder, so that memory does not grow with the
spool.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import SERIOUS, SUCCESS, Entry, Event, record
from db.custody import CustodyRow, ReconciliationRow
from db.engine import Database, now
from db.quarantine import NOT_INDEXED
from db.states import FINAL, StudyState
from db.tables import InstanceRow, QuarantineRow, StudyRow
from triage.record.missing import forget, missing
from triage.record.quarantined import quarantined
from triage.record.tally import Difference, Tally
from triage.spool import FOLDERS, stored_path

STUCK: Final = timedelta(days=1)
"""Whose study has not come to rest for this long is missing, not on its way."""
WAITING_S: Final = 3600.0
"""A file that the ingestor has not taken for this long."""
AT_ONCE: Final = 200_000
"""Rows compared at once."""
AT_REST: Final = (StudyState.DELIVERED, StudyState.REJECTED)


def reconcile(database: Database, spool: Path, *, actor: str) -> ReconciliationRow:
    """Compare everything once, keep the sum, and raise or clear the alert, audited."""
    tally = Tally()
    for folders in _parts(database):
        _compare(database, spool, folders, tally)
    _look_at_waiting(spool, tally)
    forget(database)
    for one in missing(database, spool):
        tally.add("not-arrived", str(one), one.missing)
    with database.begin() as session:
        _look_at_rows(session, spool, tally)
        before = latest(session)
        row = _sum(session, tally.found)
        session.add(row)
        session.flush()
        _audit(session, row, actor, was_balanced=before is None or before.balanced)
    return row


LATEST: Final = select(ReconciliationRow).order_by(ReconciliationRow.id.desc()).limit(1)


def latest(session: Session) -> ReconciliationRow | None:
    """Give the latest sum."""
    return session.scalar(LATEST)


def differences(row: ReconciliationRow) -> list[Difference]:
    """Give what a sum found, as nouns."""
    return [Difference(**one) for one in json.loads(row.differences)]


def _parts(database: Database) -> list[tuple[str, ...]]:
    """Give the store's folders in parts of bounded size, by how many rows there are."""
    with database.reading() as session:
        count = session.scalar(select(func.count()).select_from(InstanceRow)) or 0
    size = max(1, len(FOLDERS) // max(1, -(-count // AT_ONCE)))
    return [FOLDERS[start : start + size] for start in range(0, len(FOLDERS), size)]


def _compare(database: Database, spool: Path, folders: tuple[str, ...], tally: Tally) -> None:
    """Compare a part of the store with the rows whose digests begin alike."""
    first, last = folders[0], f"{folders[-1]}g"
    with database.reading() as session:
        rows = session.execute(
            select(InstanceRow.sha256, InstanceRow.study_id, CustodyRow.purged_at)
            .outerjoin(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
            .where(InstanceRow.sha256 >= first, InstanceRow.sha256 < last)
        ).all()
        quarantined = session.scalars(
            select(QuarantineRow.sha256)
            .where(QuarantineRow.sha256 >= first, QuarantineRow.sha256 < last)
            .where(QuarantineRow.reason_code.in_(NOT_INDEXED))
        ).all()  # fmt: skip
    # The files after the rows: what came in between has a file, and its row is looked for again.
    files = {name.removesuffix(".dcm") for one in folders for name in _names(spool / "store" / one)}
    known = {row.sha256 for row in rows} | set(quarantined)
    for row in rows:
        is_missing = row.purged_at is None and row.sha256 not in files
        if is_missing and not _just_purged(database, row.sha256):
            tally.add("no-file", f"study {row.study_id}")
    for sha256 in sorted(files - known):
        if _is_alone(stored_path(spool, sha256)) and not _just_indexed(database, sha256):
            tally.add("no-row", sha256[:12])


def _just_indexed(database: Database, sha256: str) -> bool:
    with database.reading() as session:
        found = select(InstanceRow.id).where(InstanceRow.sha256 == sha256).limit(1)
        apart = select(QuarantineRow.id).where(QuarantineRow.sha256 == sha256)
        late = apart.where(QuarantineRow.reason_code.in_(NOT_INDEXED)).limit(1)
        return session.scalar(found) is not None or session.scalar(late) is not None


def _just_purged(database: Database, sha256: str) -> bool:
    with database.reading() as session:
        purged = (
            select(CustodyRow.purged_at)
            .join(InstanceRow, InstanceRow.id == CustodyRow.instance_id)
            .where(InstanceRow.sha256 == sha256, CustodyRow.purged_at.is_not(None))
        )
        return session.scalar(purged.limit(1)) is not None


def _is_alone(path: Path) -> bool:
    """Tell whether a stored file has no other name: one on its way into the index has."""
    try:
        return path.stat().st_nlink == 1
    except FileNotFoundError:
        return False


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def _look_at_waiting(spool: Path, tally: Tally) -> None:
    oldest = time.time() - WAITING_S
    places = [("not-indexed", spool / "in" / folder) for folder in FOLDERS]
    if os.access(spool / "prior_in", os.R_OK | os.X_OK):  # a service of another user may not
        places.append(("prior-waits", spool / "prior_in"))
    for code, place in places:
        for path in place.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    tally.add(code, path.stem[:12])


def _look_at_rows(session: Session, spool: Path, tally: Tally) -> None:
    at = now(session)
    working = StudyRow.state.not_in(FINAL) & (StudyRow.last_instance_at < at - STUCK)
    for code, which in (("no-fate", StudyRow.state.in_(AT_REST)), ("stuck", working)):
        rows = session.execute(
            select(StudyRow.id)
            .join(InstanceRow, InstanceRow.study_id == StudyRow.id)
            .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
            .where(CustodyRow.fate == "open", which)
        )
        for (number,) in rows:
            tally.add(code, f"study {number}")
    bare = session.scalars(
        select(InstanceRow.study_id)
        .outerjoin(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(CustodyRow.instance_id.is_(None))
    )
    for number in bare:
        tally.add("no-custody", f"study {number}")
    _look_at_quarantine(session, spool, tally)


def _look_at_quarantine(session: Session, spool: Path, tally: Tally) -> None:
    """Compare the quarantine's files with its rows; a file comes before its row."""
    files = dict(_since(spool))
    rows = set(session.scalars(select(QuarantineRow.sha256)))
    for sha256 in sorted(rows - files.keys()):
        if not (spool / "quarantine" / f"{sha256}.dcm").exists():
            tally.add("no-quarantine", sha256[:12])
    for sha256 in sorted(files.keys() - rows):
        if files[sha256] < time.time() - WAITING_S:
            tally.add("no-quarantine-row", sha256[:12])


def _since(spool: Path) -> Iterator[tuple[str, float]]:
    """Give each quarantined file's digest, and since when it has been there."""
    for sha256, path in quarantined(spool):
        with suppress(FileNotFoundError):  # a person removes them
            yield sha256, path.stat().st_ctime


def _sum(session: Session, found: list[Difference]) -> ReconciliationRow:
    fates = session.execute(select(CustodyRow.fate, func.count()).group_by(CustodyRow.fate))
    counts = dict(fates.all())
    quarantined = session.scalar(select(func.count()).select_from(QuarantineRow)) or 0
    oldest: datetime | None = session.scalar(
        select(func.min(InstanceRow.received_at))
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id)
        .where(CustodyRow.fate == "open")
    )
    indexed = session.scalar(select(func.count()).select_from(InstanceRow)) or 0
    return ReconciliationRow(
        at=now(session),
        received=indexed + quarantined,
        analysed=counts.get("analysed", 0),
        excluded=counts.get("excluded", 0),
        quarantined=quarantined,
        still_open=counts.get("open", 0),
        unrecorded=counts.get("unrecorded", 0),
        oldest_open_at=oldest,
        balanced=not found,
        differences=json.dumps([asdict(one) for one in found]),
    )


def _audit(session: Session, row: ReconciliationRow, actor: str, *, was_balanced: bool) -> None:
    """Tell the trail of every difference, and once that they are gone."""
    if row.balanced and was_balanced:
        return
    detail = {one.code: one.count for one in differences(row)}
    entry = Entry(
        event=Event.PROCEDURE_RECORD if row.balanced else Event.SECURITY_ALERT,
        kind="custody.balanced" if row.balanced else "custody.difference",
        outcome=SUCCESS if row.balanced else SERIOUS, actor=actor, object_type="spool",
        detail=detail | {"received": row.received},
    )  # fmt: skip
    record(session, entry)
