"""``triage token``: what opens the web to programs. One kind of token for every service."""

import sys
from datetime import timedelta
from typing import Annotated

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State

app = typer.Typer(no_args_is_help=True, help="Tokens of programs: shown once, kept as a hash.")
Name = Annotated[str, typer.Argument(help="Of the program.")]
Scopes = Annotated[
    list[str],
    typer.Option(
        "--scope",
        help="worklist (the list, as JSON), reader (QIDO-RS, WADO-RS), sender (STOW-RS), "
        "or what work items know: requester, performer, watcher. One or several.",
    ),
]
Days = Annotated[int, typer.Option(min=1, max=3650, help="After which it ends by itself.")]


@app.command()
def add(
    name: Name, scope: Scopes, days: Days = 365, state: State = None, config: Config = None
) -> None:
    """Make a token and print it, once."""
    from triage.ups import tokens

    with common.opened(common.load(state, config)) as database, database.begin() as session:
        token = tokens.add(
            session, name, sorted(set(scope)), actor=common.person(), lasts=timedelta(days=days)
        )
    sys.stdout.write(f"{token}\n")


@app.command()
def ls(*, as_json: AsJson = False, state: State = None, config: Config = None) -> None:
    """List every token there was: name, scopes, when it ends or was revoked."""
    from triage.commands.ups import token_ls

    token_ls(as_json=as_json, state=state, config=config)


@app.command()
def revoke(name: Name, state: State = None, config: Config = None) -> None:
    """End a token now."""
    from triage.commands.ups import token_revoke

    token_revoke(name, state, config)
