"""With files made ready the promises are the same: safe before the answer, and nothing lost."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest

from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Running, running_listener, soon, steps_of, stray_files
from triage.durable import Disk, disk_of, start_ticks, sync_folder
from triage.ready import QUIET_S
from triage.sealed import FILE_BYTES, HOLDS_BYTES, OLDEST_S
from triage.spool import Spool

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]
STRACE = ("strace", "-f", "-qq")
SHUT_DOWN = 0x8004587D
"""FS_IOC_SHUTDOWN: the file system stops as in a power cut."""
WITHOUT_A_COMMIT = 2

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def send(ours: Running, count: int, rows: int = 64) -> dict[str, bytes]:
    sent = {}
    with raw.peer(ours.port) as peer:
        peer.associate(CONTEXTS)
        for _ in range(count):
            uid, data = build.fresh_ct(rows, 512)
            assert peer.store(data, uid.encode(), fragment=100_000) == 0
            sent[uid] = data
        assert peer.release()
    return sent


def made_ready(ours: Running, count: int) -> dict[str, bytes]:
    """Send so many, and wait until as many files were made."""
    sent = send(ours, count)
    assert soon(lambda: len(blanks(ours)) >= count), "none was made ready"
    return sent


def blanks(ours: Running) -> list[Path]:
    """Give those with a time that no clock gives; which one, the listener alone knows."""
    return [path for path in (ours.spool / "ready").iterdir() if path.stat().st_mtime < OLDEST_S]


def is_all_blank(ours: Running) -> bool:
    return len(blanks(ours)) == len(list((ours.spool / "ready").iterdir()))


def arrived(spool: Path) -> dict[str, bytes]:
    """Give the data sets that wait, by SOP Instance UID, as the ingestor would read them."""
    return data_sets(Spool(spool).incoming(1000))


def skip_elsewhere(ours: Running) -> None:
    if not disk_of(ours.spool).overwrites:
        pytest.skip("files are made ready on ext4 and XFS only")


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Running]:
    with running_listener(tmp_path, processes=2, prior_ae_title="PRIORS") as running:
        skip_elsewhere(running)
        yield running


def in_prepared(ours: Running) -> int:
    """Count what waits in files that were made ready."""
    return sum("-" in path.name for path in ours.waiting())


def test_what_comes_is_the_same_byte_for_byte(ours: Running) -> None:
    sent = made_ready(ours, 8)
    sent |= send(ours, 6, 512) | send(ours, 1, 700)  # 512 KiB each, and one that does not fit
    assert in_prepared(ours) == 6
    assert all(path.stat().st_size == FILE_BYTES for path in ours.waiting() if "-" in path.name)
    assert arrived(ours.spool) == sent
    assert stray_files(ours.spool) == []


def test_what_is_refused_uses_none_up(ours: Running) -> None:
    made_ready(ours, 4)
    with raw.peer(ours.port) as peer:
        peer.associate(CONTEXTS)
        for _ in range(9):
            assert peer.store(build.ct_bytes()[:-1], build.SOP.encode()) == 0xC000
        assert peer.store(*reversed(fresh())) == 0
    assert in_prepared(ours) == 1


def fresh() -> tuple[bytes, bytes]:
    uid, data = build.fresh_ct()
    return uid.encode(), data


def test_a_prior_waits_apart_and_uses_none_up(ours: Running) -> None:
    made_ready(ours, 2)
    with raw.peer(ours.port) as peer:
        peer.associate(CONTEXTS, called=b"PRIORS")
        assert peer.store(*reversed(fresh())) == 0
        assert peer.release()
    assert in_prepared(ours) == 0
    assert len(list((ours.spool / "prior_in").iterdir())) == 1


def test_when_they_are_used_up_it_goes_on_without(ours: Running) -> None:
    sent = made_ready(ours, 3) | send(ours, 9)
    assert in_prepared(ours) <= 3
    assert arrived(ours.spool) == sent


def test_where_the_folder_cannot_be_made_it_goes_on_without(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "state" / "spool")
    (spool.root / "ready").write_text("not a folder")
    with running_listener(tmp_path, processes=2) as ours:
        sent = send(ours, 3)
        time.sleep(QUIET_S + 2)  # in which others would have been made
        sent |= send(ours, 3)
        assert arrived(ours.spool) == sent
        assert in_prepared(ours) == 0
        told = [event["event"] for event in ours.events()]
    if disk_of(spool.root).overwrites:
        assert told.count("ready.off") == 1
    assert "ready.failed" not in told


def test_a_folder_that_is_removed_while_it_runs_costs_no_instance(ours: Running) -> None:
    sent = made_ready(ours, 3)
    shutil.rmtree(ours.spool / "ready")
    sent |= send(ours, 4)
    assert arrived(ours.spool) == sent


def test_a_killed_process_leaves_nothing_claimed(tmp_path: Path) -> None:
    with running_listener(tmp_path, processes=1) as ours:
        skip_elsewhere(ours)
        sent = made_ready(ours, 4) | send(ours, 2)
        os.kill(ours.pid, 9)
        ours.process.wait()
    with running_listener(tmp_path, processes=1) as again:
        assert is_all_blank(again)
        assert arrived(again.spool) == sent


@needs_strace
@pytest.mark.parametrize(
    "fault",
    [
        "pwritev2:error=EIO:when=1", "pwritev2:retval=4096:when=1",
        "fdatasync:error=EIO:when=1", "link:error=EMLINK:when=1",
    ],
)  # fmt: skip
def test_an_error_of_the_disk_is_answered_and_the_next_one_is_stored(
    tmp_path: Path, fault: str
) -> None:
    with running_listener(tmp_path, processes=1) as before:
        skip_elsewhere(before)
        if fault.startswith("fdatasync") and not disk_of(before.spool).flushes:
            pytest.skip("where there is a journal the write is synced with the same call")
        made_ready(before, 4)
    call = fault.partition(":")[0]
    wrap = (*STRACE, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={fault}")
    with running_listener(tmp_path, wrap=wrap, processes=1) as ours:
        with raw.peer(ours.port) as peer:
            peer.associate(CONTEXTS)
            statuses = [peer.store(*reversed(fresh())) for _ in range(3)]
        assert statuses == [0xA700, 0, 0]
        assert in_prepared(ours) == 2
        assert stray_files(ours.spool) == []


@needs_strace
@pytest.mark.parametrize(
    "where", [f"{call}:signal=KILL:when={n}" for n in (1, 2, 3)
              for call in ("pwritev2", "link", "sendto")],
)  # fmt: skip
def test_killed_at_any_step_it_has_what_was_acknowledged(tmp_path: Path, where: str) -> None:
    with running_listener(tmp_path, processes=1) as before:
        skip_elsewhere(before)
        sent = made_ready(before, 4)
    call = where.partition(":")[0]
    wrap = (*STRACE, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={where}")
    with running_listener(tmp_path, wrap=wrap, processes=1) as ours:
        with suppress(OSError, AssertionError), raw.peer(ours.port) as peer:
            peer.associate(CONTEXTS)
            while True:
                uid, data = build.fresh_ct()
                assert peer.store(data, uid.encode()) == 0
                sent[uid] = data
        assert soon(lambda: ours.process.poll() is not None), "it was not killed"
    with running_listener(tmp_path, processes=1) as again:
        found = arrived(again.spool)
        assert sent.items() <= found.items()
        assert len(found) <= len(sent) + 1  # what was under way may be there, whole
        assert is_all_blank(again)


@needs_strace
def test_the_answer_is_sent_after_the_data_are_safe_in_a_file_whose_name_is(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    calls = "trace=pwritev2,fsync,fdatasync,link,unlink,utimensat,sendto"
    wrap = (*STRACE, "-y", "-s", "0", "-o", str(trace), "-e", calls)
    with running_listener(tmp_path, wrap=wrap, processes=1) as ours:
        skip_elsewhere(ours)
        made_ready(ours, 3)
        send(ours, 3)
        disk = disk_of(ours.spool)
    steps = steps_of(trace, STEPS)
    making = ["write", "sync name", *["free"] * 3]
    assert [one for one in steps if one in making][:7] == ["write"] * 3 + making[1:]
    arriving = ["data", "empty cache", "second name", "send"]
    if not disk.flushes:
        arriving = ["data and sync", "second name", "send"]
    first = steps.index(arriving[0])
    assert steps.index("free") < first
    assert steps[first:][: 3 * len(arriving)] == arriving * 3
    after = steps[first + 3 * len(arriving) :]
    synced = len([one for one in after if one == "sync second name"])
    assert 1 <= synced <= 3  # two may be in one folder
    tidied = [one for one in after if one in {"sync second name", "first name goes"}]
    assert tidied == ["sync second name"] * synced + ["first name goes"] * 3


STEPS = {
    "write": rf"pwritev2\(\d+<[^>]*/spool/ready/.*RWF_DSYNC\) = {FILE_BYTES}$",
    "sync name": r" fsync\(\d+<[^>]*/spool/ready>",
    "free": r"utimensat\(\d+<[^>]*/ready/\w+\.dcm>, NULL, \[",
    "data": r"pwritev2\(\d+<[^>]*/spool/ready/[^>]*\.dcm>.* 0\) = \d+$",
    "data and sync": r"pwritev2\(\d+<[^>]*/spool/ready/[^>]*\.dcm>.*RWF_DSYNC\) = \d+$",
    "empty cache": r"fdatasync\(\d+<[^>]*/spool/ready>\) = 0",
    "second name": r'link\("[^"]*/ready/\w+\.dcm", "[^"]*/in/../\w+-\d+\.dcm"',
    "sync second name": r" fsync\(\d+<[^>]*/spool/in/..>",
    "first name goes": r'unlink\("[^"]*/ready/\w+\.dcm"',
    "send": r"sendto\(",
}


class TestPowerCut:
    """On an ext4 file system of its own, with a journal and without."""

    @pytest.fixture(params=["journalled", "bare"])
    def folder(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
        image, state = tmp_path / "disk", tmp_path / "state"
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is not installed")
        with image.open("wb") as file:
            file.truncate(256 * 2**20)
        journal = [] if request.param == "journalled" else ["-O", "^has_journal"]
        subprocess.run(["mkfs.ext4", "-q", "-F", *journal, str(image)], check=True)
        state.mkdir()
        if not mount(tmp_path):
            pytest.skip("only root may mount, where there are loop devices")
        assert disk_of(state) == Disk(not journal, overwrites=True, flushes=bool(journal))
        try:
            yield tmp_path
        finally:
            subprocess.run(["umount", "-l", str(state)], check=True)

    @pytest.mark.parametrize("count", [0, 20], ids=["as drafts", "in files made ready"])
    def test_what_was_acknowledged_is_there_afterwards(self, folder: Path, count: int) -> None:
        with running_listener(folder, processes=2) as ours:
            sent = made_ready(ours, count) if count else {}
            sent |= send(ours, 20)
            assert in_prepared(ours) >= count
            cut_power(folder, ours)
        with running_listener(folder, processes=2) as again:
            starts = [one for one in again.events() if one["event"] == "listener.ready"]
            assert arrived(again.spool) == sent
            assert starts[-1]["recovered"] <= count  # the others' names were synced with others
            assert send(again, 1)

    def test_in_whatever_order_names_reach_the_disk(self, folder: Path) -> None:
        """What goes from a folder may be safe long before what comes to another."""
        with running_listener(folder, processes=2) as ours:
            sent = made_ready(ours, 20) | send(ours, 20)
            assert in_prepared(ours) == 20
            sync_folder(ours.spool / "ready")
            cut_power(folder, ours)
        with running_listener(folder, processes=2) as again:
            assert arrived(again.spool) == sent

    @pytest.mark.parametrize("step", ["cut", "stored", "released"])
    def test_while_the_ingestor_takes_them(self, folder: Path, step: str) -> None:
        with running_listener(folder, processes=2) as ours:
            sent = made_ready(ours, 20) | send(ours, 20)
            spool = Spool(ours.spool)
            for path in spool.incoming(1000):
                if step != "cut":
                    spool.cut(path)
                    spool.store(path)
                if step == "released":
                    spool.release(path)
            sync_folder(ours.spool / "ready")
            cut_power(folder, ours)
        with running_listener(folder, processes=2) as again:
            stored = data_sets((again.spool / "store").rglob("*.dcm"))
            assert stored | arrived(again.spool) == sent
            if step == "released":
                assert stored == sent

    def test_what_the_ingestor_cuts_has_a_safe_name_before_its_seal_goes(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The blocks behind a cut are anybody's at once, and the size may be as before."""
        with running_listener(folder, processes=2) as ours:
            sent = made_ready(ours, 5) | send(ours, 5)
            spool, cut = Spool(ours.spool), os.truncate
            paths = [path for path in ours.waiting() if "-" in path.name]

            def spoilt(path: Path, length: int) -> None:
                """Cut, as far as anybody sees; on the disk the tail is somebody else's."""
                with path.open("r+b") as file:
                    file.seek(length)
                    file.write(b"somebody else's")
                    os.fsync(file.fileno())
                if not disk_of(folder / "state").flushes:
                    cut(path, length)

            monkeypatch.setattr(os, "truncate", spoilt)
            for path in paths:
                spool.cut(path)
            cut_power(folder, ours)
        with running_listener(folder, processes=2) as again:
            there = {str(path.relative_to(again.spool)) for path in again.waiting()}
            if disk_of(folder / "state").flushes:
                assert {str(path.relative_to(ours.spool)) for path in paths} <= there
            monkeypatch.setattr(os, "truncate", cut)
            assert arrived(again.spool) == sent

    def test_a_killed_listener_takes_nothing_twice(self, folder: Path) -> None:
        with running_listener(folder, processes=2) as ours:
            sent = made_ready(ours, 20) | send(ours, 20)
            spool, paths = Spool(ours.spool), Spool(ours.spool).incoming(1000)
            for path in paths[:30]:
                spool.store(path)
            for path in paths[:25]:
                spool.release(path)
            kill_all(ours)
        with running_listener(folder, processes=2) as again:
            assert len(again.waiting()) == len(sent) - 25
            assert is_all_blank(again)
            starts = [one for one in again.events() if one["event"] == "listener.ready"]
            assert starts[-1]["recovered"] == 0


