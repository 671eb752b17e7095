"""The audit trail to its repositories: the table is the queue, and nothing waits for it.

Rows go out in the order of their seals, each with its seal: whoever holds the messages can tell a
trail that was written anew or cut. A repository that is away delays messages; it costs none, and
no other repository and no study notices.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from db.engine import Database
from db.tables import AuditSealRow
from triage.collectors import Audit, Collector, Syslog
from triage.errors import TryAgain
from triage.trail import atna, balp, feed, rows, syslog
from triage.trail.message import message

FOLDER = "audit-sent"
"""In the state folder: one file a repository, holding the number of the last seal it has."""
LONGEST_PAUSE = 50
"""Times the usual one."""


@dataclass(slots=True)
class Shipper:
    """One repository, and how far it is."""

    database: Database
    folder: Path
    audit: Audit
    to: Collector

    @property
    def sent(self) -> int:
        """Give the number of the last seal that the repository has."""
        try:
            return int(self._mark.read_text())
        except (OSError, ValueError):
            return 0  # sent again from the first: the messages carry their ids

    def waiting(self) -> int:
        """Give how many sealed rows it does not have yet."""
        with self.database.reading() as session:
            return (session.scalar(select(func.max(AuditSealRow.seq))) or 0) - self.sent

    def ship(self) -> int:
        """Send one batch; gives how many rows.

        Raises:
            TryAgain: the repository took less than all of it.
        """
        with self.database.reading() as session:
            found = rows.sealed_after(session, self.sent, self.audit.batch)
        if not found:
            return 0
        told = [
            message(row, source_id=self.audit.source_id, site_id=self.audit.site_id)
            for row in found
        ]
        if isinstance(self.to, Syslog):
            lines = (syslog.line(atna.xml(one), at=one.at, outcome=one.outcome) for one in told)
            syslog.deliver(lines, self.to)
        else:
            feed.deliver(map(balp.resource, told), self.to)
        self._note(found[-1]["seq"])
        return len(found)

    @property
    def _mark(self) -> Path:
        return self.folder / FOLDER / self.to.name

    def _note(self, seq: int) -> None:
        self._mark.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = self._mark.with_suffix(".tmp")
        with fresh.open("w") as file:
            file.write(str(seq))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._mark)


def run(
    one: Shipper,
    stopping: Callable[[], bool],
    pause: Callable[[float], None],
    failed: Callable[[str, int], None],
) -> None:
    """Ship to one repository until asked to stop. Each has a thread: none waits for another.

    ``failed`` is told the repository's name and its failures in a row.
    """
    failures = 0
    while not stopping():
        try:
            moved = one.ship()
        except TryAgain:
            failures += 1
            failed(one.to.name, failures)
            pause(one.audit.pause_s * min(2**failures, LONGEST_PAUSE))
            continue
        failures = 0
        if not moved:
            pause(one.audit.pause_s)
