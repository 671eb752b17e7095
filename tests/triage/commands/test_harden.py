"""A service keeps its files private, leaves no core, and lets no neighbour into its memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from triage.commands.harden import PR_SET_DUMPABLE

HARDENED = """
import ctypes, os, resource, subprocess, sys
from pathlib import Path
from triage.commands.harden import harden
harden()
path = Path(sys.argv[1], "made")
path.write_text("x")
print(oct(path.stat().st_mode & 0o777), resource.getrlimit(resource.RLIMIT_CORE),
      ctypes.CDLL(None).prctl(3), flush=True)
subprocess.run([sys.executable, "-c",
    "import os, resource; print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE))"])
os.abort()
"""


def test_files_cores_and_memory_are_kept_private_also_in_children(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HARDENED, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[3],
        umask=0,
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["0o600 (0, 0) 0", "0o77 (0, 0)"]
    assert ended.returncode < 0  # it crashed
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_process_of_the_same_user_cannot_read_its_environment(tmp_path: Path) -> None:
    """Root may; so this asks as a user without rights, about a process of that very user."""
    program = (
        "import ctypes, os, sys, time; os.setgid(65534); os.setuid(65534);"
        f"ctypes.CDLL(None).prctl({PR_SET_DUMPABLE}, int(sys.argv[1]), 0, 0, 0);"
        "print('ready', flush=True); time.sleep(60)"
    )
    seen = {}
    for dumpable in ("0", "1"):
        with subprocess.Popen(
            [sys.executable, "-c", program, dumpable], stdout=subprocess.PIPE, text=True, cwd="/"
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                reader = subprocess.run(
                    ["/bin/cat", f"/proc/{process.pid}/environ"],
                    user=65534, group=65534, extra_groups=[], capture_output=True, check=False,
                    cwd="/",
                )  # fmt: skip
                seen[dumpable] = reader.returncode
            finally:
                process.kill()
    assert seen["0"] != 0
    assert seen["1"] == 0
