"""How much memory scoring takes at its most, measured in a process of its own.

``python -m models.peak`` is that process; ``peak`` starts it. Only a fresh one can say what a
detector adds: memory that was once taken is seldom given back. Linux counts it, in /proc.
"""

import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

import models
from models import artifact
from models.contract import Detector
from models.speed import PlainAutoencoder

SELF: Final = Path("/proc/self")
LIMIT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a packed detector, an untrained one, or neither: a plain autoencoder."""

    size_px: int
    batch: int
    artifact: str | None = None
    """Its folder."""
    family: str | None = None
    params: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Peak:
    """Megabytes, 10^6 bytes, above a process that has torch and no detector: weights and all."""

    one: float
    """While one image is scored."""
    batch: float


def peak(subject: Subject) -> Peak:
    """Measure scoring on one thread of the CPU, in a fresh process.

    Raises:
        OSError: the process did not end well, as where there is no /proc.
    """
    command = [sys.executable, "-m", "models.peak", json.dumps(asdict(subject))]
    ended = subprocess.run(  # noqa: S603 - our own interpreter and module
        command, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no word"])[-1]
        msg = f"memory was not measured: python -m models.peak ended with {last!r}"
        raise OSError(msg)
    return Peak(**json.loads(ended.stdout))


def main() -> None:
    """Measure what the command line names, and print it."""
    subject = Subject(**json.loads(sys.argv[1]))
    torch.set_num_threads(1)
    PlainAutoencoder().score(torch.rand(1, 1, 64, 64))  # what every first convolution takes
    before = _bytes("VmRSS")
    detector = _built(subject)
    found = []
    for count in (1, subject.batch):
        _forget()
        detector.score(torch.rand(count, 1, subject.size_px, subject.size_px))
        found.append((_bytes("VmHWM") - before) / 1e6)
    sys.stdout.write(json.dumps(asdict(Peak(*found))))


def _built(subject: Subject) -> Detector | PlainAutoencoder:
    if subject.artifact is not None:
        return artifact.load(Path(subject.artifact)).detector
    if subject.family is not None:
        return models.load(subject.family)(**(subject.params or {})).eval()
    return PlainAutoencoder().eval()


def _bytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", (SELF / "status").read_text(), re.MULTILINE)
    if found is None:
        msg = f"{SELF / 'status'} has no {field}"
        raise OSError(msg)
    return 1024 * int(found[1])


def _forget() -> None:
    """Let the kernel's high-water mark begin anew at what is held now."""
    (SELF / "clear_refs").write_text("5")


if __name__ == "__main__":
    main()
