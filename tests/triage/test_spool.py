"""The spool keeps every byte it promised, and its promises are kept by order."""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from tests.timing import cpu_s
from triage import durable
from triage import spool as spool_module
from triage.spool import Spool, digest, stored_path


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def modes(root: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in root.rglob("*")}


def part10(path: Path, sender: str, syntax: str, data: bytes) -> Path:
    """Write a file whose meta pydicom built, and whose data set is ``data``."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    meta.TransferSyntaxUID = UID(syntax)
    meta.SendingApplicationEntityTitle = sender
    empty = Dataset()
    empty.file_meta = meta
    dcmwrite(path, empty, enforce_file_format=True)
    path.write_bytes(path.read_bytes() + data)
    return path


class TestWriting:
    def test_a_written_file_waits_whole_and_nothing_else_is_left(self, spool: Spool) -> None:
        path = spool.write(b"header", bytearray(b"data"), memoryview(b"more"))
        assert path.read_bytes() == b"headerdatamore"
        assert spool.incoming(10) == [path]
        assert list(spool.tmp.iterdir()) == []
        assert path.parent.name == path.stem[-2:]

    def test_folders_and_files_are_for_their_owner_alone(self, spool: Spool) -> None:
        previous = os.umask(0)
        try:
            loose = Spool(spool.root.with_name("loose"))
            loose.store(loose.write(b"x"))
        finally:
            os.umask(previous)
        assert modes(loose.root) == {(True, 0o700), (False, 0o600)}

    def test_a_full_disk_leaves_nothing_behind(self, tmp_path: Path) -> None:
        # A real limit in a real process: the kernel answers EFBIG in the middle of the write.
        script = (
            "import resource, sys; from pathlib import Path; from triage.spool import Spool\n"
            "spool = Spool(Path(sys.argv[1]))\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
            "try: spool.write(b'h' * 100, b'd' * 100_000)\n"
            "except OSError as why: print(why.errno)\n"
        )
        root = tmp_path / "spool"
        done = subprocess.run(
            [sys.executable, "-c", script, root], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "27"
        assert [path for path in root.rglob("*") if path.is_file()] == []

    def test_a_folder_that_vanished_is_an_error_and_leaves_no_draft(self, spool: Spool) -> None:
        shutil.rmtree(spool.root / "in")
        with pytest.raises(FileNotFoundError):
            spool.write(b"x")
        assert list(spool.tmp.iterdir()) == []

    @pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
    @pytest.mark.parametrize(
        ("is_ordered", "expected"),
        [
            (False, "write tmp, write tmp, fsync tmp, rename tmp, fsync in"),
            (True, "write tmp, write tmp, sync_file_range tmp, rename tmp, fsync in/, fsync in"),
        ],
    )
    def test_data_and_name_are_safe_before_the_return_and_the_data_no_later_than_the_name(
        self, tmp_path: Path, is_ordered: bool, expected: str
    ) -> None:
        script = (
            "import os, sys; from pathlib import Path; from triage.spool import Spool\n"
            f"spool = Spool(Path(sys.argv[1])); spool.is_ordered = {is_ordered}\n"
            "os.write(2, b'BEFORE'); spool.write(b'head', b'data'); os.write(2, b'AFTER')\n"
        )
        trace = tmp_path / "trace"
        calls = "trace=openat,write,fsync,sync_file_range,rename,renameat,renameat2"
        command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace)]
        command += [sys.executable, "-c", script, str(tmp_path / "spool")]
        subprocess.run(command, check=True, capture_output=True)
        text = trace.read_text(errors="replace")
        between = text[text.index('"BEFORE"') : text.index('"AFTER"')]
        calls = r"(write|fsync|sync_file_range|rename)\w*\((?:\d+<([^>]*)>|\"([^\"]*)\")"
        steps = []
        for call, descriptor, name in re.findall(calls, between):
            path = Path(descriptor or name)
            if "spool" in path.parts:
                place = path.parts[path.parts.index("spool") + 1]
                is_named = place == "in" and path.suffix == ".dcm"
                steps.append(f"{call} {place}{'/' if is_named else ''}")
        assert ", ".join(steps) == expected

    def test_the_order_is_trusted_to_journals_that_keep_it_alone(self, tmp_path: Path) -> None:
        df = ["df", "--output=fstype", str(tmp_path)]
        told = subprocess.run(df, capture_output=True, text=True, check=True).stdout
        kind, device = told.split()[-1], tmp_path.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        journals = Path("/proc/fs/jbd2").glob(f"{name}-*")
        expected = kind == "xfs" or (kind == "ext4" and any(journals))
        assert Spool(tmp_path / "spool").is_ordered == expected


class TestWaiting:
    def test_the_oldest_come_first_and_no_more_than_asked_for(self, spool: Spool) -> None:
        paths = []
        for number in range(5):
            paths.append(spool.write(bytes([number])))
            time.sleep(0.003)
        assert spool.incoming(3) == paths[:3]
        assert spool.incoming(99) == paths

    def test_a_file_that_comes_after_an_empty_look_is_seen(
        self, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool_module, "SETTLED_NS", 0)
        time.sleep(0.02)  # two ticks of the file system's clock
        assert spool.incoming(9) == []
        path = spool.write(b"x")
        assert spool.incoming(9) == [path]
        spool.release(path)
        assert spool.incoming(9) == []

    def test_looking_at_an_empty_spool_is_cheap(self, spool: Spool) -> None:
        assert spool.incoming(100) == []
        assert cpu_s(lambda: spool.incoming(100), times=20) < 0.02


class TestKeeping:
    def test_a_stored_file_stays_until_it_is_released(self, spool: Spool) -> None:
        path = spool.write(b"content")
        sha256, kept = spool.store(path)
        assert kept == stored_path(spool.root, sha256)
        assert path.exists()
        spool.release(path)
        spool.release(path)
        assert not path.exists()
        assert kept.read_bytes() == b"content"

    def test_storing_twice_or_two_copies_changes_nothing(self, spool: Spool) -> None:
        first, second = spool.write(b"same"), spool.write(b"same")
        assert spool.store(first) == spool.store(first) == spool.store(second)
        assert len(list((spool.root / "store").rglob("*.dcm"))) == 1

    def test_the_same_instance_from_two_senders_is_one_content(self, tmp_path: Path) -> None:
        data = b"\x08\x00\x18\x00UI\x06\x001.2.3\x00"
        one = part10(tmp_path / "1", "ROUTER", "1.2.840.10008.1.2.1", data)
        two = part10(tmp_path / "2", "MODALITY_WITH_LONGER_META"[:16], "1.2.840.10008.1.2.1", data)
        assert one.read_bytes() != two.read_bytes()
        assert digest(one) == digest(two)

    def test_another_data_set_or_transfer_syntax_is_another_content(self, tmp_path: Path) -> None:
        files = [
            part10(tmp_path / "1", "A", "1.2.840.10008.1.2.1", b"1234"),
            part10(tmp_path / "2", "A", "1.2.840.10008.1.2.1", b"1235"),
            part10(tmp_path / "3", "A", "1.2.840.10008.1.2.4.50", b"1234"),
        ]
        assert len({digest(path) for path in files}) == 3

    @pytest.mark.parametrize("content", [b"", b"short", b"\0" * 128 + b"DICM", bytes(range(256))])
    def test_bytes_that_are_no_part_10_file_are_hashed_whole(
        self, tmp_path: Path, content: bytes
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(content)
        assert digest(path) == hashlib.sha256(b"\n" + content).hexdigest()

    @pytest.mark.parametrize("how", ["a flipped bit", "cut", "gone", "no file"])
    def test_what_rots_is_mended_by_another_copy(self, spool: Spool, how: str) -> None:
        first, second = spool.write(b"content"), spool.write(b"content")
        sha256, kept = spool.store(first)
        spool.release(first)
        assert not spool.mend(second, sha256)
        assert not kept.samefile(second)
        if how == "gone":
            kept.unlink()
        elif how == "no file":
            kept.unlink()
            kept.symlink_to(kept.parent / "nowhere")
        else:
            kept.write_bytes(b"c0ntent" if how == "a flipped bit" else b"cont")
        assert spool.mend(second, sha256)
        assert kept.read_bytes() == b"content"
        assert not spool.mend(second, sha256)
        assert list(spool.tmp.iterdir()) == []

    def test_quarantine_keeps_the_bytes(self, spool: Spool) -> None:
        path = spool.write(b"strange")
        sha256, _ = spool.store(path)
        kept = spool.quarantine(path, sha256)
        spool.release(path)
        assert kept.read_bytes() == b"strange"

    def test_free_space_is_what_the_system_says(self, spool: Spool) -> None:
        usage = shutil.disk_usage(spool.root)
        free_bytes, free_inodes = spool.room()
        assert abs(free_bytes - usage.free) < 512 * 2**20
        assert free_inodes > 0


class TestSweeping:
    def test_a_killed_writers_draft_goes_and_a_living_ones_stays(self, spool: Spool) -> None:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            ticks = durable.start_ticks(child.pid)
            mine = spool.tmp / f"{os.getpid()}-{durable.start_ticks(os.getpid())}-a.dcm"
            theirs = spool.tmp / f"{child.pid}-{ticks}-b.dcm"
            reused = spool.tmp / f"{child.pid}-{int(ticks) - 7}-c.dcm"
            for path in (mine, theirs, reused):
                path.write_bytes(b"x")
            assert spool.sweep() == 1
            assert sorted(spool.tmp.iterdir()) == sorted([mine, theirs])
        finally:
            child.communicate(b"\n")
        assert spool.sweep() == 1
        assert list(spool.tmp.iterdir()) == [mine]

    def test_an_old_draft_is_nobodys(self, spool: Spool) -> None:
        path = spool.tmp / f"{os.getpid()}-{durable.start_ticks(os.getpid())}-a.dcm"
        path.write_bytes(b"x")
        os.utime(path, (time.time() - 7200, time.time() - 7200))
        assert spool.sweep() == 1
