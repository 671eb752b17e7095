"""One cell of a benchmark: train, measure, write it down; and never twice.

A cell's folder holds training.yaml, its run, and cell.json, which is written last and whole. The
kernel's lock on the folder is gone with the process, so several processes share one benchmark,
and a killed one leaves nothing to clear away.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import yaml
from pydantic import ValidationError

from models import artifact
from models.files import write_atomically
from triage.commands.benchmark_plan import Cell, Table
from triage.commands.evaluate import Question, evaluate
from triage.commands.evaluation import Result
from triage.commands.train import train
from triage.errors import ConfigError
from triage.frozen import Frozen

DONE: Final = "cell.json"
TRAINING: Final = "training.yaml"


class Outcome(Frozen):
    """What one cell came to."""

    row: str
    on: str
    seed: int
    name: str
    artifact: str
    """Its folder, below the cells' own."""
    artifact_sha256: str
    parameters: int
    weights_mb: float
    """Of the whole artifact's weights, 10^6 bytes."""
    epochs: int
    seconds: float
    """Of training in this process; a run that was carried on took longer."""
    results: dict[str, Result]
    """By set."""


def finished(folder: Path) -> Outcome | None:
    """Give what the cell in a folder came to, or None where it is not done.

    Raises:
        ConfigError: the file is not what this program writes.
    """
    try:
        return Outcome.model_validate_json((folder / DONE).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        msg = f"{folder / DONE} is damaged or from another version; remove it to run the cell again"
        raise ConfigError(msg) from None


def run(cell: Cell, table: Table, data: Path, folder: Path, device: str) -> Outcome:
    """Train and measure a cell, or carry on with what a killed process left of it.

    Raises:
        ConfigError: the training file, the data or the training does not hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(cell.training, sort_keys=False)
    write_atomically(folder / TRAINING, text.encode())
    began = perf_counter()
    found = train(folder / TRAINING, data=data, runs=folder / "run", resume=True, device=device)
    seconds = perf_counter() - began
    packed = Path(found["artifact"])
    results = {}
    for name in cell.sets:
        one = table.sets[name]
        asked = Question(
            data / one.folder, (one.subset,), one.splits, one.stratum, table.alpha, device
        )
        (results[name],) = evaluate(packed, asked).results
    outcome = _outcome(cell, folder, packed, results, seconds, int(found["epochs"]))
    content = json.dumps(outcome.model_dump(mode="json"), indent=1) + "\n"
    write_atomically(folder / DONE, content.encode())
    _keep_only_the_artifact(folder / "run", packed)
    return outcome


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Have a cell to oneself: False where another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def _outcome(
    cell: Cell, folder: Path, packed: Path, results: dict[str, Result], seconds: float, epochs: int
) -> Outcome:
    loaded = artifact.load(packed)
    return Outcome(
        row=cell.row.name,
        on=cell.on,
        seed=cell.seed,
        name=cell.name,
        artifact=str(packed.relative_to(folder.parent)),
        artifact_sha256=loaded.sha256,
        parameters=sum(one.numel() for one in loaded.detector.parameters()),
        weights_mb=(packed / artifact.WEIGHTS).stat().st_size / 1e6,
        epochs=epochs,
        seconds=seconds,
        results=results,
    )


def _keep_only_the_artifact(run: Path, packed: Path) -> None:
    """Remove checkpoints, which are several times the artifact; the curves stay."""
    for path in run.rglob("*.safetensors"):
        if packed not in path.parents:
            path.unlink()
    for path in run.rglob("checkpoint.json"):
        path.unlink()
