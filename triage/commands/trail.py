"""What ``triage audit`` does: ask the trail, hand it on, and prove that nobody changed it."""

import hashlib
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy.orm import Session

from db import audit, checkpoint, retired
from db.audit import Entry, Event
from db.engine import Database
from triage import log
from triage.collectors import Audit
from triage.commands import common
from triage.errors import ConfigError
from triage.keys import AUDIT_KEY, site_key
from triage.settings import Settings
from triage.trail.handout import COLUMNS, lines
from triage.trail.rows import Question, Row, answered
from triage.trail.ship import Shipper, run

POLL_S = 0.2


def query(database: Database, ask: Question, *, actor: str) -> list[dict[str, Any]]:
    """Give matching rows, newest first. Asking is itself audited (110101 Audit Log Used)."""
    with database.begin() as session:
        rows = [{name: row[name] for name in COLUMNS} for row in answered(session, ask)]
        _used(session, actor, _asked(ask) | {"rows": len(rows)})
    return rows


def export(
    database: Database, own: Audit, ask: Question, out: Path, form: str, *, actor: str
) -> int:
    """Write matching rows to a file of mode 0600, newest first; gives how many.

    The export is on record before the first row is written.
    """
    entry = Entry(
        event=Event.EXPORT, kind="audit.exported", action="R", actor=actor, object_type="audit",
        detail=_asked(ask) | {"format": form},
    )  # fmt: skip
    with database.begin() as session:
        audit.record(session, entry)
    with database.reading() as session, _sink(out) as file:
        return _write(file, answered(session, ask), form, own)


def ship(settings: Settings, *, once: bool) -> None:
    """Send sealed rows to the repositories of site.yaml.

    Raises:
        ConfigError: site.yaml names none.
        TryAgain: with ``once``, a repository did not take everything.
    """
    from triage.commands.harden import harden
    from triage.stopping import on_stop_signal

    own = settings.site.audit
    if not own.collectors:
        msg = "no repository to send to: name one under audit.collectors in site.yaml"
        raise ConfigError(msg)
    log.configure("audit", as_json=not sys.stderr.isatty())
    with common.opened(settings) as database:
        shippers = [Shipper(database, settings.state, own, to) for to in own.collectors]
        if once:
            for one in shippers:
                while one.ship():
                    pass
            return
        harden()
        _until(on_stop_signal(), shippers)


def _until(stopping: Callable[[], bool], shippers: list[Shipper]) -> None:
    """Give each repository a thread until asked to stop; a pause ends when that is asked."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=run, args=(one, stop.is_set, stop.wait, _say), daemon=True)
        for one in shippers
    ]
    for one in threads:
        one.start()
    while not stopping():
        time.sleep(POLL_S)
    stop.set()
    for one, shipper in zip(threads, shippers, strict=True):
        one.join(shipper.to.deadline_s)


def verify(database: Database, settings: Settings, *, actor: str) -> audit.Verdict:
    """Seal what is not yet sealed, then walk the chain against the remembered heads. Audited.

    Raises:
        ConfigError: the file of remembered heads was changed, or its key is another one.
    """
    remembered, bridges = _remembered(settings), _retired(settings)
    with database.begin() as session:
        _used(session, actor, {"verify": True})
    with database.begin() as session:
        while audit.seal(session, everywhere=True):
            pass
    with database.reading() as session:
        if (
            session.get_bind().dialect.name == "postgresql"
        ):  # one picture, whoever writes or retires
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return audit.verify(session, remembered, bridges)


def verify_archive(path: Path, settings: Settings) -> tuple[int, str]:
    """Prove an archive of retired rows; gives how many hold, and what is wrong behind them.

    Raises:
        ConfigError: the file is none, or the file of bridges was changed.
    """
    from triage.trail.retire import examine, read

    signed = _retired(settings).archives.get(path.name)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if signed is not None and signed != digest:
            return 0, "it is not the file that was signed when its rows were retired"
        return examine(read(path))
    except (OSError, EOFError, zlib.error, ValueError, TypeError):
        msg = f"{path} is no archive of the audit trail"
        raise ConfigError(msg) from None


def _say(name: str, failures: int) -> None:
    log.get().warning("audit.waits", repository=name, failures=failures)


def _write(file: TextIO, rows: Iterator[Row], form: str, own: Audit) -> int:
    count = -1 if form == "csv" else 0  # its header is no row
    for line in lines(rows, form, own):
        file.write(line)
        count += 1
    return count


@contextmanager
def _sink(out: Path) -> Iterator[TextIO]:
    if str(out) == "-":
        yield sys.stdout
        return
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        yield file


def _remembered(settings: Settings) -> dict[int, str]:
    if not settings.checkpoints.exists():
        return {}
    try:
        return checkpoint.load(settings.checkpoints, site_key(settings.secrets, AUDIT_KEY))
    except checkpoint.CheckpointError as why:
        raise ConfigError(str(why)) from None


def _retired(settings: Settings) -> retired.Retired:
    if not settings.bridges.exists():
        return retired.NOTHING
    try:
        return retired.load(settings.bridges, site_key(settings.secrets, AUDIT_KEY))
    except checkpoint.CheckpointError as why:
        raise ConfigError(str(why)) from None


def _asked(ask: Question) -> dict[str, Any]:
    """Give what was asked, without whom it was asked about."""
    return {
        "event": ask.event, "study": ask.study, "user": ask.user, "patient": bool(ask.patient),
    }  # fmt: skip


def _used(session: Session, actor: str, detail: dict[str, Any]) -> None:
    entry = Entry(
        event=Event.AUDIT_LOG_USED, kind="audit.used", action="R", actor=actor,
        object_type="audit", detail=detail,
    )  # fmt: skip
    audit.record(session, entry)
