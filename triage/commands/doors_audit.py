"""``triage audit``: ask the trail, hand it on, and prove that nobody changed it."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State

if TYPE_CHECKING:
    from triage.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Ask the audit trail; hand it on; prove it whole.")
Study = Annotated[str | None, typer.Option(metavar="UID", help="Study Instance UID.")]
Patient = Annotated[str | None, typer.Option(metavar="ID", help="All studies of a Patient ID.")]
EventOf = Annotated[str | None, typer.Option(help="DCM code or our word.")]
User = Annotated[str | None, typer.Option(help="Who did it.")]
Since = Annotated[datetime | None, typer.Option(help="UTC.")]
Until = Annotated[datetime | None, typer.Option(help="UTC; up to, without.")]


class Format(StrEnum):
    """What ``triage audit export`` writes."""

    CSV = "csv"
    JSON = "json"
    ATNA = "atna"
    FHIR = "fhir"


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=at.tzinfo or UTC) if at else None


@app.command("query")
def audit_query(
    study: Study = None,
    patient: Patient = None,
    event: EventOf = None,
    user: User = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List audit rows, newest first. Asking is audited."""
    from triage.commands.trail import query
    from triage.trail.rows import Question

    ask = Question(
        study=study, patient=patient, event=event, user=user, since=_utc(since),
        until=_utc(until), limit=limit,
    )  # fmt: skip
    with common.opened(common.load(state, config)) as database:
        rows = query(database, ask, actor=common.person())
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo("No audit row fits.")


@app.command("export")
def audit_export(
    out: Annotated[Path, typer.Argument(help="The file to write; - writes to the screen.")],
    form: Annotated[
        Format,
        typer.Option("--format", help="atna is DICOM's XML, fhir is AuditEvent: one a line."),
    ] = Format.CSV,
    study: Study = None,
    patient: Patient = None,
    event: EventOf = None,
    user: User = None,
    since: Since = None,
    until: Until = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Write audit rows for another system or a spreadsheet, newest first. Audited as an export."""
    from triage.commands.trail import export
    from triage.trail.rows import Question

    ask = Question(
        study=study, patient=patient, event=event, user=user, since=_utc(since),
        until=_utc(until), limit=None,
    )  # fmt: skip
    settings = common.load(state, config)
    with common.opened(settings) as database:
        count = export(database, settings.site.audit, ask, out, form, actor=common.person())
    if str(out) != "-":
        typer.echo(f"{count} audit rows in {out}")


@app.command("ship")
def audit_ship(
    once: Annotated[bool, typer.Option("--once", help="Send what waits, then end.")] = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Send audit messages to the repositories of site.yaml (audit.collectors) until SIGTERM."""
    from triage.commands.trail import ship

    ship(common.load(state, config), once=once)


@app.command("verify")
def audit_verify(
    archive: Annotated[
        Path | None, typer.Option(help="Check a file of retired rows instead.", exists=True)
    ] = None,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check the hash chain; names the first row that does not fit."""
    from dataclasses import asdict

    from triage.commands.trail import verify

    settings = common.load(state, config)
    if archive is not None:
        _verify_archive(archive, settings, as_json=as_json)
    with common.opened(settings) as database:
        verdict = verify(database, settings, actor=common.person())
    if as_json:
        common.print_json({"ok": verdict.ok, **asdict(verdict)})
    elif verdict.ok:
        before = f" after {verdict.retired} retired" if verdict.retired else ""
        typer.echo(f"{verdict.sealed} rows{before}, whole. Head {verdict.head}")
    else:
        typer.echo(f"Broken at {verdict.first_bad_seq}: {verdict.problem}", err=True)
    raise typer.Exit(common.OK if verdict.ok else common.FAILED)


def _verify_archive(path: Path, settings: "Settings", *, as_json: bool) -> NoReturn:
    from triage.commands.trail import verify_archive

    count, problem = verify_archive(path, settings)
    if as_json:
        common.print_json({"ok": not problem, "rows": count, "problem": problem})
    elif problem:
        typer.echo(f"Broken after {count} rows: {problem}", err=True)
    else:
        typer.echo(f"{count} rows, whole.")
    raise typer.Exit(common.FAILED if problem else common.OK)


@app.command("retire")
def audit_retire(
    before: Annotated[
        datetime | None, typer.Option(help="UTC; whole months before it. Else as site.yaml says.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Move months older than audit.retention_years from the database into an archive. Audited.

    The archive is written and a bridge over the gap is signed first: `triage audit verify` still
    proves the rest, and with --archive the file.
    """
    from triage.trail.retire import carry_out, planned

    settings = common.load(state, config)
    with common.opened(settings) as database:
        actor, gone = common.person(), None
        plan = planned(database, settings, _utc(before), actor=actor)
        if plan is not None and not dry_run:
            gone = carry_out(database, settings, plan, actor=actor)
    told = {
        "dry_run": dry_run, "rows": plan.rows if plan else 0,
        "before": plan.before if plan else None, "seal": plan.seq if plan else None,
        "archive": str(gone.archive) if gone else None,
    }  # fmt: skip
    if as_json:
        common.print_json(told)
    elif plan is None:
        typer.echo("No row is that old.")
    else:
        where = f"are in {gone.archive}" if gone else "would go"
        typer.echo(f"{plan.rows} rows before {plan.before:%Y-%m} {where}.")
