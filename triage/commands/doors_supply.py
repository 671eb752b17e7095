"""What this installation is made of: ``triage sbom``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State


def add_to(app: typer.Typer) -> None:
    """Hang this command into the command line."""
    app.command("sbom")(sbom)


def sbom(
    out: Annotated[Path | None, typer.Option(help="Write it here (by default the screen).")] = None,
    against: Annotated[
        Path | None, typer.Option(help="A bill to hold against what is installed.")
    ] = None,
    licences: Annotated[bool, typer.Option("--licences", help="List licences instead.")] = False,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Print what is installed, packages and detectors, as CycloneDX; or hold a bill against it."""
    from triage.commands.installed import packages
    from triage.commands.sbom import bill, detectors, licence_rows

    found, settings = packages(), common.load(state, config)
    if licences:
        rows = licence_rows(found)
        if as_json:
            common.print_json(rows)
        else:
            common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
        return
    if against is not None:
        raise typer.Exit(_hold(against, as_json=as_json))
    written = bill(found, detectors(settings.artifacts))
    if out is None:
        common.print_json(written)
    else:
        out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        typer.echo(f"{len(written['components'])} components in {out}")


def _hold(path: Path, *, as_json: bool) -> int:
    """Tell how a bill differs from what is installed; 1 where it does."""
    from triage.commands.installed import packages
    from triage.commands.sbom import differences

    lines = differences(path, packages())
    if as_json:
        common.print_json({"ok": not lines, "differences": lines})
    for line in lines if not as_json else []:
        typer.echo(line, err=True)
    if not lines and not as_json:
        typer.echo("What is installed is what the bill says.")
    return common.FAILED if lines else common.OK
