"""``triage ups``: manage work items, perform other managers' items, make tokens for programs."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from triage import log
from triage.commands import common
from triage.commands.common import AsJson, Config, State
from triage.settings import Settings
from triage.workflow import EVERY_ROLE, Role

app = typer.Typer(no_args_is_help=True, help="Work items (Unified Procedure Steps).")
token_app = typer.Typer(no_args_is_help=True, help="Tokens of programs that use the web service.")
app.add_typer(token_app, name="token")
Name = Annotated[str, typer.Argument(help="Of the program.")]


@app.command()
def serve(state: State = None, config: Config = None) -> None:
    """Be a manager of work items by DIMSE, and send its event reports."""
    from triage.stopping import on_stop_signal
    from triage.ups.service import serve

    settings = _started("ups-serve", state, config)
    with common.opened(settings) as database:
        serve(settings, database, on_stop_signal())


@app.command()
def work(state: State = None, config: Config = None) -> None:
    """Claim the managers' work items for studies we hold, and answer for them."""
    from triage.stopping import on_stop_signal
    from triage.ups.service import work

    settings = _started("ups-work", state, config)
    with common.opened(settings) as database:
        work(settings, database, _owner(), on_stop_signal())


@app.command("ls")
def ls(
    *,
    claims: Annotated[bool, typer.Option("--claims", help="Ours, of other managers.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 200,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """List the work items we manage, newest first."""
    rows = list_rows(common.load(state, config), claims=claims, limit=limit)
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo("There is none.")


@token_app.command("add")
def token_add(
    name: Name,
    role: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(EVERY_ROLE)}; all by default.")
    ] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Make a token and print it, once."""
    from triage.ups import tokens

    unknown = set(role or ()) - set(EVERY_ROLE)
    if unknown:
        msg = f"no role {', '.join(sorted(unknown))}; there are {', '.join(EVERY_ROLE)}"
        raise typer.BadParameter(msg)
    roles: tuple[Role, ...] = tuple(one for one in EVERY_ROLE if not role or one in role)
    with common.opened(common.load(state, config)) as database, database.begin() as session:
        token = tokens.add(session, name, roles, actor=common.person())
    sys.stdout.write(f"{token}\n")


@token_app.command("ls")
def token_ls(*, as_json: AsJson = False, state: State = None, config: Config = None) -> None:
    """List the tokens' names and roles."""
    from triage.ups import tokens

    with common.opened(common.load(state, config)) as database, database.reading() as session:
        rows = [
            {"name": one.name, "roles": one.roles, "created_at": one.created_at,
             "expires_at": one.expires_at, "revoked_at": one.revoked_at}
            for one in tokens.known(session)
        ]  # fmt: skip
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo("There is none.")


@token_app.command("revoke")
def token_revoke(name: Name, state: State = None, config: Config = None) -> None:
    """End a token."""
    from triage.ups import tokens

    with common.opened(common.load(state, config)) as database, database.begin() as session:
        tokens.revoke(session, name, actor=common.person())
    typer.echo(f"The token {name} is revoked.")


def list_rows(settings: Settings, *, claims: bool, limit: int) -> list[dict[str, Any]]:
    """Give our own work items, or our claims on others', without patient data or locks."""
    from sqlalchemy import select

    from db.ups import ClaimRow, WorkitemRow

    with common.opened(settings) as database, database.reading() as session:
        if claims:
            found = session.scalars(select(ClaimRow).order_by(ClaimRow.id.desc()).limit(limit))
            names = ("id", "manager", "sop_instance_uid", "study_id", "state", "told", "attempts",
                     "last_error", "started_at", "settled_at")  # fmt: skip
            return [{name: getattr(row, name) for name in names} for row in found]
        items = session.scalars(select(WorkitemRow).order_by(WorkitemRow.id.desc()).limit(limit))
        shown = ("id", "sop_instance_uid", "state", "created_at", "updated_at")
        return [{name: getattr(row, name) for name in shown} for row in items]


def _started(service: str, state: Path | None, config: Path | None) -> Settings:
    from triage.commands.harden import harden

    harden()
    settings = common.load(state, config)
    log.configure(service, as_json=not sys.stderr.isatty())
    return settings


def _owner() -> str:
    return f"{socket.gethostname()[:60]}:{os.getpid()}"
