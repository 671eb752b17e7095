"""``triage dicomweb``: the server for programs, and the tokens that open it."""

import sys
from typing import Annotated

import typer

from triage import log
from triage.commands import common
from triage.commands.common import AsJson, Config, State

app = typer.Typer(no_args_is_help=True, help="STOW-RS, QIDO-RS and WADO-RS for programs.")
token_app = typer.Typer(no_args_is_help=True, help="Tokens of programs that use it.")
app.add_typer(token_app, name="token")
Name = Annotated[str, typer.Argument(help="Of the program.")]


@app.command()
def serve(state: State = None, config: Config = None) -> None:
    """Take instances by STOW-RS; answer QIDO-RS and WADO-RS."""
    from triage.commands.harden import harden
    from triage.dicomweb.server import serve

    harden()
    settings = common.load(state, config)
    log.configure("dicomweb", as_json=not sys.stderr.isatty())
    with common.opened(settings) as database:
        serve(settings, database)


@token_app.command("add")
def token_add(
    name: Name,
    role: Annotated[
        list[str] | None,
        typer.Option(help="sender (STOW-RS) or reader (QIDO-RS, WADO-RS); give one or both."),
    ] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Make a token and print it, once."""
    from triage.dicomweb.visitors import ROLES
    from triage.ups import tokens

    wanted = set(role or ())
    if not wanted or wanted - set(ROLES):
        msg = f"say --role {' or --role '.join(ROLES)}"
        raise typer.BadParameter(msg)
    with common.opened(common.load(state, config)) as database, database.begin() as session:
        token = tokens.add(session, name, sorted(wanted), actor=common.person())
    sys.stdout.write(f"{token}\n")


@token_app.command("ls")
def token_ls(*, as_json: AsJson = False, state: State = None, config: Config = None) -> None:
    """List every program's token by name, with its roles."""
    from triage.commands.ups import token_ls

    token_ls(as_json=as_json, state=state, config=config)


@token_app.command("revoke")
def token_revoke(name: Name, state: State = None, config: Config = None) -> None:
    """End a token."""
    from triage.commands.ups import token_revoke

    token_revoke(name, state, config)
