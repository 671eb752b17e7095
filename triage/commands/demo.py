"""``triage demo``: the whole road on made-up studies, in one command."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import func, select

from db.engine import Database
from db.states import FINAL
from db.tables import OutboxRow, QuarantineRow, StudyRow
from triage.commands import common, demo_studies, trail, up
from triage.commands.demo_studies import DemoStudy
from triage.commands.pacs import kept
from triage.commands.send import Sent, send_files
from triage.commands.supervise import Program, Supervisor
from triage.destinations import Dimse
from triage.dimse import Remote
from triage.settings import DEFAULT_STATE, ENV_PREFIX, Settings
from triage.settings import load as load_settings
from triage.stopping import on_stop_signal

PACS: Final = "TESTPACS"
MODALITY: Final = "DEMO"
USER: Final = "demo"
LIMIT_S: Final = 120.0
SOUND: Final = ("prioritised", "not prioritised")
"""Outcomes of an analysed study, which therefore has a report."""


@dataclass(slots=True)
class Run:
    """What one run measured."""

    sent: int = 0
    refused: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def lap(self, name: str) -> None:
        """Note the seconds since the last lap."""
        self.seconds[name] = round(time.monotonic() - self._started, 2)
        self._started = time.monotonic()


def run(state: Path | None, *, port: int, check: bool) -> int:
    """Run the demo; with ``check`` it ends by itself and gives the exit code."""
    state = (state or DEFAULT_STATE.parent / "triage-demo").expanduser().absolute()
    console = Console(stderr=True)
    settings = _configure(state, port)
    measured = Run()
    common.prepare(settings)
    database = common.open_database(settings)
    password = _make_user(database)
    supervisor = Supervisor(state / "logs", common.environment(settings))
    stopping = on_stop_signal()
    try:
        supervisor.start([_pacs(settings), *up.programs(settings)])
        with console.status("Making a dozen studies and starting the processes"):
            studies = demo_studies.make(state / "studies")
            ready = up.wait_for(lambda: stopping() or _listens(settings), LIMIT_S)
        measured.lap("start")
        if not ready:
            console.print(f"The processes did not start; see {state / 'logs'}")
            return common.FAILED
        _send(settings, studies, measured, console)
        _settle(database, studies, console, stopping)
        measured.lap("settle")
        answer = _verdict(database, settings, studies, measured)
        if check:
            common.print_json(answer)
            return common.OK if answer["ok"] else common.FAILED
        _show(database, settings, password, console)
        supervisor.run(stopping)
        return common.OK
    finally:
        supervisor.stop()
        database.dispose()


def _forget_the_site() -> None:
    """Drop variables that would lead made-up studies into a site's own database or PACS."""
    for name in [one for one in os.environ if one.startswith(ENV_PREFIX)]:
        del os.environ[name]


def _configure(state: Path, port: int) -> Settings:
    """Write the demo's site.yaml with free loopback ports, and read it back."""
    _forget_the_site()
    free = _free_ports(3)
    site: dict[str, Any] = {
        "listener": {
            "port": free[0],
            "min_free_bytes": 100_000_000,
            "peers": [{"ae_title": MODALITY, "addresses": ["127.0.0.1"]}],
        },
        "web": {"port": port or free[1]},
        "destinations": [
            {"name": "test-pacs", "ae_title": PACS, "host": "127.0.0.1", "port": free[2]}
        ],
        "completeness": {"quiet_s": 3, "quiet_s_by_modality": {}},
        "intended_use": {"mode": "research"},
    }
    folder = state / "configs"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    heading = "# Written by `triage demo` at every start.\n"
    (folder / "site.yaml").write_text(heading + yaml.safe_dump(site, sort_keys=False))
    return common.load(load_settings(state, folder).state, folder)


def _free_ports(count: int) -> list[int]:
    """Give ports that were free a moment ago, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _pacs(settings: Settings) -> Program:
    port = str(_pacs_port(settings))
    folder = str(settings.state / "pacs")
    return Program("pacs", ("triage", "pacs", folder, "--port", port, "--ae-title", PACS))


def _pacs_port(settings: Settings) -> int:
    return next(one.port for one in settings.site.destinations if isinstance(one, Dimse))


def _make_user(database: Database) -> str | None:
    """Make the demo's user with a fresh password; None when an earlier run made one."""
    import secrets

    from triage.worklist.auth import create_user, has_users

    password = secrets.token_urlsafe(12)
    with database.begin() as session:
        if has_users(session):
            return None
        create_user(session, USER, password, "admin radiologist")
    return password


