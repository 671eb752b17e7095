"""``triage deidentify``: a door out for research, through which nobody's name goes."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State


def add_to(app: typer.Typer) -> None:
    """Hang this command into the command line."""
    app.command("deidentify")(deidentify)


def deidentify(
    studies: Annotated[list[str], typer.Argument(help="Study Instance UIDs or numbers.")],
    out: Annotated[Path, typer.Option(help="A folder that is not there yet.")],
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Export studies and our results about them without identity (PS3.15 Annex E). Audited."""
    from triage.commands.export import export

    settings = common.load(state, config)
    with common.opened(settings) as database:
        done = export(settings, database, studies, out, actor=common.person())
    if as_json:
        common.print_json({**asdict(done), "warnings": sorted(done.warnings)})
    else:
        for line in (*done.left_out, *sorted(done.warnings)):
            typer.echo(line, err=True)
        typer.echo(f"{done.files} files in {out}")
    raise typer.Exit(common.FAILED if done.left_out else common.OK)
