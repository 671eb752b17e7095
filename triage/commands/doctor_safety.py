"""What ``triage doctor`` says about weaknesses, codecs, clocks, secrets and studies left alone."""

import ctypes
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_IMODE
from typing import Final
from urllib.parse import urlsplit

from triage.commands.checks import Check
from triage.commands.common import opened
from triage.commands.doctor_artifacts import artifacts
from triage.keys import KEY_BYTES
from triage.settings import Settings
from triage.sharing import FOLDER

TIME_ERROR: Final = 5
"""adjtimex(2): nothing keeps the clock right."""
REFUSED: Final = -1
TIMEX_BYTES: Final = 512
SKEW: Final = timedelta(seconds=2)
LEAST_DISTINCT: Final = 12
"""Different bytes among the 32 of a key: of random ones, fewer come once in 10**15 keys."""
LEAST_SECRET: Final = 16
"""Characters of a secret that somebody chose."""
LOOPBACK: Final = ("127.", "localhost", "::1", "[::1]")
BILL: Final = "sbom.json"
REINSTALL: Final = "pip install --require-hashes -r requirements.lock"


def advisories(settings: Settings) -> Iterator[Check]:
    """Hold what is installed against the checked-in advisories and a released bill."""
    from triage.commands.advisories import ADVISORIES, affected
    from triage.commands.installed import packages
    from triage.commands.sbom import differences

    found = packages()
    hits = affected(found)
    for package, advisory in hits:
        said = f"{package.version}: {advisory.name}, {advisory.what}"
        fix = f"install one that is not {advisory.affected}: {REINSTALL}"
        yield Check(f"weakness of {package.name}", ok=False, found=said, fix=fix)
    if not hits:
        said = f"none of {len(found)} packages is on the list of {len(ADVISORIES)}"
        yield Check("weaknesses", ok=True, found=said)
    bill = settings.state / BILL
    if bill.is_file():
        lines = differences(bill, found)
        yield Check("bill of materials", not lines, "; ".join(lines) or "as released", REINSTALL)


def codecs(_settings: Settings) -> Iterator[Check]:
    """Look for the one decoder that is used for each transfer syntax."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    from triage.preprocess.pixels import GDCM_READER, NATIVE, PLUGINS

    for syntax, plugin in PLUGINS.items():
        if plugin in {NATIVE, GDCM_READER}:
            continue  # pydicom itself; GDCM is asked for by other syntaxes
        there = get_decoder(UID(syntax)).available_plugins
        found = f"{plugin}, of {', '.join(there)}" if there else "no decoder"
        yield Check(f"decode {UID(syntax).name}", plugin in there, found, REINSTALL)


def clocks(settings: Settings) -> Iterator[Check]:
    """Ask the kernel whether somebody keeps the clock right, and compare it with the database's."""
    from db import schema
    from db.engine import now

    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    kept = state not in {TIME_ERROR, REFUSED}
    # On one machine alone every time is the same clock's; between machines they are compared.
    needs = bool(settings.site.audit.collectors) or _is_remote(settings.site.database.url)
    found = "kept right" if kept else "the kernel knows of nothing that keeps it right"
    yield Check("clock", kept or not needs, found, "run chrony or systemd-timesyncd")
    if schema.current(settings.database_url) != schema.head():
        return  # said already
    with opened(settings) as database, database.reading() as session:
        skew = abs(now(session) - datetime.now(UTC))
    found = f"{skew.total_seconds():.1f} s from the database's"
    yield Check("database's clock", skew < SKEW, found, "run chrony on both machines")


