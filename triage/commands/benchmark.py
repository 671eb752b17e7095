"""``triage benchmark``: fill a table with trained and measured detectors, and write it down.

Start it as often as there are cores to spare: processes on the same runs folder share the work.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

from models.files import write_atomically
from triage.commands.benchmark_cells import Outcome, finished, locked, run
from triage.commands.benchmark_chart import chart, figure_beside
from triage.commands.benchmark_costs import costs
from triage.commands.benchmark_numbers import Numbers
from triage.commands.benchmark_own import own
from triage.commands.benchmark_page import Found, page
from triage.commands.benchmark_plan import Cell, Table, cells, read_table
from triage.commands.benchmark_synthetic import synthetic
from triage.commands.measure import remembered
from triage.errors import ConfigError
from triage.frozen import Frozen

BROKEN: Final = "failed.txt"


class Tally(Frozen):
    """How far the table is."""

    done: int
    """Cells with a result, of whichever process."""
    ran: int
    """Those that this process ran."""
    elsewhere: int
    """Those that another process works on."""
    failed: tuple[str, ...]
    """Those that did not hold, with the reason."""
    page: str


def benchmark(  # noqa: PLR0913 - one parameter an option
    path: Path,
    *,
    data: Path,
    size: str,
    runs: Path,
    out: Path,
    only: Sequence[str] = (),
    device: str = "auto",
) -> Tally:
    """Run what is not done yet of a table, and write the page from all that is.

    Each finished cell is kept in ``runs`` and never run again; one that was killed is carried on.
    ``data`` holds the sets' folders. A cell that fails is told of, and the others go on.

    Raises:
        ConfigError: the table is wrong, or a result in ``runs`` is damaged.
    """
    table = read_table(path)
    wanted = cells(table, size, only)
    kept = runs / table.name / size
    ran, elsewhere, failed = 0, 0, []
    with remembered():
        for place, cell in enumerate(wanted, start=1):
            folder = kept / cell.name
            with locked(folder) as ours:
                if finished(folder):
                    continue
                if not ours:
                    elsewhere += 1
                    continue
                began = perf_counter()
                try:
                    outcome = run(cell, table, data, folder, device)
                except ConfigError as why:
                    failed.append(f"{cell.name}: {why}")
                    write_atomically(folder / BROKEN, f"{why}\n".encode())
                    _say(place, len(wanted), f"{cell.name} FAILED: {why}")
                    continue
                ran += 1
                _say(place, len(wanted), _told(cell, outcome, perf_counter() - began))
        # Not beside other trainings: they would slow what is timed.
        found = collected(table, size, kept, data, measure=not elsewhere)
    drawn = _write_figure(table, found, figure_beside(out))
    write_atomically(out, page(table, size, path, found, drawn).encode())
    return Tally(
        done=len(found.outcomes), ran=ran, elsewhere=elsewhere, failed=tuple(failed), page=str(out)
    )


def collected(table: Table, size: str, kept: Path, data: Path, *, measure: bool) -> Found:
    """Give everything there is to write down; with ``measure``, costs too that are not known yet.

    Raises:
        ConfigError: a result is damaged, or a picture is missing.
    """
    everything = [finished(kept / cell.name) for cell in cells(table, size)]
    outcomes = [one for one in everything if one]
    main = {row.name for row in table.sections[0].rows}
    separations = {
        one.name: synthetic(kept, one, table, data) for one in outcomes if one.row in main
    }
    owns = {one.name: own(kept, one, table, data) for one in outcomes}
    return Found(outcomes, costs(kept, outcomes, measure=measure), separations, owns)


def _write_figure(table: Table, found: Found, path: Path) -> str | None:
    """Draw AUROC against cost, and give the file's name; None where there is nothing to draw."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = chart(table, Numbers(found.outcomes), found.costs)
    if drawn is None:
        return None
    write_atomically(path, drawn.encode())
    return path.name


def _told(cell: Cell, outcome: Outcome, seconds: float) -> str:
    figures = ", ".join(f"{name} {one.auroc.value:.3f}" for name, one in outcome.results.items())
    return f"{cell.row.title}, on {cell.on}, seed {cell.seed}: AUROC {figures} ({seconds:.0f} s)"


def _say(place: int, places: int, text: str) -> None:
    sys.stderr.write(f"[{place}/{places}] {text}\n")
    sys.stderr.flush()
