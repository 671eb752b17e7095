"""The command ``triage simulate``. Every import that costs something is inside it."""

import secrets
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from triage.commands import common
from triage.commands.common import AsJson, Config, State
from triage.errors import ConfigError

if TYPE_CHECKING:
    from triage.commands.simulate_arrivals import Arrival
    from triage.commands.simulate_readers import Desk
    from triage.commands.simulate_run import Hospital
    from triage.commands.simulate_site import Site

Log = Annotated[
    Path | None,
    typer.Option(metavar="CSV", help="Arrivals: time,modality,body_part,images,abnormal."),
]
Profile = Annotated[
    Path | None, typer.Option(metavar="CSV", help="Studies an hour: hour,CT,DX,MR for 0 to 23.")
]
Own = Annotated[
    Path | None, typer.Option(exists=True, help="Own studies, sent as copies under new UIDs.")
]
To = Annotated[
    str | None, typer.Option("--to", metavar="AE@HOST:PORT", help="A pipeline that runs already.")
]
Password = Annotated[
    Path | None, typer.Option("--password-file", exists=True, help="The readers' password.")
]


def add_to(app: typer.Typer) -> None:
    """Hang the command into the command line."""
    app.command()(simulate)


def simulate(
    arrivals: Log = None,
    profile: Profile = None,
    start_hour: Annotated[float, typer.Option(min=0, max=24)] = 8.0,
    hours: Annotated[float, typer.Option(min=0.01, help="Simulated hours.")] = 1.0,
    rate: Annotated[float, typer.Option(min=0, help="Times the profile's rates.")] = 1.0,
    abnormal: Annotated[float, typer.Option(min=0, max=1, help="Share of studies.")] = 0.15,
    speed: Annotated[float, typer.Option(min=0, help="Times as fast; 0: no waiting.")] = 60.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed, the same UIDs; with --to by chance.")
    ] = None,
    stations: Annotated[int, typer.Option(min=1, max=8, help="Of each modality.")] = 2,
    size_px: Annotated[int, typer.Option(min=16, max=1024, help="Of CT and MR.")] = 128,
    studies: Own = None,
    readers: Annotated[int, typer.Option(min=0, max=50)] = 1,
    reads: Annotated[float, typer.Option(min=0.1, help="Studies an hour and reader.")] = 20.0,
    hostile: Annotated[bool, typer.Option("--hostile", help="Repeats, late, mixed, cut.")] = False,
    archive: Annotated[
        bool, typer.Option("--archive", help="Send to the PACS first; it is asked how many.")
    ] = False,
    pacs: Annotated[str, typer.Option(help="auto, small or orthanc.")] = "auto",
    quiet_s: Annotated[float, typer.Option(min=0.1, help="completeness.quiet_s.")] = 5.0,
    limit_s: Annotated[float, typer.Option(min=1, help="For everything to rest.")] = 600.0,
    to: To = None,
    calling: Annotated[str | None, typer.Option(metavar="AE", help="Of every station.")] = None,
    web: Annotated[str | None, typer.Option(metavar="URL", help="Its worklist.")] = None,
    user: Annotated[str | None, typer.Option(help="The readers' account.")] = None,
    password_file: Password = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only who waits how long; nothing is sent.")
    ] = False,
    sensitivity: Annotated[
        float, typer.Option(min=0, max=1, help="Of flags not in the log.")
    ] = 0.7,
    false_flags: Annotated[
        float, typer.Option(min=0, max=1, help="Of flags not in the log.")
    ] = 0.05,
    out: Annotated[Path | None, typer.Option(help="For ledger, summary and page.")] = None,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Run a hospital in a box: modalities with MPPS, a PACS and readers, on loopback.

    Without --to it runs a pipeline of its own in a temporary folder, or in --state. With --to it
    sends to one that runs, and checks its database if --state names it. Exit 1: something
    acknowledged is missing, not at rest, or not reported.

    With --arrivals it also reads the log in three orders, by arrival, by priority, and by priority
    with the policy's limit on waiting, and tells the minutes that the flagged gain and the others
    lose. With --waiting it does only that, for any arrivals.
    """
    from triage.commands.simulate_run import Hospital

    if seed is None:  # whoever has had a day's studies would take the same day for repeats
        seed = secrets.randbelow(2**31) if to else 0
    plan = _plan(arrivals, profile, (start_hour, hours, rate, abnormal), seed)
    compared = None
    if waiting or (arrivals and readers):
        limit_s_of_policy = common.load(state, config).policy.promote_after_s
        reading = (readers, reads, limit_s_of_policy)
        compared = _compared(plan, (sensitivity, false_flags), reading, seed)
    if waiting and compared:
        _tell(compared, out, as_json=as_json)
        return
    with ExitStack() as ends:
        work = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="triage-simulate-")))
        maker = _maker(work / "studies", seed, size_px, studies)
        hospital = Hospital(
            plan, maker, speed=speed, stations=stations, calling=calling, readers=readers,
            hostile=hostile, late_s=2 * quiet_s, archive=archive, limit_s=limit_s,
        )  # fmt: skip
        read_s = 3600 / reads / (speed or 60.0)
        if to:
            desk = _desk(web, user, password_file, read_s)
            site = ends.enter_context(_running_site(to, desk, state, config))
        else:
            site = ends.enter_context(_own_site(hospital, state or work, pacs, quiet_s, read_s))
        raise typer.Exit(_run(hospital, site, (work, out), compared, as_json=as_json))


def _compared(
    plan: "list[Arrival]",
    detector: tuple[float, float],
    reading: tuple[int, float, float],
    seed: int,
) -> dict[str, Any]:
    from triage.commands.simulate_waiting import Detecting, Reading, run

    if reading[0] < 1:
        msg = "somebody must read"
        raise typer.BadParameter(msg, param_hint="--readers")
    return run(plan, Detecting(*detector), Reading(*reading), seed)


def _tell(found: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    from triage.commands.simulate_waiting import tell

    if as_json:
        common.print_json(found)
    else:
        tell(found, out)


def _run(
    hospital: "Hospital",
    site: "Site",
    places: tuple[Path, Path | None],
    compared: dict[str, Any] | None,
    *,
    as_json: bool,
) -> int:
    from triage.commands.simulate import simulate, tell
    from triage.stopping import on_stop_signal

    work, out = places
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        summary = simulate(
            hospital, site, out or work / "out", Console(stderr=True), on_stop_signal(), compared
        )
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    if not summary["ok"] and site.settings is not None and out:
        shutil.copytree(site.settings.state / "logs", out / "logs", dirs_exist_ok=True)
    if as_json:
        common.print_json(_short(summary))
    else:
        tell(summary, out)
    return common.OK if summary["ok"] else common.FAILED


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    """Leave out each single wait, which summary.json holds."""
    waits = ("decided_s", "opened_s")
    return {
        key: {name: one for name, one in value.items() if name != "each"} if key in waits else value
        for key, value in summary.items()
    }


def _plan(
    log: Path | None, profile: Path | None, period: tuple[float, float, float, float], seed: int
) -> "list[Arrival]":
    from triage.commands import simulate_arrivals as source

    if log:
        return source.read_log(log)
    start_hour, hours, rate, abnormal = period
    rates = source.read_profile(profile) if profile else source.DAY
    scaled = {modality: [one * rate for one in day] for modality, day in rates.items()}
    found = source.poisson(scaled, source.Period(start_hour, hours, abnormal), seed)
    if not found:
        msg = "no study arrives in this period; give more --hours or a higher --rate"
        raise ConfigError(msg)
    return found


def _maker(folder: Path, seed: int, size_px: int, own: Path | None) -> Any:  # noqa: ANN401 - its import is slow
    from triage.commands.simulate_studies import Maker, own_studies

    found = own_studies(own) if own else {}
    if own and not found:
        msg = f"{own} holds no study; give a folder of DICOM files"
        raise ConfigError(msg)
    return Maker(folder, seed, size_px, found)


def _desk(
    web: str | None, user: str | None, password_file: Path | None, read_s: float
) -> "Desk | None":
    from triage.commands.simulate_readers import Desk

    if not web:
        return None
    if not (user and password_file):
        msg = "--web needs --user and --password-file"
        raise typer.BadParameter(msg)
    return Desk(web, user, password_file.read_text(encoding="utf-8").strip(), read_s)


def _running_site(to: str, desk: "Desk | None", state: Path | None, config: Path | None) -> Any:  # noqa: ANN401 - a context manager of Site
    from triage.commands.send import parse
    from triage.commands.simulate_site import running_site

    settings = common.load(state, config) if state else None
    return running_site(parse(to, "SIMULATE"), desk, settings)


def _own_site(hospital: "Hospital", state: Path, pacs: str, quiet_s: float, read_s: float) -> Any:  # noqa: ANN401 - a context manager of Site
    from triage.commands.simulate_site import Wish, own_site

    if pacs not in ("auto", "small", "orthanc"):
        msg = "write auto, small or orthanc"
        raise typer.BadParameter(msg, param_hint="--pacs")
    titles = sorted({one for titles in hospital.titles().values() for one in titles})
    place = state.expanduser().absolute()
    return own_site(
        Wish(place, titles, pacs, quiet_s, read_s, asks=hospital.archive)  # type: ignore[arg-type]
    )