def data_sets(paths: Iterable[Path]) -> dict[str, bytes]:
    """Give the data sets in files, by SOP Instance UID."""
    found = {}
    for path in paths:
        meta = pydicom.filereader.read_file_meta_info(path)
        start = 132 + 12 + int(meta.FileMetaInformationGroupLength)
        found[str(meta.MediaStorageSOPInstanceUID)] = path.read_bytes()[start:]
    return found


def mount(folder: Path) -> bool:
    """Mount; a journal, if there is one, commits by itself only after minutes."""
    for options in ("loop,commit=300", "loop"):
        command = ["mount", "-o", options, str(folder / "disk"), str(folder / "state")]
        if not subprocess.run(command, capture_output=True, check=False).returncode:
            return True
    return False


def cut_power(folder: Path, ours: Running) -> None:
    """Let the file system be as a power cut leaves it, and kill the listener.

    With a journal it stops without a commit. Without, it is mounted again as what had been written
    to its disk, checked as at each start after a power cut.
    """
    disk, state = folder / "disk", folder / "state"
    is_bare = disk_of(state).flushes
    if is_bare:
        shutil.copyfile(disk, folder / "then")
    else:
        stop_without_a_commit(state)
    kill_all(ours)
    subprocess.run(["umount", "-l", str(state)], check=True)
    if is_bare:
        (folder / "then").replace(disk)
        check = ["e2fsck", "-f", "-y", str(disk)]
        assert subprocess.run(check, capture_output=True, check=False).returncode < 4
    assert mount(folder)


def kill_all(ours: Running) -> None:
    """Kill a listener and its processes, and wait until there are none."""
    task = Path(f"/proc/{ours.pid}/task/{ours.pid}/children")
    family = [ours.pid, *map(int, task.read_text().split())]
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    ours.process.wait()
    assert soon(lambda: not any(start_ticks(pid) for pid in family))


def stop_without_a_commit(mounted: Path) -> None:
    descriptor = os.open(mounted, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUT_DOWN, WITHOUT_A_COMMIT.to_bytes(4, "little"))
    finally:
        os.close(descriptor)


def test_a_header_and_its_data_set_fit_as_far_as_said(ours: Running) -> None:
    made_ready(ours, 2)
    most = send(ours, 1, (HOLDS_BYTES - 4096) // 1024)
    assert in_prepared(ours) == 1
    assert most.items() <= arrived(ours.spool).items()
