"""The command line. Every import that costs something is inside its command."""

import sys
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # before the imports that cost
    from triage.commands import loading

    loading.begin()

import typer

from triage import log
from triage.commands import (
    common,
    doors_custody,
    doors_delivery,
    doors_detectors,
    doors_export,
    doors_network,
    doors_simulate,
    doors_supply,
)
from triage.commands.artifact import app as artifact_app
from triage.commands.cohort_door import app as cohort_app
from triage.commands.common import AsJson, Config, State
from triage.commands.conformance import conformance
from triage.commands.dicomweb import app as dicomweb_app
from triage.commands.doors_audit import app as audit_app
from triage.commands.feedback import app as feedback_app
from triage.commands.priors import app as priors_app
from triage.commands.release import app as release_app
from triage.commands.study_text import study_text
from triage.commands.tokens import app as token_app
from triage.commands.ups import app as ups_app
from triage.commands.users import app as user_app
from triage.commands.viewer import app as viewer_app
from triage.errors import TriageError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Moves studies that look unlike healthy anatomy up a radiologist's worklist.",
    epilog="Exit codes: 0 done, 1 something did not hold, 2 wrong arguments, 3 needs set-up.",
)
study_app = typer.Typer(no_args_is_help=True, help="What happened to a study.")
queue_app = typer.Typer(no_args_is_help=True, help="What waits, and for whom.")
db_app = typer.Typer(no_args_is_help=True, help="The database's schema.")
config_app = typer.Typer(no_args_is_help=True, help="The configuration.")
for name, part in (
    ("study", study_app),
    ("queue", queue_app),
    ("audit", audit_app),
    ("db", db_app),
    ("cohort", cohort_app),
    ("config", config_app),
    ("ups", ups_app),
    ("feedback", feedback_app),
    ("dicomweb", dicomweb_app),
    ("priors", priors_app),
    ("viewer", viewer_app),
    ("user", user_app),
    ("token", token_app),
    ("artifact", artifact_app),
    ("release", release_app),
):
    app.add_typer(part, name=name)
doors_custody.add_to(app)
doors_delivery.add_to(app, queue_app)
doors_detectors.add_to(app)
doors_export.add_to(app)
doors_network.add_to(app)
doors_simulate.add_to(app)
doors_supply.add_to(app)

app.command()(conformance)
study_app.command("text")(study_text)

Paths = Annotated[list[Path], typer.Argument(exists=True, help="Files or folders.")]
To = Annotated[str, typer.Option("--to", metavar="AE@HOST:PORT", help="Where to send.")]


@app.command()
def demo(
    state: State = None,
    port: Annotated[int, typer.Option(help="Port of the worklist; 0 takes a free one.")] = 0,
    check: Annotated[bool, typer.Option("--check", help="Run once, verify, end.")] = False,
) -> None:
    """Run the whole road on made-up studies: no server, no network, no patient."""
    from triage.commands.demo import run

    raise typer.Exit(run(state, port=port, check=check))


@app.command()
def up(state: State = None, config: Config = None) -> None:
    """Run every process: listener, ingestor, dispatcher, workers, worklist."""
    from triage.commands.up import up

    up(common.load(state, config))


@app.command()
def listen(state: State = None, config: Config = None) -> None:
    """Receive studies by C-STORE."""
    from triage.commands.services import listen

    listen(common.load(state, config))


@app.command()
def ingest(state: State = None, config: Config = None) -> None:
    """Index what was received."""
    from triage.commands.services import ingest

    ingest(common.load(state, config))


@app.command()
def worker(
    queues: Annotated[str, typer.Option(help="Which of cpu, gpu, out.")] = "cpu,gpu,out",
    concurrency: Annotated[int, typer.Option(min=1, help="Children, with a broker.")] = 1,
    state: State = None,
    config: Config = None,
) -> None:
    """Run steps: assemble (cpu), analyse (gpu), deliver (out)."""
    common.load(state, config)
    common.become("workers", "worker", "--queues", queues, "--concurrency", str(concurrency))


