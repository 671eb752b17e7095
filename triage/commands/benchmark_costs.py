"""What each row of a benchmark costs to score with, measured when its trainings are over."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from pydantic import Field

from models import artifact
from models.contract import Detector
from models.cost import multiply_adds
from models.files import write_atomically
from models.peak import Subject, peak
from models.speed import PlainAutoencoder, speed
from triage.commands.benchmark_cells import Outcome
from triage.frozen import Frozen

KEPT: Final = "costs.json"
BATCH: Final = 32


class Rate(Frozen):
    """Images a second on one device; on a CPU, of one core's own time."""

    device: str
    images: int
    """Scored at once."""
    detector: float
    plain: float
    """Of the plainest autoencoder, in the same run."""


class Cost(Frozen):
    """What scoring takes, whatever the device."""

    parameters: int
    multiply_adds: int
    """Of one image."""
    one_mb: float
    """Memory of a fresh process at its most, above one without a detector; of one image."""
    batch_mb: float


class Measured(Frozen):
    """Of one row."""

    artifact_sha256: str
    """Another artifact is measured again."""
    size_px: int
    cost: Cost
    rates: tuple[Rate, ...]


class Costs(Frozen):
    """Every row's, by its name, and the plainest autoencoder's, by the input's size."""

    rows: dict[str, Measured] = Field(default_factory=dict)
    plain: dict[int, Cost] = Field(default_factory=dict)


def costs(kept: Path, outcomes: Sequence[Outcome], *, measure: bool) -> Costs:
    """Give each row's costs; with ``measure``, of those too that were not measured before."""
    path = kept / KEPT
    known = Costs.model_validate_json(path.read_bytes()) if path.is_file() else Costs()
    first = {one.row: one for one in reversed(outcomes)}
    for row, outcome in first.items() if measure else ():
        before = known.rows.get(row)
        if before is None or before.artifact_sha256 != outcome.artifact_sha256:
            found = _measured(kept / outcome.artifact, outcome.artifact_sha256)
            known = Costs(
                rows={**known.rows, row: found},
                plain=known.plain | ({} if found.size_px in known.plain else _plain(found.size_px)),
            )
            write_atomically(path, known.model_dump_json(indent=1).encode())
    return known


def _measured(folder: Path, sha256: str) -> Measured:
    loaded = artifact.load(folder)
    size_px = int(loaded.card.recipe["size_px"][0])
    subject = Subject(size_px, BATCH, artifact=str(folder))
    return Measured(
        artifact_sha256=sha256,
        size_px=size_px,
        cost=_cost(loaded.detector, subject),
        rates=tuple(_rates(loaded.detector, size_px)),
    )


def _plain(size_px: int) -> dict[int, Cost]:
    return {size_px: _cost(PlainAutoencoder().eval(), Subject(size_px, BATCH))}


def _cost(detector: Detector | PlainAutoencoder, subject: Subject) -> Cost:
    taken = peak(subject)
    return Cost(
        parameters=sum(one.numel() for one in detector.parameters()),
        multiply_adds=multiply_adds(detector, torch.rand(1, 1, subject.size_px, subject.size_px)),
        one_mb=taken.one,
        batch_mb=taken.batch,
    )


def _rates(detector: Detector, size_px: int) -> Iterator[Rate]:
    generator = torch.Generator().manual_seed(0)
    voxels = torch.rand(BATCH, 1, size_px, size_px, generator=generator)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        detector.to(device)
        for images in (1, BATCH):
            found = speed(detector.score, voxels[:images].to(device))
            yield Rate(device=device, images=images, detector=found.detector, plain=found.plain)
