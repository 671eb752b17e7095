"""The oldest months of the trail into a file of their own, then out of the database.

The order makes every crash harmless: the archive is whole on disk before the bridge over it is
signed, and signed before a row goes. ``verify`` starts at the first seal it finds, so that a bridge
whose rows are still there changes nothing.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from db import audit, chain, retire
from db.audit import Entry, Event
from db.engine import Database, now
from db.retire import Plan
from db.retired import MOST_LOOSE, Bridge, note
from triage.errors import ConfigError, TryAgain
from triage.keys import AUDIT_KEY, site_key
from triage.settings import Settings
from triage.trail.ship import Shipper

FOLDER: Final = "audit-retired"
"""In the state folder: an archive for each time something was retired."""
NOT_OURS: Final = (
    "this role of the database does not own the audit trail and cannot take anything out of it; "
    "run `triage audit retire` with the owner's database.url"
)


@dataclass(frozen=True, slots=True)
class Gone:
    """What was retired, or would be."""

    rows: int
    before: datetime
    seq: int
    archive: Path


def limit(settings: Settings, at: datetime) -> datetime | None:
    """Give the moment before which the site's years are over; None where it keeps for ever."""
    years = settings.site.audit.retention_years
    if years is None:
        return None
    return retire.month_of(at).replace(year=at.astimezone(UTC).year - years)


def planned(
    database: Database, settings: Settings, before: datetime | None, *, actor: str
) -> Plan | None:
    """Seal everything, and give what goes: whole months, none younger than the site's years.

    Asking is audited, so that there is a younger row for the rest of the chain to end in.

    Raises:
        ConfigError: the site keeps its trail for ever, or for longer than asked.
    """
    with database.reading() as session:
        latest = limit(settings, now(session))
    if latest is None:
        msg = "audit.retention_years is empty in site.yaml: the trail is kept for ever"
        raise ConfigError(msg)
    wanted = retire.month_of(before) if before else latest
    if wanted > latest:
        msg = (
            f"rows from {latest:%Y-%m} on must stay: audit.retention_years in site.yaml is "
            f"{settings.site.audit.retention_years}"
        )
        raise ConfigError(msg)
    asking = Entry(
        event=Event.AUDIT_LOG_USED, kind="audit.used", action="R", actor=actor,
        object_type="audit", detail={"retire": wanted.isoformat()},
    )  # fmt: skip
    with database.begin() as session:
        audit.record(session, asking)
        while audit.seal(session, everywhere=True):
            pass
    with database.reading() as session:
        return retire.plan(session, wanted)


def carry_out(database: Database, settings: Settings, plan: Plan, *, actor: str) -> Gone:
    """Write the archive, sign the bridge, take the rows out, audited.

    Raises:
        ConfigError: this role may not.
        TryAgain: a repository does not have the rows yet, or rows came meanwhile.
    """
    _refuse(database, settings, plan)
    archive = settings.state / FOLDER / f"audit-{plan.seq:012d}.jsonl.gz"
    sha256 = write(archive, database, plan)
    bridge = Bridge(
        seq=plan.seq, row_hash=plan.row_hash, loose=plan.loose, rows=plan.rows,
        before=plan.before.isoformat(), archive=archive.name, archive_sha256=sha256,
    )  # fmt: skip
    key = site_key(settings.secrets, AUDIT_KEY)
    with database.begin() as session:
        if retire.plan(session, plan.before) != plan:
            msg = "rows of the months that go came meanwhile; run it again"
            raise TryAgain(msg)
        note(settings.bridges, key, bridge)
        entry = Entry(
            event=Event.SECURITY_ALERT, kind="audit.retired", action="D", actor=actor,
            object_type="audit",
            detail={
                "before": bridge.before, "rows": plan.rows, "seal": plan.seq,
                "archive": archive.name, "sha256": sha256,
            },
        )  # fmt: skip
        audit.record(session, entry)
        retire.remove(session, plan)
    return Gone(plan.rows, plan.before, plan.seq, archive)


def write(archive: Path, database: Database, plan: Plan) -> str:
    """Write the rows that go with their seals, of mode 0600; gives the file's SHA-256."""
    archive.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = archive.with_suffix(".tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    count = 0
    with os.fdopen(descriptor, "wb") as raw:
        with (
            gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file,
            database.reading() as session,
        ):
            for pair in retire.going(session, plan):
                file.write(f"{json.dumps(_plain(pair), sort_keys=True)}\n".encode())
                count += 1
        raw.flush()
        os.fsync(raw.fileno())
    if count != plan.rows:
        fresh.unlink()
        msg = f"{plan.rows} rows should go, and {count} have a seal; run `triage audit verify`"
        raise TryAgain(msg)
    fresh.replace(archive)
    folder = os.open(archive.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    with archive.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def read(archive: Path) -> Iterator[chain.Pair]:
    """Give an archive's rows with their seals, in the order of sealing."""
    with gzip.open(archive, "rt", encoding="utf-8") as file:
        for line in file:
            said = json.loads(line)
            yield chain.Pair(**said)


def examine(pairs: Iterable[chain.Pair]) -> tuple[int, str]:
    """Prove an archive by itself; gives how many rows hold, and what is wrong behind them.

    Each row fits its own seal, and each seal hangs on the one before; where a row was retired out
    of its order the numbers leave a gap, and nothing is known of what hung between.
    """
    count, seq, prev = 0, None, ""
    for pair in pairs:
        follows = seq is not None and pair.seq == seq + 1
        wrong = chain.problem(prev if follows else pair.prev_hash, pair.seq, pair, {})
        if not wrong and seq is not None and pair.seq <= seq:
            wrong = "the rows are not in their order"
        if wrong:
            return count, f"seal {pair.seq}: {wrong}"
        count, seq, prev = count + 1, pair.seq, pair.row_hash
    return count, ""


def _plain(pair: chain.Pair) -> Mapping[str, Any]:
    row = dict(pair.row or {})
    row["at"] = row["at"].isoformat()
    return {**pair._asdict(), "row": row}


def _refuse(database: Database, settings: Settings, plan: Plan) -> None:
    if len(plan.loose) > MOST_LOOSE:
        msg = f"{len(plan.loose)} rows were sealed out of their month's order; name another month"
        raise ConfigError(msg)
    with database.reading() as session:
        if not retire.may_retire(session):
            raise ConfigError(NOT_OURS)
        unsealed = retire.count_unsealed(session, plan.before)
    if unsealed:
        msg = f"{unsealed} rows of these months have no seal yet; run it again"
        raise TryAgain(msg)
    newest = max(plan.loose, default=plan.seq)
    for to in settings.site.audit.collectors:
        if Shipper(database, settings.state, settings.site.audit, to).sent < newest:
            msg = f"audit repository {to.name} does not have these rows yet"
            raise TryAgain(msg)