@app.command()
def dispatch(state: State = None, config: Config = None) -> None:
    """Hand due studies to the broker, and keep the house in order."""
    common.load(state, config)
    common.become("workers", "dispatch")


@app.command()
def web(
    port: Annotated[int | None, typer.Option(help="Instead of web.port.")] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Serve the worklist."""
    from triage.commands.services import web

    web(common.load(state, config), port)


@app.command()
def send(
    paths: Paths,
    to: To,
    calling: Annotated[
        str | None, typer.Option(metavar="AE", help="Our AE title (by default the listener's).")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=8, help="Associations at once.")] = 1,
    tls: Annotated[bool, typer.Option("--tls", help="Over TLS, with STATE/tls.")] = False,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Send DICOM files to an application entity."""
    from triage.commands.send import send
    from triage.tls import TlsPeer, located

    settings = common.load(state, config)
    ours = calling or settings.site.listener.ae_title
    how = located(TlsPeer(), settings.state) if tls else None
    raise typer.Exit(send(paths, to, calling=ours, jobs=jobs, as_json=as_json, tls=how))


@app.command()
def run(
    paths: Paths,
    as_json: AsJson = False,
    sr: Annotated[Path | None, typer.Option(help="Folder for the reports.")] = None,
    state: State = None,
    config: Config = None,
) -> None:
    """Analyse studies on disk: no listener, no database, nothing sent."""
    common.load(state, config)
    options = (["--json"] if as_json else []) + (["--sr", str(sr)] if sr else [])
    common.become("workers", "run", *options, "--", *(str(path) for path in paths))


@app.command()
def train(
    detector: Annotated[Path, typer.Argument(exists=True, help="configs/detectors/NAME.yaml")],
    data: Annotated[Path | None, typer.Option(help="Instead of the folder it names.")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Where runs are kept (by default STATE/runs).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it stopped.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Train a detector on healthy images, calibrate it, measure it, pack it."""
    from triage.commands import loading
    from triage.commands.train import train

    loading.settle()
    settings = common.load(state, config)
    kept = runs or settings.state / "runs"
    found = train(detector, data=data, runs=kept, resume=resume, device=device)
    if as_json:
        common.print_json(found)
        return
    artifact = Path(found["artifact"])
    typer.echo(f"Read {artifact / 'README.md'}; to let the workers use it:")
    typer.echo(f"cp -r {artifact} {settings.artifacts[0] / detector.stem}")


@app.command()
def pacs(
    folder: Annotated[
        Path | None, typer.Argument(help="Where to keep what arrives (by default STATE/pacs).")
    ] = None,
    port: Annotated[int, typer.Option()] = 11113,
    ae_title: Annotated[str, typer.Option("--ae-title")] = "TESTPACS",
    state: State = None,
    config: Config = None,
) -> None:
    """Run a small test PACS that keeps what it gets. Not for patients."""
    from triage.commands.pacs import serve_pacs

    kept = folder or common.load(state, config).state / "pacs"
    serve_pacs(kept, port, ae_title, lambda bound: typer.echo(f"{ae_title}@127.0.0.1:{bound}"))


@app.command()
def doctor(state: State = None, config: Config = None, as_json: AsJson = False) -> None:
    """Check this installation; each cross comes with its fix."""
    from dataclasses import asdict

    from triage.commands.checks import show
    from triage.commands.doctor import examine

    checks = examine(common.load(state, config))
    if as_json:
        common.print_json([asdict(check) for check in checks])
    else:
        show(checks)
    raise typer.Exit(common.OK if all(check.ok for check in checks) else common.FAILED)


@study_app.command("show")
def study_show(
    study: Annotated[str, typer.Argument(help="Study Instance UID or number.")],
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one study: state, finding, reports, history."""
    from triage.commands.study import describe

    with common.opened(common.load(state, config)) as database:
        found = describe(database, study)
    if as_json:
        common.print_json(found)
        return
    lists = {key: value for key, value in found.items() if isinstance(value, list)}
    common.print_table(("", ""), [(key, value) for key, value in found.items() if key not in lists])
    for title, rows in lists.items():
        if rows:
            typer.echo(f"\n{title}")
            common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])


@queue_app.command("ls")
def queue_ls(
    every: Annotated[bool, typer.Option("--all", help="Also what is done.")] = False,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List studies that wait for a step or for a person."""
    from triage.commands.study import waiting

    with common.opened(common.load(state, config)) as database:
        rows = waiting(database, every=every)
    if as_json:
        common.print_json(rows)
    elif rows:
        common.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        typer.echo("Nothing waits.")


@queue_app.command("retry")
def queue_retry(
    studies: Annotated[list[str] | None, typer.Argument(help="UIDs or numbers.")] = None,
    every: Annotated[bool, typer.Option("--all-failed")] = False,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Give failed studies another try where they failed."""
    from triage.commands.study import retry

    if not studies and not every:
        msg = "name the studies, or say --all-failed"
        raise typer.BadParameter(msg)
    with common.opened(common.load(state, config)) as database:
        numbers = retry(database, studies or [], actor=common.person())
    if as_json:
        common.print_json({"retried": numbers})
    else:
        typer.echo(f"{len(numbers)} studies will be tried again.")


@db_app.command("upgrade")
def db_upgrade(state: State = None, config: Config = None) -> None:
    """Bring the database to this release's schema."""
    from db import schema

    settings = common.load(state, config)
    common.prepare(settings)
    typer.echo(f"The database is at revision {schema.head()}.")


@db_app.command("grants")
def db_grants(
    program: Annotated[str, typer.Option(help="The role that triage connects as.")],
    auditor: Annotated[str, typer.Option(help="The role of whoever asks in SQL.")],
    run: Annotated[bool, typer.Option("--run", help="As the tables' owner, now.")] = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Print what two roles of PostgreSQL may do, so that neither can change the audit trail."""
    from db.roles import apply, grants

    with common.opened(common.load(state, config)) as database:
        if database.engine.dialect.name != "postgresql":
            msg = "roles are PostgreSQL's; with SQLite the file's mode keeps others out"
            raise typer.BadParameter(msg)
        with database.engine.begin() as connection:
            if run:
                typer.echo(f"{apply(connection, program, auditor)} statements run.")
            else:
                typer.echo(";\n".join(grants(connection, program, auditor)) + ";")


@config_app.command("show")
def config_show(state: State = None, config: Config = None, as_json: AsJson = False) -> None:
    """Print the settings in force, defaults included."""
    import yaml

    data = common.load(state, config).model_dump(mode="json")
    if as_json:
        common.print_json(data)
    else:
        typer.echo(yaml.safe_dump(data, sort_keys=False))


@config_app.command("validate")
def config_validate(state: State = None, config: Config = None) -> None:
    """Check every file and name of the configuration."""
    settings = common.load(state, config)
    typer.echo(f"{settings.config} holds.")


@config_app.command("init")
def config_init(state: State = None) -> None:
    """Copy the packaged configuration into the state folder, to edit."""
    from triage.commands.doctor import copy_packaged
    from triage.settings import PACKAGED, load

    settings = load(state, PACKAGED)
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    typer.echo(f"Edit {copy_packaged(PACKAGED, settings.state / 'configs')}")


def main() -> None:
    """Run a command; errors say what, why and what next, without a traceback."""
    from triage.commands import loading

    loading.begin()  # of the installed program, which comes here by an import
    log.hush()
    try:
        app(prog_name="triage")
    except TriageError as why:
        typer.echo(f"triage: {why}", err=True)
        sys.exit(common.SETUP)


if __name__ == "__main__":
    main()
