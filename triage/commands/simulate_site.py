"""What the modalities send to: a pipeline of its own in a folder, and a PACS for its reports."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from db.engine import Database
from triage import dimse
from triage.commands import common, up
from triage.commands.simulate_readers import Desk
from triage.commands.supervise import Program, Supervisor
from triage.dimse import STUDY_ROOT_FIND, Remote
from triage.errors import ConfigError
from triage.settings import ENV_PREFIX, Settings
from triage.settings import load as load_settings

PACS_AE: Final = "SIMPACS"
USER: Final = "simulated-reader"
ROLE: Final = "radiologist"
START_S: Final = 120.0
STOP_S: Final = 20.0
PATIENCE_S: Final = 10.0
"""Of a modality: then it takes an association for dead, and sends again."""
PENDING: Final = frozenset({0xFF00, 0xFF01})
FIND_AT_ONCE: Final = 50
PacsKind = Literal["auto", "small", "orthanc"]


@dataclass(frozen=True, slots=True)
class Site:
    """What the simulation sends to and looks into."""

    listener: Remote
    database: Database | None = None
    """None where the pipeline's state cannot be seen."""
    desk: Desk | None = None
    pacs: Remote | None = None
    settings: Settings | None = None

    def station(self, ae_title: str) -> Remote:
        """Give the listener as a station calls it."""
        one = self.listener
        return Remote(one.ae_title, one.host, one.port, ae_title, deadline_s=PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Wish:
    """How a pipeline of one's own is to be."""

    state: Path
    stations: Sequence[str]
    """AE titles that may send."""
    pacs: PacsKind = "auto"
    quiet_s: float = 5.0
    read_s: float = 60.0
    asks: bool = False
    """The pipeline asks the PACS how many instances a study has."""


@contextmanager
def own_site(wish: Wish) -> Iterator[Site]:
    """Run a whole pipeline on loopback until the block ends.

    Raises:
        ConfigError: it does not start within two minutes.
    """
    _forget_the_site()
    kind = _kind(wish.pacs)
    settings = _configure(wish)
    common.prepare(settings)
    database = common.open_database(settings)
    supervisor = Supervisor(settings.state / "logs", common.environment(settings))
    destination = settings.site.destinations[0]
    pacs = Remote(PACS_AE, "127.0.0.1", getattr(destination, "port", 0), calling_ae_title="TRIAGE")
    try:
        with _pacs(kind, settings.state, pacs.port) as programs:
            supervisor.start([*programs, *up.programs(settings)])
            desk = _desk(database, settings, wish.read_s)
            _await(settings, pacs)
            listener = settings.site.listener
            site = Remote(listener.ae_title, listener.host, listener.port)
            try:
                yield Site(site, database, desk, pacs, settings)
            finally:
                supervisor.stop()
    finally:
        database.dispose()


@contextmanager
def running_site(listener: Remote, desk: Desk | None, settings: Settings | None) -> Iterator[Site]:
    """Look into a pipeline that runs already; without its settings only the sending is judged."""
    if settings is None:
        yield Site(listener, desk=desk)
        return
    with common.opened(settings) as database:
        yield Site(listener, database, desk, settings=settings)


def reports_at(pacs: Remote, uids: Sequence[str]) -> set[str]:
    """Ask a PACS by C-FIND which of these SOP instances it keeps.

    Raises:
        TryAgain, Broken: it does not answer such questions.
    """
    found: set[str] = set()
    with dimse.associate(pacs, [(STUDY_ROOT_FIND, ImplicitVRLittleEndian)]) as association:
        for start in range(0, len(uids), FIND_AT_ONCE):
            query = Dataset()
            query.QueryRetrieveLevel = "IMAGE"
            query.SOPInstanceUID = list(uids[start : start + FIND_AT_ONCE])
            for status, match in association.send_c_find(query, STUDY_ROOT_FIND):
                if status.get("Status") in PENDING and match is not None:
                    found.add(str(match.SOPInstanceUID))
    return found & set(uids)


def _forget_the_site() -> None:
    """Drop variables that would lead made-up studies into a site's own database or PACS."""
    for name in [one for one in os.environ if one.startswith(ENV_PREFIX)]:
        del os.environ[name]


def _configure(wish: Wish) -> Settings:
    ports = _free_ports(3)
    peers = [{"ae_title": one, "addresses": ["127.0.0.1"]} for one in wish.stations]
    site: dict[str, Any] = {
        "listener": {
            "port": ports[0],
            "min_free_bytes": 100_000_000,
            "peers": [*peers, {"ae_title": PACS_AE, "addresses": ["127.0.0.1"]}],
            "max_associations_per_address": 32,
        },
        "web": {"port": ports[1]},
        "destinations": [
            {"name": "pacs", "ae_title": PACS_AE, "host": "127.0.0.1", "port": ports[2]}
        ],
        "completeness": {"quiet_s": wish.quiet_s, "quiet_s_by_modality": {}},
    }
    if wish.asks:
        pacs = {"name": "pacs", "ae_title": PACS_AE, "host": "127.0.0.1", "port": ports[2]}
        site["completeness"]["sources"] = [pacs]
    folder = wish.state / "configs"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    heading = "# Written by `triage simulate` at every start.\n"
    (folder / "site.yaml").write_text(heading + yaml.safe_dump(site, sort_keys=False))
    return common.load(load_settings(wish.state, folder).state, folder)


def _free_ports(count: int) -> list[int]:
    """Give ports that were free a moment ago, all different."""
    import socket

    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _desk(database: Database, settings: Settings, read_s: float) -> Desk:
    """Make an account for the readers, with a fresh password; gives where they sign in."""
    from triage.worklist.auth import create_user

    password, user = secrets.token_urlsafe(12), f"{USER}-{secrets.token_hex(3)}"
    with database.begin() as session:
        create_user(session, user, password, ROLE)
    web = settings.site.web
    return Desk(f"http://{web.host}:{web.port}", user, password, read_s)


def _await(settings: Settings, pacs: Remote) -> None:
    import socket

    site = settings.site
    ports = (site.listener.port, site.web.port, pacs.port)

    def answers() -> bool:
        for port in ports:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True

    if not up.wait_for(answers, START_S):
        msg = f"the pipeline did not start; see {settings.state / 'logs'}"
        raise ConfigError(msg)


def _kind(wanted: PacsKind) -> PacsKind:
    if wanted == "orthanc" and _orthanc() is None:
        msg = "Orthanc is not installed; install the package orthanc, or say --pacs small"
        raise ConfigError(msg)
    if wanted == "auto":
        return "orthanc" if _orthanc() else "small"
    return wanted


def _orthanc() -> str | None:
    return shutil.which("Orthanc", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))


@contextmanager
def _pacs(kind: PacsKind, state: Path, port: int) -> Iterator[list[Program]]:
    """Run Orthanc until the block ends, or give the small PACS as a program to run."""
    folder = state / "pacs"
    if kind == "small":
        words = ("triage", "pacs", str(folder), "--port", str(port), "--ae-title", PACS_AE)
        yield [Program("pacs", words)]
        return
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(_orthanc_settings(folder, port)))
    with (folder / "orthanc.log").open("ab") as sink:
        process = subprocess.Popen(  # noqa: S603 - the installed Orthanc, our own file
            [str(_orthanc()), str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, "TCP_NODELAY": "1"},
            start_new_session=True,
        )
    try:
        yield []
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _orthanc_settings(folder: Path, port: int) -> Mapping[str, object]:
    return {
        "Name": "simulation",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": PACS_AE,
        "DicomPort": port,
        "HttpServerEnabled": False,
        "RemoteAccessAllowed": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "UnknownSopClassAccepted": True,
        "SaveJobs": False,
        "Plugins": [],
    }
