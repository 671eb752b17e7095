"""The options of ``triage cohort``. Every import that costs something is inside its command."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State

app: Final = typer.Typer(no_args_is_help=True, help="Studies to train detectors on.")


@app.command("build")
def build(  # noqa: PLR0913 - options are arguments
    folder: Annotated[Path, typer.Argument(help="Where to write the cohort.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(exists=True, help="DICOM files or folders.")
    ] = None,
    *,
    from_spool: Annotated[
        bool, typer.Option("--from-spool", help="Take received studies instead of PATHS.")
    ] = False,
    modality: Annotated[list[str] | None, typer.Option(help="Of the spool: DX, CT ...")] = None,
    body_part: Annotated[list[str] | None, typer.Option(help="Of the spool: CHEST ...")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Of the spool: AE titles.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Received at or after, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Received before, UTC.")] = None,
    normals: Annotated[
        Path | None, typer.Option(exists=True, help="Study UIDs read as healthy, one a line.")
    ] = None,
    all_normal: Annotated[
        bool, typer.Option("--all-normal", help="Every study not in --abnormal is healthy.")
    ] = False,
    abnormal: Annotated[
        Path | None, typer.Option(exists=True, help="Study UIDs read as abnormal: they test.")
    ] = None,
    route: Annotated[list[str] | None, typer.Option(help="Of routes.yaml (default: any).")] = None,
    early_stop: Annotated[float, typer.Option(min=0, max=0.5, help="Share of patients.")] = 0.1,
    calibration: Annotated[float, typer.Option(min=0, max=0.5, help="Share of patients.")] = 0.2,
    test: Annotated[float, typer.Option(min=0, max=0.5, help="Share of patients.")] = 0.0,
    state: State = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Split DICOM studies by patient into train, early-stop, calibration and test."""
    from triage.commands import cohort, cohort_sources
    from triage.commands.cohort_split import Shares

    if bool(paths) is from_spool:
        msg = "name PATHS, or say --from-spool"
        raise typer.BadParameter(msg)
    if (normals is not None) is all_normal:
        msg = "name the healthy studies with --normals, or say --all-normal"
        raise typer.BadParameter(msg)
    settings = common.load(state, config)
    wanted = cohort.Wanted(
        cohort_sources.read_uids(normals) if normals else None,
        cohort_sources.read_uids(abnormal) if abnormal else frozenset(),
        tuple(route or ()),
        Shares(early_stop, calibration, test),
    )
    if from_spool:
        ask = cohort_sources.Query(
            modality=tuple(modality or ()),
            body_part=tuple(body_part or ()),
            source=tuple(source or ()),
            since=common.utc(since),
            until=common.utc(until),
        )
        with common.opened(settings) as database:
            found = cohort_sources.in_spool(database, settings.spool, ask, actor=common.person())
    else:
        found = cohort_sources.in_folders(paths or ())
    facts = cohort.build(folder, found, wanted, settings)
    if as_json:
        common.print_json(facts)
    else:
        cohort.show(folder, facts)
