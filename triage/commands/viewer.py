"""``triage viewer``: the optional OHIF viewer below /ohif/."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from triage.commands import common
from triage.commands.common import Config, State

app = typer.Typer(no_args_is_help=True, help="The optional full viewer (OHIF).")


@app.callback()
def viewer() -> None:
    """Keep the command's name in front of its verbs."""


@app.command("install-ohif")
def install_ohif(
    tarball: Annotated[
        Path | None,
        typer.Option(help="The npm package, fetched elsewhere; without it, it is fetched now."),
    ] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Install the pinned OHIF package, checked by its hash, below /ohif/ of the worklist."""
    from triage.commands.ohif_package import VERSION, NotInstalled, install

    settings = common.load(state, config)
    try:
        place = install(settings.state, tarball)
    except NotInstalled as why:
        sys.stderr.write(f"Not installed: {why}.\n")
        raise typer.Exit(common.FAILED) from None
    sys.stdout.write(f"OHIF {VERSION} is in {place}. It is at /ohif/ of the worklist, at once.\n")