def _is_remote(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return bool(host) and not host.startswith(LOOPBACK)


def secrets(settings: Settings) -> Iterator[Check]:
    """Look at every secret's place: who may read it, and whether it could be guessed."""
    shares = settings.readers.group is not None
    if settings.state.is_dir():
        yield _mode("state folder", settings.state, 0o750 if shares else 0o700)
    if shares:
        yield from _kept(settings)
    if settings.secrets.is_dir():
        # One for all services; where each has its own below it, one that may be passed through.
        is_common = shares and not settings.site.sharing.secrets
        yield _mode("secrets folder", settings.secrets, 0o710 if is_common else 0o700)
        for path in sorted(one for one in settings.secrets.rglob("*") if one.is_file()):
            yield _mode(f"secret {path.relative_to(settings.secrets)}", path, 0o600)
            if path.suffix == ".key":
                yield _key(path)
    yield from _in_configuration(settings)


def _kept(settings: Settings) -> Iterator[Check]:
    """Look whether the readers that the site names reach what is kept, and nobody else does."""
    store = settings.spool / "store"
    if not store.is_dir():
        return  # nothing was ever received here
    facts, group = store.stat(), settings.readers.group
    mode = S_IMODE(facts.st_mode)
    fix = f"systemd-tmpfiles --create, or: chgrp -R {group} {store} && chmod -R g+rX {store}"
    found = f"mode {mode:04o}, group {facts.st_gid}"
    yield Check("kept studies", (mode, facts.st_gid) == (FOLDER, group), found, fix)


def _mode(name: str, path: Path, wanted: int) -> Check:
    mode = S_IMODE(path.stat().st_mode)
    return Check(name, not mode & ~wanted & 0o777, f"mode {mode:04o}", f"chmod {wanted:o} {path}")


def _key(path: Path) -> Check:
    content = path.read_bytes()
    is_drawn = len(content) == KEY_BYTES and len(set(content)) >= LEAST_DISTINCT
    found = f"{KEY_BYTES} random bytes" if is_drawn else "not what a generator draws"
    fix = "restore it from its backup; without one, remove it, and a new one is drawn"
    return Check(f"strength of {path.name}", is_drawn, found, fix)


def _in_configuration(settings: Settings) -> Iterator[Check]:
    site = settings.site
    passwords = {
        "database.url": urlsplit(site.database.url).password,
        "broker.url": urlsplit(site.broker.url).password,
    }
    path = settings.config / "site.yaml"
    for key, password in passwords.items():
        if password is None:
            continue
        yield (
            _mode(f"{key} holds a password", path, 0o600)
            if path.is_file()
            else Check(f"{key} holds a password", ok=True, found="in the environment")
        )
        fix = f"choose one of {LEAST_SECRET} characters or more, by a generator"
        found = f"{len(password)} characters"
        yield Check(f"password in {key}", len(password) >= LEAST_SECRET, found, fix)
    if _is_remote(site.broker.url) and passwords["broker.url"] is None:
        fix = "give Redis a user and a password, and name them in broker.url"
        yield Check("broker's password", ok=False, found="none, over a network", fix=fix)
    if not site.web.host.startswith(LOOPBACK) and not site.web.secure_cookies:
        fix = "put a server with TLS before it, and set web.secure_cookies: true"
        yield Check("web", ok=False, found="cookies without Secure, over a network", fix=fix)


def studies(settings: Settings) -> Iterator[Check]:
    """Look for studies that nothing will move: overdue ones, and ones without an instance."""
    from sqlalchemy import exists, func, select

    from db import schema
    from db.engine import now
    from db.states import FINAL
    from db.tables import InstanceRow, StudyRow

    if schema.current(settings.database_url) != schema.head():
        return  # said already
    count = select(func.count()).select_from(StudyRow)
    with opened(settings) as database, database.reading() as session:
        late = now(session) - timedelta(seconds=settings.site.work.overdue_after_s)
        is_open = StudyRow.state.not_in(FINAL)
        overdue = session.scalar(count.where(is_open, StudyRow.last_instance_at <= late)) or 0
        empty = session.scalar(
            count.where(~exists().where(InstanceRow.study_id == StudyRow.id))
        ) or 0  # fmt: skip
    fix = "see that triage dispatch and triage worker run; triage queue ls names them"
    yield Check("overdue studies", not overdue, str(overdue), fix)
    yield Check("studies without instances", not empty, str(empty), "triage rebuild-index")


SAFETY: Final[tuple[Callable[[Settings], Iterator[Check]], ...]] = (
    advisories, artifacts, codecs, clocks, secrets, studies,
)  # fmt: skip
