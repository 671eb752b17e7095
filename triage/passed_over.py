"""One bad entry is no full stop: what cannot be taken now is passed over, and the rest goes on.

Nothing is deleted. The entry stays where it is and is tried again after a pause that grows; the
audit trail and the log say so once, without a value of the data set. Only what every entry would
meet stops the round: a database that does not answer, a full disk.
"""

import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC, EROFS, errorcode
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session

from db.audit import SERIOUS, Entry, Event, record
from db.engine import Database, is_transient
from db.once import AuditOnceRow
from triage import log

FIRST_S: Final = 1.0
LONGEST_S: Final = 300.0
"""Between two tries of the same entry; each pause is twice the one before."""
OURS: Final = re.compile(r"[0-9a-f-]{32,48}\.(?:dcm|jsonl)")
"""Names that we give. Another's may tell whose the file is, and is said nowhere."""
THE_DATA: Final = ("22", "54")
"""SQLSTATE classes of what a statement carries: data exception, program limit exceeded."""

EVERYBODYS: Final = frozenset((ENOSPC, EDQUOT, EROFS, EMFILE, ENFILE, ENOMEM))


@dataclass(slots=True)
class Pause:
    """Until when an entry is left alone, how long that is, and whether it was said."""

    until: float
    seconds: float
    is_said: bool = False


class PassedOver:
    """Entries that could not be taken, and when each is tried again. Kept in memory only."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, actor: str = "ingestor"
    ) -> None:
        """Remember nothing yet. ``actor`` is who passes over, for the audit trail."""
        self.actor = actor
        self._clock = clock
        self._pauses: dict[Path, Pause] = {}

    def __len__(self) -> int:
        return len(self._pauses)

    def due(self, paths: Sequence[Path]) -> list[Path]:
        """Give what is not left alone just now, in the same order."""
        at = self._clock()
        return [one for one in paths if one not in self._pauses or self._pauses[one].until <= at]

    def pause(self, path: Path) -> Pause:
        """Leave an entry alone, each time for twice as long.

        One that was not tried long after its pause is gone, and is forgotten.
        """
        gone = self._clock() - LONGEST_S
        self._pauses = {one: kept for one, kept in self._pauses.items() if kept.until > gone}
        one = self._pauses.setdefault(path, Pause(0.0, FIRST_S / 2))
        one.seconds = min(one.seconds * 2, LONGEST_S)
        one.until = self._clock() + one.seconds
        return one

    def forget(self, path: Path) -> None:
        """Note that an entry was taken."""
        self._pauses.pop(path, None)


def each(
    database: Database,
    passed: PassedOver,
    paths: Sequence[Path],
    take: Callable[[Path], None],
    *,
    limit: int | None = None,
) -> int:
    """Take each entry that is due, by itself, up to ``limit``; gives how many were taken.

    Raises:
        SQLAlchemyError: the database is away or busy; the others wait as they are.
        OSError: the disk is full, or the process has no more files to open.
    """
    count = 0
    for path in passed.due(paths)[:limit]:
        try:
            take(path)
        except Exception as why:
            if _is_everybodys(database, why):
                raise
            _pass_over(database, passed, path, why)
        else:
            passed.forget(path)
            count += 1
    return count


def is_of_the_data(error: DBAPIError) -> bool:
    """Tell whether the database refuses the values themselves, as it will the next time."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return isinstance(error, DataError) or state.startswith(THE_DATA)


def refusal(error: DBAPIError) -> str:
    """Say how the database refused values, without them."""
    state = getattr(error.orig, "sqlstate", None)
    return f"the database refuses it: {state or type(error.orig).__name__}"


def _is_everybodys(database: Database, error: Exception) -> bool:
    """Tell whether the next entry would meet the same error: it is the database's or the disk's.

    Where no server answered, it is asked again: a driver also gives up by itself on a statement.
    """
    if isinstance(error, OSError):
        return error.errno in EVERYBODYS
    if isinstance(error, NoConnection):
        return True
    if not isinstance(error, DBAPIError) or not is_transient(error):
        return False
    named = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return named is not None or not answers(database)


def answers(database: Database) -> bool:
    """Tell whether the database takes a statement now."""
    try:
        with database.begin() as session:
            session.execute(select(1))
    except SQLAlchemyError:
        return False
    return True


def _pass_over(database: Database, passed: PassedOver, path: Path, error: Exception) -> None:
    """Leave an entry for later, and say so once.

    Raises:
        SQLAlchemyError: the audit trail does not take it; it is said at the next try.
    """
    pause = passed.pause(path)
    is_lost = isinstance(error, OperationalError)  # a connection: by the third try it is not that
    if pause.is_said or (is_lost and pause.seconds < 4 * FIRST_S):
        return
    name = path.name if OURS.fullmatch(path.name) else "a name that is not ours"
    why = _words(error)
    with database.begin() as session:
        _alert(session, path, name, why, passed.actor)
    pause.is_said = True
    log.get().error("spool.passed-over", place=path.parent.name, file=name, why=why)


def _alert(session: Session, path: Path, name: str, why: str, actor: str) -> None:
    """Write the audit row of an entry that is passed over, unless it is there from before."""
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"passed-over:{path.parent.name}/{path.name}"))
    if session.get(AuditOnceRow, uid) is not None:
        return
    entry = Entry(
        event=Event.SECURITY_ALERT, kind="spool.passed-over", outcome=SERIOUS, actor=actor,
        object_type="file", object_id=name, detail={"place": path.parent.name, "reason": why},
        event_uid=uid,
    )  # fmt: skip
    record(session, entry)


def _words(error: Exception) -> str:
    """Say what went wrong by its kind alone: its own words may quote a value or a path."""
    code = errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{type(error).__name__} {code}".strip()
