"""What the listener put apart, because it was addressed to ``listener.prior_ae_title``.

The listener has acknowledged each file, so its sender may have let go of it: it is kept as an
instance of the prior that was asked for, or else in quarantine. It is never triaged. What the disk
does not give now holds up no other: it stays, and is tried again after a pause.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import quarantine
from db.audit import SERIOUS, Entry, Event, record
from db.engine import Database
from db.priors import PriorInstanceRow, PriorRow
from triage import log
from triage.passed_over import PassedOver, each
from triage.priors import budget, keep, place
from triage.priors.choose import Older
from triage.priors.keep import ACTOR, Came
from triage.priors.taking import doubt, read
from triage.settings import Settings
from triage.spool import Spool, digest

UNEXPECTED: Final = "prior-unexpected"
REFUSED: Final = "prior-refused"
CONFLICT: Final = "content-conflict"


@dataclass(frozen=True, slots=True)
class _Arrival:
    """One waiting file: its content, what it says of itself, who sent it and when."""

    path: Path
    sha256: str
    facts: Dataset
    sender: str
    at: datetime

    @property
    def study(self) -> str:
        """Give the study it names; empty where it cannot be read."""
        return str(self.facts.get("StudyInstanceUID", ""))


def take_arrivals(
    database: Database,
    settings: Settings,
    limit: int = 500,
    *,
    passed: PassedOver | None = None,
) -> int:
    """Settle up to ``limit`` files that came for ``listener.prior_ae_title``; gives how many.

    Whoever comes while another one does it waits, and then sees what is left. ``passed`` remembers
    from call to call what is left alone for a while.

    Raises:
        SQLAlchemyError: the database is away; what was not settled waits as it is.
        OSError: the spool is away, the disk full, or no more files can be opened; the same.
    """
    passed = PassedOver(actor=ACTOR) if passed is None else passed
    if not place.arrivals(settings.spool, 1):
        return 0
    spool = Spool(settings.spool, settings.readers)
    with _alone(settings.spool / place.ARRIVING):
        paths = place.arrivals(settings.spool, limit + len(passed))
        return each(
            database, passed, paths, lambda path: _arrive(database, settings, spool, _of(path)),
            limit=limit,
        )  # fmt: skip


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _of(path: Path) -> _Arrival:
    facts = read(path)
    meta = getattr(facts, "file_meta", Dataset())
    sender = str(meta.get("SendingApplicationEntityTitle", "")).strip()[:16]
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return _Arrival(path, digest(path), facts, sender, at)


def _arrive(database: Database, settings: Settings, spool: Spool, one: _Arrival) -> None:
    with database.reading() as session:
        row = keep.expected(session, one.study, one.sender, one.at)
        present = None if row is None else keep.load(session, row.study_id)
    sources = settings.site.priors.sources
    source = next((each for each in sources if row and each.name == row.source), None)
    if row is None or present is None or source is None:
        _put_aside(database, spool, one, UNEXPECTED)
        return
    older = Older(one.study, "", "", present.patient)
    why = doubt(settings.site.priors, present, older, source, one.facts)
    if why and row.state != "refused":
        _refuse(database, spool, row.id, why)
    if why or row.state == "refused":
        _put_aside(database, spool, one, REFUSED)
    elif _differs(database, row.id, one):
        _put_aside(database, spool, one, CONFLICT)
    else:
        _keep(database, settings, row, one)


def _keep(database: Database, settings: Settings, row: PriorRow, one: _Arrival) -> None:
    """Make it one of the prior's; it counts against the source's budget as it comes."""
    facts, size = one.facts, one.path.stat().st_size
    sha256, _ = place.keep(settings.spool, one.path, settings.readers, let_go=False)
    came = Came(
        str(facts.SOPInstanceUID), str(facts.SOPClassUID), str(facts.get("SeriesInstanceUID", "")),
        str(facts.file_meta.get("TransferSyntaxUID", "")), str(facts.get("Modality", "")), sha256,
        size,
    )  # fmt: skip
    with database.begin() as session:
        keep.add(session, row.id, came)
        budget.note_arrival(session, row.source, size)
    one.path.unlink(missing_ok=True)


def _differs(database: Database, prior_id: int, one: _Arrival) -> bool:
    """Tell whether the prior holds the instance with another content."""
    held = select(PriorInstanceRow.sha256).where(
        PriorInstanceRow.prior_id == prior_id,
        PriorInstanceRow.sop_instance_uid == str(one.facts.get("SOPInstanceUID", "")),
    )
    with database.reading() as session:
        return (session.scalar(held) or one.sha256) != one.sha256


def _refuse(database: Database, spool: Spool, prior_id: int, why: str) -> None:
    """Refuse the prior as a whole: what it has of C-MOVE goes into quarantine, not away."""
    with database.begin() as session:
        held = select(PriorInstanceRow).where(PriorInstanceRow.prior_id == prior_id)
        sender = session.get_one(PriorRow, prior_id).source_ae_title
        for row in session.scalars(held):
            path = place.prior_path(spool.root, row.sha256)
            if path.exists():
                spool.quarantine(path, row.sha256)
                _note(session, row.sha256, row.size_bytes, sender, REFUSED)
        keep.refuse(session, spool.root, prior_id, why)


def _put_aside(database: Database, spool: Spool, one: _Arrival, code: str) -> None:
    """Keep it in quarantine; what nobody asked for is a security alert of its own."""
    spool.quarantine(one.path, one.sha256)
    with database.begin() as session:
        if code == UNEXPECTED:
            _alert(session, "prior.unexpected", one.sender, ("study", one.study))
        _note(session, one.sha256, one.path.stat().st_size, one.sender, code)
    spool.release(one.path)
    log.get().warning("prior.put_aside", why=code)


def _note(session: Session, sha256: str, size_bytes: int, sender: str, code: str) -> None:
    """Write the row of a file in quarantine, once for each content."""
    if quarantine.note(session, sha256, size_bytes, code, sender=sender):
        _alert(session, "instance.quarantined", sender, ("file", sha256), {"reason": code})


def _alert(
    session: Session, kind: str, sender: str, about: tuple[str, str],
    detail: dict[str, str] | None = None,
) -> None:  # fmt: skip
    entry = Entry(
        event=Event.SECURITY_ALERT, kind=kind, action="C", outcome=SERIOUS, actor=ACTOR,
        ae_title=sender, object_type=about[0], object_id=about[1], detail=detail or {},
    )  # fmt: skip
    record(session, entry)
