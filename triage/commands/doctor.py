"""``triage doctor``: what this installation can and cannot do, each line with its fix."""

import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from triage.commands.checks import Check
from triage.commands.common import opened
from triage.commands.doctor_safety import SAFETY
from triage.errors import TriageError
from triage.settings import Settings
from triage.spool import Spool

FLOORS = {
    "pydicom": (3, 0, 2),
    "pynetdicom": (3, 0, 4),
    "monai": (1, 5, 2),
    "starlette": (0, 49, 1),
    "python-multipart": (0, 0, 26),
    "torch": (2, 10, 0),
}
"""Older releases have published vulnerabilities that this product would be open to."""

STALE = timedelta(hours=36)
"""Without nightly work."""
SEE = "see site.yaml, and `triage config validate`"
FIXES = {
    "database": "check database.url in site.yaml, and that its server runs",
    "spool": "give this user the state folder, on a disk with room",
    "detectors": "install the artifact again: its files are not those that were packed",
    "broker": "check broker.url in site.yaml: redis://HOST:PORT/0",
}
"""What to do where a check itself cannot run."""
NO_ECHO = "check address, port and AE titles on both sides, and that it knows ours"


def examine(settings: Settings) -> list[Check]:
    """Run every check; a check that cannot run is a failed one."""
    return [line for part in PARTS for line in _guarded(part, settings)]


def _guarded(part: Callable[[Settings], Iterator[Check]], settings: Settings) -> Iterator[Check]:
    try:
        yield from part(settings)
    except (TriageError, OSError, SQLAlchemyError, ImportError, RuntimeError, ValueError) as why:
        # A database's words may quote its URL, and with it a password.
        found = type(why).__name__ if isinstance(why, SQLAlchemyError) else f"{why}"
        name = part.__name__.strip("_")
        yield Check(name, ok=False, found=found, fix=FIXES.get(name, SEE))


def _versions(_settings: Settings) -> Iterator[Check]:
    python = sys.version_info
    yield Check("python", python >= (3, 11), f"{python.major}.{python.minor}", "use 3.11 or later")
    for name, floor in FLOORS.items():
        found = version(name)
        numbers = tuple(int(part) for part in found.split("+")[0].split(".")[:3] if part.isdigit())
        at_least = ".".join(map(str, floor))
        yield Check(name, numbers >= floor, found, f"pip install '{name}>={at_least}'")


def _configuration(settings: Settings) -> Iterator[Check]:
    yield Check("configuration", ok=True, found=str(settings.config))
    yield _peers(settings)
    count = len(settings.site.destinations)
    yield Check("destinations", count > 0, str(count), "name a PACS in site.yaml: destinations")


def _peers(settings: Settings) -> Check:
    """Look whom the listener lets in: nobody is no use, and anybody only inside one machine."""
    if settings.peers == "any":
        is_inside = settings.site.listener.host.startswith("127.")
        fix = "list who may send under listener.peers in site.yaml, or by `triage node add`"
        return Check("peers", is_inside, "any", fix)
    fix = "triage node add AE_TITLE --from ADDRESS, for each that may send"
    count = len(settings.peers)
    return Check("peers", count > 0, f"{count} may send" if count else "nobody may send", fix)


def _database(settings: Settings) -> Iterator[Check]:
    from db import schema

    found = schema.current(settings.database_url)
    yield Check("database", found == schema.head(), found or "empty", "triage db upgrade")


def _spool(settings: Settings) -> Iterator[Check]:
    root = settings.spool
    if not root.is_dir():
        Spool(root, settings.readers)
    least = settings.site.listener.min_free_bytes
    free = shutil.disk_usage(root).free
    yield Check("spool", free > least, f"{free / 2**30:.1f} GiB free", "free or add disk space")


def _custody(settings: Settings) -> Iterator[Check]:
    """Tell whether what was received comes out even, and whether somebody looked lately."""
    from db import schema
    from db.conflicts import HOLD, count_open
    from triage.record.reconcile import differences, latest

    if schema.current(settings.database_url) != schema.head():
        return  # said already
    with opened(settings) as database, database.reading() as session:
        row, held = latest(session), count_open(session, HOLD)
    if row is None:
        yield Check("custody", ok=True, found="never reconciled yet")
    else:
        found = "; ".join(f"{one.count} {one.words}" for one in differences(row))
        at = f"{row.at:%Y-%m-%d %H:%M} UTC"
        said = f"{row.received} received, {at}: {found or 'in balance'}"
        yield Check("custody", row.balanced, said, "put it right, then triage reconcile")
        is_fresh = datetime.now(UTC) - row.at < STALE
        yield Check("nightly work", is_fresh, f"last {at}", "see that triage dispatch runs")
    yield Check("conflicts", ok=True, found=f"{held} hold a study: triage conflict ls")


