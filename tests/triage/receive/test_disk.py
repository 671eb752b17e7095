"""A disk that fills, breaks or is slow is told to the peer, and mended it is used again.

On a file system of a few megabytes, which only root may mount; strace slows another one down.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Running, running_listener, soon, stray_files
from triage.spool import Spool

STORE_ONLY = [(raw.CT, [raw.EXPLICIT])]
BOTH = [*STORE_ONLY, (raw.VERIFICATION, [raw.IMPLICIT])]
SIZE = 64 * 2**20
WATERMARK = 8 * 2**20
CONGESTION = (2, 3, 1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a listener whose spool is a small file system of its own."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "state").mkdir()
    options = f"size={SIZE},nr_inodes=3000,mode=700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder / "state")]
    if shutil.which("mount") is None:
        pytest.skip("mount is not installed")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        with running_listener(folder, min_free_bytes=WATERMARK, processes=2) as ours:
            yield ours
    finally:
        subprocess.run(["umount", "-l", str(folder / "state")], check=True)


@contextmanager
def filled(ours: Running, left: int) -> Iterator[None]:
    """Leave so many bytes free."""
    facts = os.statvfs(ours.spool)
    ballast = ours.spool.parent / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_frsize - left)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def without_inodes(ours: Running) -> Iterator[None]:
    """Use up the files that can be made, but for a hundred."""
    folder = ours.spool.parent / "files"
    folder.mkdir()
    for number in range(os.statvfs(ours.spool).f_favail - 100):
        (folder / str(number)).touch()
    try:
        yield
    finally:
        shutil.rmtree(folder)


@contextmanager
def read_only(ours: Running) -> Iterator[None]:
    """Remount the spool's file system, as the kernel does after an error."""
    for option in ("ro", "rw"):
        remount = ["mount", "-o", f"remount,{option}", str(ours.spool.parent)]
        subprocess.run(remount, check=True)
        if option == "ro":
            yield


def store(ours: Running, rows: int = 64) -> int:
    """Send one instance on an association that can echo as well; gives the status."""
    uid, data = build.fresh_ct(rows, 512)
    with raw.peer(ours.port) as peer:
        peer.associate(BOTH)
        status = peer.store(data, uid.encode(), fragment=100_000)
        assert peer.echo(3) == 0  # whatever the status, the association lives
        assert peer.release()
        return status


@pytest.mark.parametrize(
    "trouble", [lambda ours: filled(ours, WATERMARK - 65536), without_inodes],
    ids=["bytes", "inodes"],
)  # fmt: skip
def test_below_a_watermark_nothing_is_stored_echo_is_answered_and_it_heals_by_itself(
    small: Running, trouble: Callable[[Running], Iterator[None]]
) -> None:
    assert store(small) == 0
    before = len(small.waiting())
    with trouble(small):  # type: ignore[attr-defined]
        assert store(small) == 0xA700
        assert raw.rejection(small.port, STORE_ONLY) == CONGESTION
        assert raw.rejection(small.port, BOTH) is None
        assert raw.echo_ms(small.port) < 5000
    assert raw.rejection(small.port, STORE_ONLY) is None
    assert store(small) == 0
    assert len(small.waiting()) == before + 1
    assert stray_files(small.spool) == []


def test_a_disk_that_fills_in_the_middle_of_an_instance_is_out_of_resources(
    small: Running,
) -> None:
    before = len(small.waiting())
    with filled(small, WATERMARK + 2**20):
        assert store(small, 16_384) == 0xA700  # 16 MiB
    assert stray_files(small.spool) == []
    assert store(small) == 0
    assert len(small.waiting()) == before + 1


def test_a_spool_that_turns_read_only_is_out_of_resources_at_once(small: Running) -> None:
    assert store(small) == 0
    with read_only(small):
        assert store(small) == 0xA700
        assert raw.echo_ms(small.port) < 5000
    assert store(small) == 0
    assert stray_files(small.spool) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_slow_disk_slows_its_own_association_and_no_echo(tmp_path: Path) -> None:
    Spool(tmp_path / "state" / "spool")  # or the syncs of its folders would be slow as well
    slow = ("-e", "trace=fsync", "-e", "inject=fsync:delay_enter=2000000")
    wrap = ("strace", "-f", "--seccomp-bpf", "-o", "/dev/null")
    with running_listener(tmp_path, wrap=(*wrap, *slow)) as ours, raw.peer(ours.port) as peer:
        peer.associate(STORE_ONLY)
        uid, data = build.fresh_ct()
        statuses: list[int] = []
        sender = threading.Thread(target=lambda: statuses.append(peer.store(data, uid.encode())))
        started = time.monotonic()
        sender.start()
        assert raw.echo_ms(ours.port) < 60_000
        assert statuses == []  # the echo did not wait for the disk
        sender.join()
        assert statuses == [0]
        assert time.monotonic() - started > 3.9
        assert soon(lambda: len(ours.waiting()) == 1)
