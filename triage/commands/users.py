"""``triage user``: accounts, and what their roles may do. Every change is audited."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(no_args_is_help=True, help="Accounts of people, and what roles may do.")
Name = Annotated[str, typer.Argument(help="Of the account.")]
Roles = Annotated[
    list[str],
    typer.Option("--role", help="radiologist, technologist, admin, auditor; one or several."),
]


@app.command()
def add(name: Name, role: Roles, state: State = None, config: Config = None) -> None:
    """Make an account; asks for its password, or reads it from a pipe."""
    from triage.worklist import auth

    password = _new_password()
    with _changing(state, config) as session:
        user = auth.create_user(session, name, password, " ".join(role), actor=common.person())
        told = user.role
    typer.echo(f"{name.strip()} has the roles {told}.")


@app.command()
def ls(*, as_json: AsJson = False, state: State = None, config: Config = None) -> None:
    """List accounts: roles, who vouches, second factor, locked or disabled."""
    from dataclasses import asdict

    from triage.worklist import accounts

    with common.opened(common.load(state, config)) as database, database.reading() as session:
        rows = [asdict(one) for one in accounts.listed(session)]
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo("There is none; `triage web` prints where the first is made.")


@app.command()
def role(name: Name, role: Roles, state: State = None, config: Config = None) -> None:
    """Give an account these roles and no other; its sessions end."""
    from triage.worklist import accounts

    with _changing(state, config) as session:
        accounts.give_roles(session, name, role, actor=common.person())
    typer.echo(f"{name} has the roles {' '.join(sorted(set(role)))}.")


@app.command()
def disable(name: Name, state: State = None, config: Config = None) -> None:
    """End an account's access at once; what it said and did stays written."""
    from triage.worklist import accounts

    with _changing(state, config) as session:
        accounts.disable(session, name, actor=common.person())
    typer.echo(f"{name} is disabled, and signed out everywhere.")


@app.command()
def enable(name: Name, state: State = None, config: Config = None) -> None:
    """Let a disabled account in again."""
    from triage.worklist import accounts

    with _changing(state, config) as session:
        accounts.enable(session, name, actor=common.person())
    typer.echo(f"{name} may sign in.")


@app.command()
def unlock(name: Name, state: State = None, config: Config = None) -> None:
    """Forget the wrong passwords that locked an account."""
    from triage.worklist import accounts

    with _changing(state, config) as session:
        accounts.unlock(session, name, actor=common.person())
    typer.echo(f"{name} may try again.")


@app.command()
def password(name: Name, state: State = None, config: Config = None) -> None:
    """Give an account a new password; asks for it, or reads it from a pipe."""
    from triage.worklist import accounts

    new = _new_password()
    with _changing(state, config) as session:
        accounts.set_password(session, accounts.named(session, name), new, actor=common.person())
    typer.echo(f"{name} has a new password, and is signed out everywhere.")


@app.command()
def factor(
    name: Name,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Instead: take it away.")] = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Give an account a second factor, and print what its authenticator reads; shown once."""
    from triage.worklist import accounts
    from triage.worklist import factor as factors

    settings = common.load(state, config)
    with common.opened(settings) as database, database.begin() as session:
        user = accounts.named(session, name)
        accounts.end_sessions(session, user)
        if remove:
            factors.remove(session, user, actor=common.person())
            typer.echo(f"{name} signs in without a code.")
            return
        secret = factors.begin(session, factors.key(settings), user)
        codes = factors.give(session, user, actor=common.person())
    found = factors.uri(name, secret)
    typer.echo(f"{factors.printed(found)}\n{found}\nRecovery codes, each for once:")
    typer.echo("\n".join(codes))


@app.command()
def matrix(_state: State = None) -> None:
    """Print every route by every role, as docs/access.md holds it."""
    from triage.worklist import access

    sys.stdout.write(access.matrix())


def _new_password() -> str:
    """Give a password that is in no argument, no variable and no history."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return asked


@contextmanager
def _changing(state: State, config: Config) -> Iterator["Session"]:
    with common.opened(common.load(state, config)) as database, database.begin() as session:
        yield session
