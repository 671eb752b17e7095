"""The options of ``triage calibrate``. Every import that costs something is inside the command."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State

if TYPE_CHECKING:
    from triage.commands.calibrate import Asked, Found

COLUMNS: Final = (
    "stratum", "patients", "studies", "p_at_most", "false_flags", "low", "high", "flags_a_day",
    "at_most",
)  # fmt: skip


def calibrate(  # noqa: PLR0913 - options are arguments
    artifact: Annotated[
        Path, typer.Argument(help="Its folder, or the name of one that is installed.")
    ],
    normals: Annotated[
        Path,
        typer.Option(exists=True, help="Healthy studies: DICOM folder, cohort, or split.csv."),
    ],
    split: Annotated[
        list[str] | None, typer.Option(help="Of a cohort or split.csv (default: calibration).")
    ] = None,
    subset: Annotated[list[str] | None, typer.Option(help="Of split.csv (default: all).")] = None,
    stratum: Annotated[
        list[str] | None, typer.Option(metavar="[SUBSET=]STRATUM", help="Of split.csv's pictures.")
    ] = None,
    *,
    any_site: Annotated[
        bool, typer.Option("--any-site", help="Pictures speak for every site, not for theirs.")
    ] = False,
    aggregation: Annotated[str, typer.Option(help="max or top3 of a study's slices.")] = "max",
    alpha: Annotated[
        float | None, typer.Option(min=0.0001, max=0.5, help="Promised share of false flags.")
    ] = None,
    flags_a_day: Annotated[
        float | None, typer.Option(min=0.01, help="Instead: at most so many, of --arrivals.")
    ] = None,
    arrivals: Annotated[
        float | None, typer.Option(min=0.1, help="Studies of this kind a day.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Of policy.yaml, to get the threshold (default: commonest).")
    ] = None,
    references: Annotated[
        bool,
        typer.Option(
            "--references",
            help="Keep small pictures of these studies beside the detector, without headers, to "
            "show the nearest ones in research mode.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Save without asking.")] = False,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Calibrate a detector on healthy studies: what its scores promise here, and from when to flag.

    Shows the curve before anything is saved.
    """
    from triage.commands import calibrate as work
    from triage.commands.calibrate_sources import Wanted

    _refuse_halves(alpha, flags_a_day, arrivals, aggregation, as_json=as_json, yes=yes)
    settings = common.load(state, config)
    installed = (one / artifact for one in settings.artifacts)
    folder = next((one for one in (artifact, *installed) if one.is_dir()), artifact)
    asked = work.Asked(
        Wanted(normals, tuple(split or ()), tuple(subset or ()), _strata(stratum), any_site),
        aggregation, alpha, flags_a_day, arrivals, level, references,
    )  # fmt: skip
    run = settings.state / "runs" / f"calibrate-{folder.name}"
    found = work.calibrate(folder, asked, settings, run)
    if not as_json:
        _show(found)
    if not yes and not typer.confirm("Save this calibration?", err=True):
        typer.echo("Nothing was saved.", err=True)
        raise typer.Exit(common.FAILED)
    written = work.save(found, asked, settings, run)
    if as_json:
        common.print_json(found.facts | {"saved": written})
        return
    for line in _written(found, asked, written):
        typer.echo(line)


def _refuse_halves(
    alpha: float | None,
    flags_a_day: float | None,
    arrivals: float | None,
    aggregation: str,
    *,
    as_json: bool,
    yes: bool,
) -> None:
    from models.calibrate import AGGREGATIONS

    if alpha is not None and flags_a_day is not None:
        msg = "name --alpha or --flags-a-day, not both"
    elif flags_a_day is not None and arrivals is None:
        msg = "--flags-a-day needs --arrivals: how many studies of this kind come a day"
    elif aggregation not in AGGREGATIONS:
        msg = f"--aggregation is none of {', '.join(AGGREGATIONS)}"
    elif as_json and not yes:
        msg = "--json asks nothing, so say --yes too"
    else:
        return
    raise typer.BadParameter(msg)


def _strata(said: list[str] | None) -> dict[str, str]:
    """Give the stratum of each subset; "" is that of all others."""
    pairs = [one.rpartition("=") for one in said or ()]
    return {subset: stratum for subset, _, stratum in pairs}


def _show(found: "Found") -> None:
    facts = found.facts
    rows = facts["strata"]
    columns = [name for name in COLUMNS if name in rows[0]]
    common.print_table(columns, [[_said(row[name]) for name in columns] for row in rows])
    for name, count in facts["too_few"].items():
        typer.echo(f"Left out, too few healthy patients: {name} ({count})")
    for code, count in facts["not_taken"].items():
        typer.echo(f"Not taken: {count} studies, {code}")
    typer.echo(facts["checked"])
    typer.echo(
        "false_flags is the share of healthy studies flagged; low and high hold it with 95 %"
    )
    if found.alpha is not None and found.level is not None:
        now = found.level.p_at_most
        typer.echo(f"Threshold: p <= {found.alpha:.4g} for {found.level.name} (now {now:g})")
    typer.echo(f"Curve: {found.curve}")
    sys.stdout.flush()


def _said(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _written(found: "Found", asked: "Asked", written: dict[str, Any]) -> list[str]:
    lines = [f"Saved {written['artifact']}; workers read it when they are started again."]
    if written["former"]:
        lines.append(f"What was there is kept in {written['former']}")
    if "policy" in written:
        lines.append(f"{written['policy']}: level {found.level.name if found.level else ''} set")
    elif asked.sets_threshold:
        lines.append("No threshold was changed.")
    return lines
