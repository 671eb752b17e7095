"""The commands of custody: ``custody``, ``conflict``, ``reconcile``, ``rebuild-index``, ``purge``.

Every import that costs something is inside its command.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State

if TYPE_CHECKING:
    from db.custody import ConflictRow, ReconciliationRow
    from db.engine import Database

conflict_app = typer.Typer(
    no_args_is_help=True, help="Doubts about identity or content that a person resolves."
)
Study = Annotated[str, typer.Argument(help="Study Instance UID or number.")]
Number = Annotated[int, typer.Argument(help="As `triage conflict ls` shows it.")]
NOT_OURS = (
    "The images were not deleted: the spool belongs to another user. The ingestor deletes each day "
    "what is due; to do it now, run `triage purge` as its user."
)
SHOWN = (
    "sop_instance_uid", "size_bytes", "source_ae_title", "received_at", "fate", "reason",
    "generation", "reported_at", "committed_at", "purged_at",
)  # fmt: skip
"""Columns of the table; --json has all."""


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the command line."""
    app.add_typer(conflict_app, name="conflict")
    app.command()(custody)
    app.command()(reconcile)
    app.command("rebuild-index")(rebuild_index)
    app.command()(purge)


def custody(
    study: Study, state: State = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Show each instance's way, from its association to "committed at the PACS"."""
    from dataclasses import asdict

    from triage.commands.study import find
    from triage.record.custody import of_study

    with common.opened(common.load(state, config)) as database, database.reading() as session:
        row = find(session, study)
        found = [asdict(one) for one in of_study(session, row)]
        number, uid = row.id, row.study_instance_uid
    if as_json:
        common.print_json({"study": number, "study_instance_uid": uid, "instances": found})
    elif found:
        common.print_table(SHOWN, [tuple(one[name] for name in SHOWN) for one in found])
    else:
        typer.echo("The study holds no instance.")


@conflict_app.command("ls")
def conflict_ls(
    every: Annotated[bool, typer.Option("--all", help="Also what is resolved.")] = False,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the doubts that a person resolves."""
    from triage.record.conflicts import list_open

    with common.opened(common.load(state, config)) as database, database.reading() as session:
        rows = [_row(one) for one in list_open(session, every=every)]
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo("Nothing is in doubt.")


@conflict_app.command("show")
def conflict_show(
    number: Number, state: State = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Show a doubt, and what can be done about it."""
    from db.custody import ConflictRow
    from triage.record.conflicts import NoSuchConflict, options

    with common.opened(common.load(state, config)) as database, database.reading() as session:
        one = session.get(ConflictRow, number)
        if one is None:
            msg = f"no conflict {number}; `triage conflict ls --all` lists them"
            raise NoSuchConflict(msg)
        choices = () if one.resolved_at else options(session, one)
        found = _row(one)
    told = [{"choice": choice.code, "meaning": choice.words} for choice in choices]
    if as_json:
        common.print_json({**found, "choices": told})
        return
    common.print_table(("", ""), list(found.items()))
    if told:
        typer.echo(f'\ntriage conflict resolve {number} CHOICE --reason "..."')
        common.print_table(("choice", "meaning"), [tuple(choice.values()) for choice in told])


@conflict_app.command("resolve")
def conflict_resolve(
    number: Number,
    choice: Annotated[str, typer.Argument(help="As `triage conflict show` lists it.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the resolution. No patient data.")],
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Decide about a doubt: audited, with its reason."""
    from triage.record.conflicts import resolve
    from triage.record.withdrawals import Who

    with common.opened(common.load(state, config)) as database, database.begin() as session:
        found = _row(resolve(session, number, choice, reason, Who(common.person())))
    if as_json:
        common.print_json(found)
    else:
        typer.echo(f"Conflict {number} of study {found['study']} is resolved: {choice}.")


def reconcile(
    settle: Annotated[
        list[str] | None,
        typer.Option(help="An association whose missing instances were sent again; repeatable."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it is settled. No patient data.")] = "",
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compare what was received with what became of it; the nightly work does the same."""
    from dataclasses import asdict

    from triage.record.missing import missing
    from triage.record.reconcile import reconcile as compare

    settings = common.load(state, config)
    with common.opened(settings) as database:
        _settle(database, settle or [], reason)
        row = compare(database, _spool_root(settings), actor=common.person())
        short = missing(database, settings.spool)
    found = _sum(row) | {"missing": [asdict(one) for one in short]}
    if as_json:
        common.print_json(found)
    else:
        found["differences"] = "; ".join(
            f"{one['count']} {one['words']} (first: {one['example']})"
            for one in found["differences"]
        )
        found["missing"] = "; ".join(f"{one.missing} of {one.accepted}: {one}" for one in short)
        common.print_table(("", ""), list(found.items()))
    raise typer.Exit(common.OK if row.balanced else common.FAILED)


def _settle(database: "Database", ids: list[str], reason: str) -> None:
    from triage.errors import ConfigError
    from triage.record.missing import settle

    if bool(ids) != bool(reason.strip()):
        msg = "say which with --settle and why with --reason 'the CT sent all of it again'"
        raise ConfigError(msg)
    for one in ids:
        if not settle(database, one, actor=common.person(), reason=reason):
            msg = f"nothing is missing of association {one}; `triage reconcile` names those"
            raise ConfigError(msg)


def rebuild_index(state: State = None, config: Config = None, as_json: AsJson = False) -> None:
    """Make the rows anew that the spool holds and the database does not. Safe to run again."""
    from triage.commands.rebuild import rebuild
    from triage.commands.rebuild_told import tell
    from triage.spool import Spool

    settings = common.load(state, config)
    with common.opened(settings) as database, _bar(shown=not as_json) as progress:
        done = rebuild(
            database, Spool(_spool_root(settings), settings.readers), settings.site.completeness,
            actor=common.person(), progress=progress,
        )  # fmt: skip
    raise typer.Exit(tell(done, as_json=as_json))


def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted.")
    ] = False,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Delete images and documents of settled studies, as ``retention`` in site.yaml says."""
    from dataclasses import asdict

    from triage.record import purge as work
    from triage.record import purge_documents

    settings = common.load(state, config)
    rules = settings.site.retention
    which = work.Rules(rules, settings.site.commitment.keep_days)
    with common.opened(settings) as database:
        pressed = work.is_pressed(_spool_root(settings), rules)
        if dry_run:
            found = list(work.every_due(database, which, pressed=pressed))
            documents = purge_documents.count_due(database, rules)
        else:
            places = work.Places(_spool_root(settings), settings.results)
            is_ours, actor = work.is_ours(places.spool), common.person()
            documents = (
                purge_documents.purge_documents(database, rules, actor=actor) if is_ours else 0
            )
            found = work.purge(database, places, which, actor=actor)
            if not is_ours:
                typer.echo(NOT_OURS, err=True)
                raise typer.Exit(common.FAILED)
        promised = work.count_promised(database, which, pressed=pressed)
    rows = [asdict(one) for one in found]
    if as_json:
        common.print_json(
            {"dry_run": dry_run, "studies": rows, "documents_of": documents, "promised": promised}
        )
        return
    if rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    size = sum(one.size_bytes for one in found) / 2**20
    verb = "would be" if dry_run else "were"
    stay = f" Kept by our own Storage Commitment, studies: {promised}."
    typer.echo(
        f"The images of {len(rows)} studies, {size:.1f} MiB, and the documents of {documents}"
        f" {verb} deleted.{stay if promised else ''}"
    )


def _spool_root(settings: Any) -> Any:  # noqa: ANN401 - Settings and a Path, imported late
    """Give the spool's folder, made if it is not there.

    Raises:
        OSError: the place cannot be written.
    """
    from triage.spool import Spool

    return Spool(settings.spool, settings.readers).root


@contextmanager
def _bar(*, shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Have a bar for each kind of work on standard error, where a person looks."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    console = Console(stderr=True)
    with Progress(
        console=console, disable=not (shown and sys.stderr.isatty()), transient=True
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield tell


def _row(one: "ConflictRow") -> dict[str, Any]:
    return {
        "conflict": one.id, "study": one.study_id, "weight": one.weight, "code": one.code,
        "detail": one.detail, "subject": one.subject, "opened_at": one.opened_at,
        "resolved_at": one.resolved_at, "resolved_by": one.resolved_by,
        "resolution": one.resolution, "reason": one.reason,
    }  # fmt: skip


def _sum(row: "ReconciliationRow") -> dict[str, Any]:
    from dataclasses import asdict

    from triage.record.reconcile import differences

    return {
        "at": row.at, "balanced": row.balanced, "received": row.received,
        "analysed": row.analysed, "excluded": row.excluded, "quarantined": row.quarantined,
        "still_open": row.still_open, "unrecorded": row.unrecorded,
        "oldest_open_at": row.oldest_open_at,
        "differences": [asdict(one) for one in differences(row)],
    }  # fmt: skip
