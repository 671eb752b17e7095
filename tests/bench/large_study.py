"""A study of 20,000 instances through a real site: python -m tests.bench.large_study [--count N]

One CT series of 64 x 64 slices over one association of DCMTK's storescu. Prints how long it takes
to receive and to index, to read and plan, and the largest resident memory of each process on the
way: it must not follow the count.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from db.tables import StudyRow
from tests.bench.receivers import CT, write_study
from tests.path.site import Site, site
from tests.servers import binary

LIMIT_S = 1800.0


def watch(running: Site, peaks: dict[str, float], done: threading.Event) -> None:
    """Note each process's resident memory, in MiB, ten times a second."""
    while not done.wait(0.1):
        for name in ("listen", "ingest", "dispatch", "worker"):
            for pid in running.pids_of(name):
                with suppress(OSError, IndexError):
                    status = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1]
                    peaks[name] = max(peaks[name], int(status.split()[0]) / 1024)


def study(running: Site) -> StudyRow | None:
    with running.database.reading() as session:
        return session.scalar(select(StudyRow))


def until(running: Site, what: str, count: int) -> StudyRow:
    """Wait until so many instances are indexed, or until the study is at rest."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        found = study(running)
        if found is None or found.instance_count < count:
            continue
        if what == "indexed" or found.state not in {"receiving", "ready"}:
            return found
    msg = f"not {what} after {LIMIT_S:.0f} s"
    raise AssertionError(msg)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="One large study.")
    parser.add_argument("--count", type=int, default=20_000)
    count = parser.parse_args().count
    peaks: dict[str, float] = defaultdict(float)
    done = threading.Event()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        size = CT | {"rows": 64, "columns": 64}
        write_study(folder / "ct", count, **size)  # type: ignore[arg-type]
        rules = {"quiet_s": 15, "quiet_s_by_modality": {}}
        with site(folder / "site", None, completeness=rules) as running:
            thread = threading.Thread(target=watch, args=(running, peaks, done))
            thread.start()
            started = time.monotonic()
            subprocess.run(
                [
                    binary("storescu", "/usr/bin"), "-aec", "TRIAGE", "+sd", "127.0.0.1",
                    str(running.port), str(folder / "ct"),
                ],
                check=True, env={"TCP_NODELAY": "1"},
            )  # fmt: skip
            received_s = time.monotonic() - started
            until(running, "indexed", count)
            indexed_s = time.monotonic() - started
            found = until(running, "at rest", count)
            rest_s = time.monotonic() - started
            done.set()
            thread.join()
    print(f"{count} instances: received in {received_s:.0f} s, indexed after {indexed_s:.0f} s")  # noqa: T201
    print(f"at rest after {rest_s:.0f} s: {found.state}, {found.sentence}")  # noqa: T201
    for process, mib in sorted(peaks.items()):
        print(f"{process:10} {mib:7.0f} MiB at most")  # noqa: T201
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"(this program {own:.0f} MiB)")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
