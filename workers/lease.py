"""Holding a claim while working: a heartbeat for the lease, a wall limit for the process."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from db import lifecycle
from db.engine import Database
from db.lifecycle import Claim
from triage import log
from triage.settings import Work

EXIT_WALL_LIMIT: Final = 75
"""EX_TEMPFAIL: the supervisor starts the worker again."""


@contextmanager
def held(database: Database, claim: Claim, pace: Work) -> Iterator[None]:
    """Renew the claim's lease while the body runs; end this process if it runs too long.

    A process that hangs inside a library cannot be told to stop, so it is ended whole: the lease
    runs out, and another worker takes the study.
    """
    stop = threading.Event()
    beat = threading.Thread(
        target=_beat, args=(database, claim, pace, stop), name="lease", daemon=True
    )
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()


def _beat(database: Database, claim: Claim, pace: Work, stop: threading.Event) -> None:
    interval, worked = pace.lease_s / 3, 0.0
    while not stop.wait(min(interval, pace.wall_limit_s)):
        worked += interval
        if worked >= pace.wall_limit_s:
            log.get().error("worker.wall-limit", study=claim.study_id, state=claim.state)
            os._exit(EXIT_WALL_LIMIT)
        try:
            with database.begin() as session:
                if not lifecycle.renew(session, claim, timedelta(seconds=pace.lease_s)):
                    return  # lost it: the fence will refuse our result
        except SQLAlchemyError as why:
            log.get().warning("lease.not-renewed", study=claim.study_id, why=type(why).__name__)


@cache
def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def _start_ticks(pid: int) -> str | None:
    """Give the process's start time in clock ticks: a pid alone may be used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def owner() -> str:
    """Name this process so that another on the same host can tell whether it still lives."""
    pid = os.getpid()
    return f"{socket.gethostname()[:60]}:{_boot_id()[:8]}:{pid}:{_start_ticks(pid)}"


def is_dead(name: str) -> bool:
    """Tell whether a lease's owner surely lives no more; unsure counts as alive."""
    host, boot, pid, ticks = (name.split(":") + [""] * 4)[:4]
    if host != socket.gethostname()[:60] or not pid.isdigit():
        return False
    return boot != _boot_id()[:8] or _start_ticks(int(pid)) != ticks
