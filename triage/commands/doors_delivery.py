"""The commands of delivery: ``triage destination``, ``triage report``, ``queue dead|resend``.

Every import that costs something is inside its command.
"""

from typing import Annotated

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State

destination_app = typer.Typer(no_args_is_help=True, help="Where results go.")
report_app = typer.Typer(no_args_is_help=True, help="Reports that were sent.")
Study = Annotated[str, typer.Argument(help="Study Instance UID or number.")]


def add_to(app: typer.Typer, queue_app: typer.Typer) -> None:
    """Hang these commands into the command line."""
    app.add_typer(destination_app, name="destination")
    app.add_typer(report_app, name="report")
    queue_app.command("dead")(queue_dead)
    queue_app.command("resend")(queue_resend)


@destination_app.command("ls")
def destination_ls(state: State = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the destinations with what each said it takes."""
    from triage.commands.destination import known

    settings = common.load(state, config)
    with common.opened(settings) as database:
        _show(known(settings, database), as_json=as_json, otherwise="No destination.")


@destination_app.command("test")
def destination_test(
    name: Annotated[str, typer.Argument(help="As site.yaml names it.")],
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Ask a destination now what it can do, and keep the answer; nothing is stored there."""
    from dataclasses import asdict

    from triage.commands.destination import examine, lines, works

    settings = common.load(state, config)
    with common.opened(settings) as database:
        found = examine(settings, database, name, actor=common.person())
    if as_json:
        common.print_json([asdict(one) for one in found])
    else:
        common.print_table(("", "service", ""), lines(found))
    raise typer.Exit(common.OK if works(found) else common.FAILED)


def queue_dead(state: State = None, config: Config = None, as_json: AsJson = False) -> None:
    """List documents that a destination refused or does not keep, with what that means."""
    from triage.commands.delivery import list_dead

    with common.opened(common.load(state, config)) as database:
        _show(list_dead(database), as_json=as_json, otherwise="Everything has arrived or waits.")


def queue_resend(
    studies: Annotated[list[str] | None, typer.Argument(help="UIDs or numbers.")] = None,
    every: Annotated[bool, typer.Option("--all-dead", help="All of `queue dead`.")] = False,
    destination: Annotated[str | None, typer.Option("--to", metavar="NAME")] = None,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send documents again: the same bytes, whatever was answered before."""
    from triage.commands.delivery import resend_studies

    if bool(studies) == every:
        msg = "name the studies, or say --all-dead"
        raise typer.BadParameter(msg)
    with common.opened(common.load(state, config)) as database:
        numbers = resend_studies(database, studies or [], common.person(), destination=destination)
    if as_json:
        common.print_json({"resent": numbers})
    else:
        typer.echo(f"{len(numbers)} documents will be sent again.")


@report_app.command("withdraw")
def report_withdraw(
    study: Study,
    reason: Annotated[
        str, typer.Option(help="wrong-patient, wrong-result, wrong-order or poor-images.")
    ],
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take back a study's report: it is sent no further, and a rejection note follows it."""
    from triage.commands.delivery import withdraw

    with common.opened(common.load(state, config)) as database:
        count = withdraw(database, study, reason, common.person())
    if as_json:
        common.print_json({"withdrawn": count})
    else:
        typer.echo(f"{count} documents are withdrawn; rejection notes follow them.")


def _show(rows: list[dict[str, object]], *, as_json: bool, otherwise: str) -> None:
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo(otherwise)
