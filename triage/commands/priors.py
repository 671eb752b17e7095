"""``triage priors``: older studies of a patient, fetched for comparison and never triaged."""

import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triage import log
from triage.commands import common
from triage.commands.common import AsJson, Config, State

if TYPE_CHECKING:
    from db.engine import Database

app = typer.Typer(no_args_is_help=True, help="Older studies, fetched for comparison.")
Study = Annotated[str, typer.Argument(help="Study Instance UID or number.")]


@app.command()
def work(state: State = None, config: Config = None) -> None:
    """Find and fetch the priors of studies as they become complete."""
    from triage.commands.harden import harden
    from triage.priors.lane import work
    from triage.stopping import on_stop_signal

    harden()
    settings = common.load(state, config)
    log.configure("priors", as_json=not sys.stderr.isatty())
    with common.opened(settings) as database:
        work(settings, database, _owner(), on_stop_signal())


@app.command("ls")
def ls(
    study: Annotated[str | None, typer.Argument(help="Study Instance UID or number.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """List priors, of one study or the latest of all, and searches that found none."""
    with common.opened(common.load(state, config)) as database:
        rows = rows_of(database, study, limit)
    _show(rows, as_json=as_json)


@app.command()
def fetch(
    study: Study, *, as_json: AsJson = False, state: State = None, config: Config = None
) -> None:
    """Look for a study's prior now, within the sources' budgets."""
    from db.priors import PriorSearchRow
    from triage.commands.study import find
    from triage.priors.lane import Lane, want

    settings = common.load(state, config)
    log.configure("priors", as_json=not sys.stderr.isatty())
    with common.opened(settings) as database:
        with database.begin() as session:
            study_id = find(session, study).id
            want(session, study_id)
        Lane(settings, database, _owner()).search(study_id)
        rows = rows_of(database, study, 100)
        with database.reading() as session:
            done = session.get_one(PriorSearchRow, study_id).state == "done"
    _show(rows, as_json=as_json)
    raise typer.Exit(common.OK if done else common.FAILED)


def rows_of(database: "Database", study: str | None, limit: int) -> list[dict[str, Any]]:
    """Give priors for a table, without patient data; a search without one has a line too."""
    from sqlalchemy import select

    from db.priors import PriorRow, PriorSearchRow
    from triage.commands.study import find

    with database.reading() as session:
        asked = select(PriorSearchRow).order_by(PriorSearchRow.study_id.desc()).limit(limit)
        priors = select(PriorRow).order_by(PriorRow.id.desc()).limit(limit)
        if study is not None:
            study_id = find(session, study).id
            asked = asked.where(PriorSearchRow.study_id == study_id)
            priors = priors.where(PriorRow.study_id == study_id)
        searches = {one.study_id: one for one in session.scalars(asked)}
        found = [_line(one) for one in session.scalars(priors)]
    named = {one["study"] for one in found}
    return found + [
        {
            "study": one.study_id, "prior": "", "source": "", "state": one.found or one.state,
            "reason": one.detail, "date": "", "modality": "", "instances": 0, "bytes": 0,
        }
        for one in searches.values()
        if one.study_id not in named
    ]  # fmt: skip


def _line(one: Any) -> dict[str, Any]:  # noqa: ANN401 - a PriorRow, which costs an import
    return {
        "study": one.study_id, "prior": one.study_instance_uid, "source": one.source or "here",
        "state": one.state, "reason": one.reason_code, "date": one.study_date,
        "modality": one.modality, "instances": one.instance_count, "bytes": one.size_bytes,
    }  # fmt: skip


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo("There is none.")


def _owner() -> str:
    return f"{socket.gethostname()[:60]}:{os.getpid()}"
