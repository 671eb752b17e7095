"""The listener beside DCMTK's storescp and Orthanc: python -m tests.bench.receive [--quick]

Same senders, DCMTK's storescu: 300 CT images of 512 KiB over one and over four associations, with
TCP_NODELAY and without, as most modalities are; 1,200 of them without a pause, which is more than
the listener has files ready for; 20 DX of 10 MB. Each repetition runs every receiver once, in
random order, on emptied storage, after as long a rest as it takes the listener to make files ready
anew; a ratio is the median over repetitions of storescp's time by this one's. The listener has file
and name on the disk before each answer, Orthanc its files, storescp nothing. Then CPU time an
instance, and memory with 32 associations at once.
"""

import argparse
import os
import random
import statistics
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.receivers import (
    CT,
    DX,
    Receiver,
    cpu_s,
    peak_memory,
    real_disk,
    receivers,
    send,
    write_study,
)

MOST_ASSOCIATIONS = 32


@dataclass(frozen=True)
class Workload:
    """What is sent, and how."""

    name: str
    paths: list[Path]
    associations: int = 1
    no_delay: bool = True
    repetitions: int = 99
    """At most."""

    @property
    def parts(self) -> list[list[Path]]:
        return [self.paths[start :: self.associations] for start in range(self.associations)]


@dataclass
class Result:
    """What one receiver took for one workload, a value for each repetition."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def measure(receiver: Receiver, workload: Workload, result: Result) -> None:
    """Run once; the receiver must have every instance."""
    receiver.empty()
    receiver.rest()
    os.sync()
    before = cpu_s(receiver.pid)
    result.seconds.append(send(receiver, workload.parts, no_delay=workload.no_delay))
    result.cpu_s.append(cpu_s(receiver.pid) - before)
    assert receiver.stored() == len(workload.paths), receiver.name


def show(workload: Workload, results: dict[str, Result]) -> None:
    """Print one table."""
    count, reference = len(workload.paths), results["storescp"].seconds
    print(f"\n{workload.name}\n{'':18}   inst/s (min - max)    x storescp   CPU ms/inst")  # noqa: T201
    for name, result in results.items():
        rates = sorted(count / one for one in result.seconds)
        ratio = statistics.median(
            ours / mine for ours, mine in zip(reference, result.seconds, strict=True)
        )
        cpu_ms = statistics.median(result.cpu_s) / count * 1000
        spread = f"({rates[0]:.0f} - {rates[-1]:.0f})"
        print(  # noqa: T201
            f"{name:18} {statistics.median(rates):8.0f} {spread:14} {ratio:10.2f} {cpu_ms:12.2f}"
        )


def memory(receiver: Receiver, paths: list[Path]) -> None:
    """Print the peak with as many associations as are let in."""
    receiver.empty()
    parts = [paths[start::MOST_ASSOCIATIONS] for start in range(MOST_ASSOCIATIONS)]
    with peak_memory(receiver.pid) as found:
        send(receiver, [part for part in parts if part])
    print(f"{receiver.name:18} {found[0]:8.0f} before {found[-1]:8.0f} at most")  # noqa: T201


def main() -> None:
    options = argparse.ArgumentParser(description="Compare receivers.")
    options.add_argument("--quick", action="store_true", help="60 CT, 4 DX, one repetition")
    options.add_argument("--repetitions", type=int, default=0)
    options.add_argument("--scratch", type=Path, help="a folder on a disk")
    asked = options.parse_args()
    images, films, repetitions = (60, 4, 1) if asked.quick else (300, 20, 5)
    scratch, kind = real_disk(asked.scratch)
    with tempfile.TemporaryDirectory(dir=scratch) as name, receivers(Path(name)) as all_of_them:
        folder = Path(name)
        long = write_study(folder / "ct", 4 * images, **CT)  # type: ignore[arg-type]
        ct = long[:images]
        dx = write_study(folder / "dx", films, **DX)  # type: ignore[arg-type]
        workloads = [
            Workload(f"{images} CT, 1 association", ct),
            Workload(f"{images} CT, 4 associations", ct, 4),
            Workload(f"{images} CT, 1 association, sender without TCP_NODELAY", ct, 1, False),
            Workload(f"{4 * images} CT, 1 association", long, repetitions=3),
            Workload(f"{films} DX, 1 association", dx),
        ]
        print(f"in {scratch} ({kind}), {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # noqa: T201
        for receiver in all_of_them:
            measure(receiver, workloads[0], Result())
        for workload in workloads:
            results: dict[str, Result] = defaultdict(Result)
            for one in all_of_them:  # in the order of the table
                _ = results[one.name]
            for _ in range(min(asked.repetitions or repetitions, workload.repetitions)):
                for receiver in random.sample(all_of_them, len(all_of_them)):
                    measure(receiver, workload, results[receiver.name])
            show(workload, results)
        print(f"\nMiB resident, {MOST_ASSOCIATIONS} associations")  # noqa: T201
        for receiver in all_of_them:
            memory(receiver, ct)
        print(f"load {os.getloadavg()[0]:.1f}")  # noqa: T201


if __name__ == "__main__":
    main()
