"""``triage simulate``: a hospital in a box. Modalities, a PACS and readers around the pipeline.

At the end the senders' ledger is held against the pipeline's database: whatever was acknowledged
must be there, at rest, and reported.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from triage.commands import common, simulate_check, simulate_waiting
from triage.commands.simulate_hostile import Hostility, Idlers, plain
from triage.commands.simulate_ledger import Ledger
from triage.commands.simulate_modality import Desk, Station, Task
from triage.commands.simulate_page import page
from triage.commands.simulate_readers import Reader
from triage.commands.simulate_run import Hospital, Run
from triage.commands.simulate_site import Site
from triage.commands.simulate_summary import moments, summarise
from triage.worklist.context import DISCLAIMER

LOOK_EVERY_S: Final = 0.5


def simulate(
    hospital: Hospital,
    site: Site,
    out: Path,
    console: Console,
    stopping: Callable[[], bool],
    waiting: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Let a hospital's day pass; gives the summary.

    Ledger, summary and page are written to ``out``. ``waiting`` is the same day read in other
    orders, and goes into all of them.
    """
    out.mkdir(parents=True, exist_ok=True)
    with Ledger(out / "ledger.jsonl") as ledger:
        run = Run(hospital, site, ledger)
        if hospital.hostile:
            run.hostility = Hostility(hospital.maker.seed, late_s=hospital.late_s)
        with _at_work(run) as (stations, readers, queues), _shown(run, console) as show:
            _arrive(run, queues, show, stopping)
            _until(lambda: not any(one.is_alive() for one in stations), show, stopping)
            sent_at = time.monotonic()
            _until(
                lambda: _rests(run) or time.monotonic() - sent_at > hospital.limit_s, show, stopping
            )
            at = time.monotonic()  # from when whoever is free looks once more
            _until(lambda: all(one.has_looked_since(at) for one in readers), show, stopping)
        run.look()
        summary = summarise(run) | ({"waiting": waiting} if waiting else {})
    (out / "summary.json").write_text(json.dumps(summary, indent=2))
    (out / "simulation.html").write_text(page(summary, moments(run)), encoding="utf-8")
    return summary


@contextmanager
def _at_work(
    run: Run,
) -> Iterator[tuple[list[Station], list[Reader], dict[str, "Queue[Task | None]"]]]:
    """Start stations, readers and idlers; readers and idlers end with the block."""
    hospital, site = run.hospital, run.site
    desk = Desk(
        hospital.maker, run.ledger, run.told, run.hostility or plain,
        site.pacs if hospital.archive else None,
    )  # fmt: skip
    queues: dict[str, Queue[Task | None]] = {}
    stations: list[Station] = []
    readers: list[Reader] = []
    for modality, titles in hospital.titles().items():
        queues[modality] = Queue()
        stations += [Station(site.station(title), desk, queues[modality]) for title in titles]
    with ExitStack() as ends:
        if site.desk:
            for number in range(hospital.readers):
                reader = Reader(site.desk, run.seen, hospital.maker.seed + number)
                ends.callback(reader.stop)
                reader.start()
                readers.append(reader)
        if hospital.hostile:
            idlers = Idlers(site.listener)
            ends.callback(idlers.stop)
            idlers.start()
        for station in stations:
            station.start()
        yield stations, readers, queues


def _arrive(
    run: Run,
    queues: Mapping[str, "Queue[Task | None]"],
    show: Callable[[], None],
    stopping: Callable[[], bool],
) -> None:
    """Hand each study to its modality when its time has come; then send the stations home."""
    began, speed = time.monotonic(), run.hospital.speed
    for number, arrival in enumerate(run.hospital.arrivals):
        while speed and not stopping() and (left := _left(began, arrival.at_s / speed)) > 0:
            time.sleep(min(left, LOOK_EVERY_S))
            show()
        if stopping():
            break
        queues[arrival.modality].put(Task(number, arrival))
        run.told.count("studies begun")
    for queue in queues.values():
        for _ in range(run.hospital.stations):
            queue.put(None)


def _left(began: float, at_s: float) -> float:
    return began + at_s - time.monotonic()


def _until(
    done: Callable[[], bool], show: Callable[[], None], stopping: Callable[[], bool]
) -> None:
    while not done() and not stopping():
        time.sleep(LOOK_EVERY_S)
        show()


def _rests(run: Run) -> bool:
    """Tell whether everything that was acknowledged is indexed, decided and reported."""
    if run.site.database is None:
        return True
    acknowledged = run.ledger.acknowledged()
    if simulate_check.missing(run.site.database, acknowledged):
        return False
    run.look()
    studies = set(run.ledger.last_new())
    return all(uid in run.found and run.found[uid].rests for uid in studies)


@contextmanager
def _shown(run: Run, console: Console) -> Iterator[Callable[[], None]]:
    """Show progress; the function given brings it up to date."""
    total = len(run.hospital.arrivals)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bars: dict[str, TaskID] = {
            name: progress.add_task(name, total=total)
            for name in ("Arrived", "Sent", "Decided", "Opened")
        }
        looked = 0.0

        def show() -> None:
            nonlocal looked
            if time.monotonic() - looked > LOOK_EVERY_S and console.is_terminal:
                run.look()
                looked = time.monotonic()
            ours = set(run.found) & set(run.seen.opened)
            for name, count in (
                ("Arrived", run.told.of("studies begun")),
                ("Sent", run.told.of("studies sent")),
                ("Decided", sum(one.rests for one in run.found.values())),
                ("Opened", len(ours)),
            ):
                progress.update(bars[name], completed=count)

        yield show


def tell(summary: Mapping[str, Any], out: Path | None) -> None:
    """Print the summary for people."""
    rows = [
        (name, ", ".join(f"{key} {value}" for key, value in summary[name].items()))
        for name in ("studies", "images", "reports", "mpps", "evidence", "tricks", "outcomes")
        if summary[name]
    ]
    for name, key in (("decided", "decided_s"), ("opened", "opened_s")):
        one = summary[key]
        text = f"p50 {one['p50']} s, p95 {one['p95']} s, p99 {one['p99']} s of {one['n']}"
        rows.append((f"last image to {name}", text if one["n"] else "none"))
    common.print_table(("", ""), rows)
    if "waiting" in summary:
        simulate_waiting.tell_orders(summary["waiting"])
        typer.echo(DISCLAIMER)
    for problem in summary["problems"]:
        typer.echo(f"Did not hold: {problem}")
    if summary["ok"]:
        typer.echo(f"Everything held, in {summary['seconds']} s.")
    if out:
        typer.echo(f"Look at {out / 'simulation.html'}")