def _detectors(settings: Settings) -> Iterator[Check]:
    from models import artifact

    for name in sorted({name for route in settings.routes.routes for name in route.detectors}):
        folder = next((one / name for one in settings.artifacts if (one / name).is_dir()), None)
        fix = f"triage train configs/detectors/{name}.yaml"
        if folder is None:
            yield Check(f"detector {name}", ok=False, found="not installed", fix=fix)
            continue
        loaded = artifact.load(folder)
        yield Check(
            f"detector {name}", ok=True, found=f"{loaded.card.version} {loaded.sha256[:12]}"
        )


def _nodes(settings: Settings) -> Iterator[Check]:
    """Greet whom we send to or ask, each at its own place.

    Requesters of Storage Commitment are left out: a modality may be switched off.
    """
    from triage.commands.node_call import every
    from triage.commands.node_rows import ANSWERS, RECEIVES
    from triage.commands.node_test import shake
    from triage.dimse import echo

    for one in every(settings):
        if one.does == ANSWERS:
            continue
        who = one.name if one.does == RECEIVES else f"{one.name} {one.does}"
        try:
            echo(one.to)
        except TriageError as why:
            fix = f"{NO_ECHO}; {shlex.join(['triage', 'node', 'test', one.name])}"
            yield Check(f"echo {who}", ok=False, found=str(why), fix=fix)
            continue
        where = f"{one.to.ae_title}@{one.to.host}:{one.to.port}"
        yield Check(f"echo {who}", ok=True, found=where)
        if one.to.tls is not None:
            yield replace(shake(one.to, one.to.tls), name=f"TLS of {who}")


def _interfaces(settings: Settings) -> Iterator[Check]:
    """Reach what is no PACS, and read the secrets that it takes to send there."""
    from triage.deliver.credentials import secret
    from triage.deliver.probe import probe

    for to in settings.site.destinations:
        if to.kind != "dimse":
            reached = probe(to)[0]
            fix = "check its address in site.yaml, and that its server runs"
            yield Check(f"reach {to.name}", ok=reached.accepted, found=reached.detail, fix=fix)
        for name in ("password_file", "token_file", "secret_file"):
            if (path := getattr(to, name, None)) is None:
                continue
            try:
                secret(path)
            except TriageError as why:
                found, _, fix = str(why).partition("; ")
                yield Check(f"{name} of {to.name}", ok=False, found=found, fix=fix)
            else:
                yield Check(f"{name} of {to.name}", ok=True, found=str(path))


def _tls(settings: Settings) -> Iterator[Check]:
    from triage.commands.tls_check import examine

    yield from examine(settings)


def _refused(settings: Settings) -> Iterator[Check]:
    from triage.commands.refused import lines

    yield from lines(settings)


def _broker(settings: Settings) -> Iterator[Check]:
    url = settings.site.broker.url
    if not url:
        yield Check("broker", ok=True, found="none: local workers")
        return
    import redis

    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "")
    except redis.exceptions.NoPermissionError:
        yield Check("broker", ok=True, found="answers, and lets us do no more than we need")
        return
    except redis.RedisError as why:
        yield Check("broker", ok=False, found=type(why).__name__, fix="start Redis; see broker.url")
        return
    yield Check("broker", policy in ("", "noeviction"), f"policy {policy}", "set noeviction")


def _ports(settings: Settings) -> Iterator[Check]:
    site = settings.site
    for name, host, port in (
        ("listener port", site.listener.host, site.listener.port),
        ("web port", site.web.host, site.web.port),
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.settimeout(1)
            taken = probe.connect_ex((host, port)) == 0
        yield Check(name, ok=True, found=f"{port} {'answers' if taken else 'is free'}")


def _tools(_settings: Settings) -> Iterator[Check]:
    found = [name for name in ("dciodvfy", "dsrdump", "storescu") if shutil.which(name)]
    yield Check("dicom tools", ok=True, found=", ".join(found) or "none (only tests need them)")


PARTS: tuple[Callable[[Settings], Iterator[Check]], ...] = (
    _versions, _configuration, _database, _spool, _custody, _detectors, _nodes,
    _interfaces, _tls, _refused, _broker, _ports, _tools,
    *SAFETY,
)  # fmt: skip


def copy_packaged(packaged: Path, target: Path) -> Path:
    """Copy the packaged configuration for a site to edit.

    Raises:
        TriageError: the folder is already there.
    """
    if target.exists():
        msg = f"{target} is already there; edit it, then run `triage config validate`"
        raise TriageError(msg)
    shutil.copytree(packaged, target, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return target
