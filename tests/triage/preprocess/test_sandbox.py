"""What a process in the sandbox can no longer do, tried in a real process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENTER = "from triage.preprocess import sandbox; sandbox.enter(max_memory_bytes=2**29);"


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, socket, subprocess, sys, time; {ENTER} {code}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.socketpair()",
        "open(sys.argv[1], 'w')",
        "open(sys.argv[1], 'r+')",
        "open(sys.argv[1], 'a')",
        "os.remove(sys.argv[1])",
        "os.rename(sys.argv[1], sys.argv[1] + 'x')",
        "os.truncate(sys.argv[1], 0)",
        "os.chmod(sys.argv[1], 0o777)",
        "os.mkdir(sys.argv[1] + 'd')",
        "os.symlink(sys.argv[1], sys.argv[1] + 'l')",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
    ],
)
def test_it_is_refused(attempt: str, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("kept")
    ended = run(attempt, str(target))
    assert ended.stderr.strip().splitlines()[-1].startswith("PermissionError"), ended.stderr
    assert target.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [target]


def test_it_still_reads_files_and_computes(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("content")
    assert run("print(open(sys.argv[1]).read(), 6 * 7)", str(target)).stdout == "content 42\n"


def test_it_cannot_grow_beyond_its_memory() -> None:
    assert "MemoryError" in run("bytearray(2**30)").stderr


def test_it_is_ended_when_its_processor_time_is_used_up() -> None:
    code = "sandbox.allow_seconds(0.2)\nwhile True: pass"
    assert run(code).returncode == -signal.SIGXCPU


def test_it_leaves_no_core_and_is_not_dumpable() -> None:
    core = run("import resource; print(resource.getrlimit(resource.RLIMIT_CORE))")
    assert core.stdout == "(0, 0)\n"
    dumpable = run("import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))")
    assert dumpable.stdout == "0\n"
