"""How fast each row of a benchmark scores, measured when its trainings are over."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch

from models import artifact
from models.files import write_atomically
from models.speed import speed
from triage.commands.benchmark_cells import Outcome
from triage.frozen import Frozen

KEPT: Final = "speed.json"
BATCH: Final = 32


class Rate(Frozen):
    """Images a second on one device; on a CPU, of one core's own time."""

    device: str
    detector: float
    plain: float
    """Of the plainest autoencoder, in the same run."""


class Rates(Frozen):
    """Every row's, by its name, of the artifact that it was measured with."""

    of: dict[str, tuple[Rate, ...]]
    artifacts: dict[str, str]
    """Their SHA-256, by row: another one is measured again."""


def rates(kept: Path, outcomes: Sequence[Outcome], *, measure: bool) -> dict[str, tuple[Rate, ...]]:
    """Give each row's speeds; with ``measure``, of those too that were not measured before."""
    path = kept / KEPT
    known = (
        Rates.model_validate_json(path.read_bytes())
        if path.is_file()
        else Rates(of={}, artifacts={})
    )
    first = {one.row: one for one in reversed(outcomes)}
    for row, outcome in first.items() if measure else ():
        if known.artifacts.get(row) != outcome.artifact_sha256:
            found = tuple(_rates(kept / outcome.artifact))
            known = Rates(
                of={**known.of, row: found},
                artifacts={**known.artifacts, row: outcome.artifact_sha256},
            )
            write_atomically(path, known.model_dump_json(indent=1).encode())
    return known.of


def _rates(folder: Path) -> Iterator[Rate]:
    loaded = artifact.load(folder)
    rows, columns = loaded.card.recipe["size_px"]
    generator = torch.Generator().manual_seed(0)
    voxels = torch.rand(BATCH, 1, int(rows), int(columns), generator=generator)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        loaded.detector.to(device)
        found = speed(loaded.detector.score, voxels.to(device))
        yield Rate(device=device, detector=found.detector, plain=found.plain)