def _listens(settings: Settings) -> bool:
    """Tell whether listener, test PACS and web answer."""
    site = settings.site
    ports = (site.listener.port, _pacs_port(settings), site.web.port)
    for port in ports:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return False
    return True


def _send(
    settings: Settings, studies: list[DemoStudy], measured: Run, console: Console
) -> list[Sent]:
    """Send every study as a PACS would, the re-sent one again."""
    listener = settings.site.listener
    remote = Remote(listener.ae_title, listener.host, listener.port, calling_ae_title=MODALITY)
    answers: list[Sent] = []
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("Sending", total=len(studies))
        for study in studies:
            for _ in range(study.times):
                answers += send_files(list(study.files), remote)
            progress.advance(task)
    measured.sent = sum(one.ok for one in answers)
    measured.refused = sum(not one.ok for one in answers)
    measured.lap("send")
    return answers


def _settle(
    database: Database, studies: list[DemoStudy], console: Console, stopping: Callable[[], bool]
) -> None:
    """Wait until every study has come to rest, and every report has left."""
    expected = sum(study.accepted for study in studies)

    def settled() -> int:
        with database.reading() as session:
            resting = select(func.count()).where(StudyRow.state.in_(FINAL))
            return session.scalar(resting.select_from(StudyRow)) or 0

    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("Working", total=expected)

        def done() -> bool:
            progress.update(task, completed=settled())
            return stopping() or settled() >= expected

        up.wait_for(done, LIMIT_S)


def _verdict(
    database: Database, settings: Settings, studies: list[DemoStudy], measured: Run
) -> dict[str, Any]:
    """Check what the demo promises: all at rest, one report each, the trail whole."""
    with database.reading() as session:
        rows = session.scalars(select(StudyRow)).all()
        outcomes = {row.outcome: 0 for row in rows}
        for row in rows:
            outcomes[row.outcome] += 1
        analysed = {row.study_instance_uid for row in rows if row.outcome in SOUND}
        reports = session.scalar(select(func.count()).select_from(OutboxRow)) or 0
        quarantined = session.scalar(select(func.count()).select_from(QuarantineRow)) or 0
        unsettled = [row.id for row in rows if row.state not in FINAL]
    at_pacs = [one.study_instance_uid for one in kept(settings.state / "pacs")]
    trail_verdict = trail.verify(database, settings, actor=USER)
    expected = sum(study.accepted for study in studies)
    ok = (
        len(rows) == expected
        and not unsettled
        and sorted(at_pacs) == sorted(analysed)
        and len(at_pacs) == reports > 0
        and trail_verdict.ok
    )
    return {
        "ok": ok,
        "studies": len(rows),
        "expected": expected,
        "outcomes": outcomes,
        "unsettled": unsettled,
        "files_accepted": measured.sent,
        "files_refused": measured.refused,
        "quarantined": quarantined,
        "analysed": len(analysed),
        "reports_at_pacs": len(at_pacs),
        "audit": asdict(trail_verdict),
        "seconds": measured.seconds,
        "state": str(settings.state),
    }


def _show(database: Database, settings: Settings, password: str | None, console: Console) -> None:
    with database.reading() as session:
        rows = session.scalars(
            select(StudyRow).order_by(StudyRow.priority.desc(), StudyRow.received_at)
        ).all()
    common.print_table(
        ("outcome", "priority", "patient", "modality", "why"),
        [
            (row.outcome, row.priority_name, row.patient_name, row.modality, row.sentence)
            for row in rows
        ],
    )
    web = settings.site.web
    console.print(f"\nWorklist  http://{web.host}:{web.port}/", highlight=False)
    sign_in = f"user {USER}, password {password}" if password else f"user {USER}, as before"
    console.print(f"Sign in   {sign_in}", highlight=False)
    console.print(f"Look      triage study show 1 --state {settings.state}", soft_wrap=True)
    console.print(f"Offline   triage run {settings.state / 'studies'} --json", soft_wrap=True)
    console.print("Ctrl-C ends it.")
