"""The commands about detectors: ``triage calibrate``, ``triage evaluate``, ``triage benchmark``.

Every import that costs something is inside its command.
"""

from pathlib import Path
from typing import Annotated

import typer

from triage.commands import common
from triage.commands.calibrate_door import calibrate
from triage.commands.common import AsJson, Config, State


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the command line."""
    app.command()(calibrate)
    app.command()(evaluate)
    app.command()(benchmark)


def evaluate(
    artifact: Annotated[
        Path, typer.Argument(help="Its folder, or the name of one that is installed.")
    ],
    data: Annotated[Path, typer.Option(exists=True, help="Folder with split.csv and pictures.")],
    subset: Annotated[list[str] | None, typer.Option(help="By default every subset.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="By default those that begin with 'test'.")
    ] = None,
    stratum: Annotated[
        str | None, typer.Option(help="Instead of the one that the artifact's card names.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="Promised share of false flags.")
    ] = 0.05,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write report.json and report.html, with pictures."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    *,
    deletion: Annotated[
        bool, typer.Option("--deletion", help="Also test whether maps show what carried scores.")
    ] = False,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Measure a trained detector on labelled pictures it has not seen."""
    from triage.commands.evaluate import Question, evaluate
    from triage.commands.evaluate_deletion import deletion_lines
    from triage.commands.evaluate_page import lines

    asked = Question(
        data, tuple(subset or ()), tuple(split or ()), stratum, alpha, device, deletion
    )
    installed = (one / artifact for one in common.load(state, config).artifacts)
    folder = next((one for one in (artifact, *installed) if one.is_dir()), artifact)
    found = evaluate(folder, asked, out=out)
    if as_json:
        common.print_json(found.model_dump(mode="json"))
        return
    for result in found.results:
        title = f"{result.subset}: {result.healthy} healthy, {result.abnormal} abnormal"
        common.print_table((title, result.stratum), list(lines(result)))
    for one in found.deletions:
        common.print_table((f"{one.subset}: deletion", ""), list(deletion_lines(one)))
    for text in (*found.checked, *([f"Read {out / 'report.html'}"] if out else [])):
        typer.echo(text)


def benchmark(
    table: Annotated[Path, typer.Argument(exists=True, help="configs/benchmarks/NAME.yaml")],
    data: Annotated[Path, typer.Option(exists=True, help="Holds the folders it names.")],
    size: Annotated[str, typer.Option(help="One of the table's sizes.")] = "reduced",
    only: Annotated[list[str] | None, typer.Option(help="Only these rows.")] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Where results are kept (by default STATE/runs).")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/benchmarks.md"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Train and measure every detector of a table, and write the page."""
    from triage.commands.benchmark import benchmark

    kept = runs or common.load(state, config).state / "runs"
    found = benchmark(
        table, data=data, size=size, runs=kept, out=out, only=only or (), device=device
    )
    if as_json:
        common.print_json(found.model_dump(mode="json"))
    else:
        typer.echo(f"{found.done} cells are done, {found.elsewhere} in other hands: {found.page}")
        for failure in found.failed:
            typer.echo(f"failed: {failure}", err=True)
    raise typer.Exit(common.FAILED if found.failed else common.OK)
