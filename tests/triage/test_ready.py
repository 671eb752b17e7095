"""A file made ready holds a content whole or says that it does not, and is one process's."""

import errno
import mmap
import os
import shutil
from pathlib import Path

import pytest

from triage import ready as ready_module
from triage import sealed as sealed_module
from triage.durable import Disk
from triage.ready import Blank, Ready
from triage.sealed import (
    AROUND_THE_CACHE,
    BLANK_S,
    BLOCK_BYTES,
    FILE_BYTES,
    HOLDS_BYTES,
    MAGIC,
    PREFIX,
    SEAL,
    SECTOR_BYTES,
    Content,
    whole_bytes,
)

JOURNALLED, BARE = Disk(keeps_order=True, overwrites=True), Disk(overwrites=True, flushes=True)
LENGTHS = [1, 511, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 300_001, HOLDS_BYTES]


def there_is_room() -> bool:
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ready"
    folder.mkdir()
    try:
        os.close(os.open(folder / "probe", os.O_RDWR | os.O_CREAT | AROUND_THE_CACHE))
    except OSError:
        pytest.skip("this file system cannot be written around the page cache")
    (folder / "probe").unlink()
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_module, "QUIET_S", 0.0)


def made(folder: Path, count: int, disk: Disk = JOURNALLED) -> Ready:
    ready = Ready(folder, disk)
    for _ in range(count):
        ready.used()
    ready._last = -1000.0
    assert ready.renew(100, there_is_room) == count
    return ready


def taken(ready: Ready) -> Blank:
    blank = ready.take()
    assert blank is not None
    return blank


def content(length: int, data: bytes | None = None) -> Content:
    """Give a content in a buffer that held something before."""
    buffer = mmap.mmap(-1, FILE_BYTES)
    buffer[:] = b"BEFORE.." * (FILE_BYTES // 8)
    buffer[:length] = os.urandom(length) if data is None else data
    return Content(buffer, length)


def filled(ready: Ready, length: int) -> tuple[str, bytes]:
    blank, what = taken(ready), content(length)
    ready.fill(blank, what)
    os.close(blank.descriptor)
    return blank.path, bytes(what.buffer[:length])


def linked(ready: Ready, length: int) -> Path:
    """Give the second name of a filled one."""
    blank, folder = taken(ready), Path(ready._folder).parent / "in"
    folder.mkdir(exist_ok=True)
    ready.fill(blank, content(length))
    final = folder / f"0-{length}.dcm"
    os.link(blank.path, final)
    ready.linked(blank, str(final))
    os.close(blank.descriptor)
    return final


@pytest.mark.parametrize("disk", [JOURNALLED, BARE], ids=["journalled", "bare"])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_filled_one_is_whole_and_holds_the_content_and_nothing_older(
    folder: Path, length: int, disk: Disk
) -> None:
    path, wanted = filled(made(folder, 1, disk), length)
    assert whole_bytes(path) == length
    found = Path(path).read_bytes()
    assert found[:length] == wanted
    assert b"BEFORE" not in found[length:]


def test_a_blank_one_is_blank_and_another_size_is_neither(folder: Path) -> None:
    made(folder, 1)
    (path,) = map(str, folder.iterdir())
    assert whole_bytes(path) == 0
    os.truncate(path, FILE_BYTES - SECTOR_BYTES)
    assert whole_bytes(path) is None
    os.truncate(path, 0)
    assert whole_bytes(path) is None


@pytest.mark.parametrize("value", [b"\0", b"x"], ids=["zeros", "x"])
def test_whatever_sector_a_power_cut_leaves_unwritten_the_content_is_not_whole(
    folder: Path, value: bytes
) -> None:
    ready = made(folder, 1)
    blank = taken(ready)
    before = Path(blank.path).read_bytes()
    length = 3 * BLOCK_BYTES + 700
    ready.fill(blank, content(length, value * length))
    written = 5 * BLOCK_BYTES // SECTOR_BYTES
    for sector in range(written):
        at = sector * SECTOR_BYTES
        unwritten = before[at : at + SECTOR_BYTES]
        with Path(blank.path).open("r+b") as file:
            file.seek(at)
            after = file.read(SECTOR_BYTES)
            file.seek(at)
            file.write(unwritten)
        assert whole_bytes(blank.path) is None, sector
        with Path(blank.path).open("r+b") as file:
            file.seek(at)
            file.write(after)
    assert whole_bytes(blank.path) == length
    os.close(blank.descriptor)


def test_what_was_cut_off_behind_any_block_is_not_whole(folder: Path) -> None:
    ready = made(folder, 1)
    blank = taken(ready)
    before = Path(blank.path).read_bytes()
    ready.fill(blank, content(2 * BLOCK_BYTES))
    os.close(blank.descriptor)
    after = Path(blank.path).read_bytes()
    found = []
    for blocks in range(4):
        at = blocks * BLOCK_BYTES
        Path(blank.path).write_bytes(after[:at] + before[at:])
        found.append(whole_bytes(blank.path))
    assert found == [0, None, None, 2 * BLOCK_BYTES]


def test_two_processes_never_take_the_same(folder: Path) -> None:
    one, other = made(folder, 8), Ready(folder, JOURNALLED)
    blanks: list[Blank] = []
    while True:
        both = [one.take(), other.take()]
        blanks += [blank for blank in both if blank is not None]
        if both == [None, None]:
            break
    assert len({os.fstat(blank.descriptor).st_ino for blank in blanks}) == len(blanks) == 8
    for blank in blanks:
        os.close(blank.descriptor)


def test_what_is_given_back_is_given_out_again(folder: Path) -> None:
    ready = made(folder, 1)
    blank = taken(ready)
    assert ready.take() is None
    ready.give_back(blank)
    assert ready.take() == blank
    os.close(blank.descriptor)


class TestRenewal:
    def test_as_many_as_were_used_are_made_and_never_more_than_wanted(self, folder: Path) -> None:
        ready = made(folder, 3)
        assert ready.renew(100, there_is_room) == 0
        final = linked(ready, 100)
        for _ in range(20):
            ready.used()
        assert ready.renew(10, there_is_room) == 8  # two are there
        assert len(list(folder.iterdir())) == 10
        assert whole_bytes(str(final)) is None  # it is whole under its own name only
        assert ready.renew(10, there_is_room) == 0

    def test_the_first_name_goes_when_the_second_is_safe_and_not_before(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ready = made(folder, 2)
        final = linked(ready, 5000)
        before = set(folder.iterdir())

        def refused(_: Path) -> None:
            assert set(folder.iterdir()) == before
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(ready_module, "sync_folder", refused)
        with pytest.raises(OSError, match="input/output"):
            ready.tidy()
        assert set(folder.iterdir()) == before
        synced: list[str] = []
        monkeypatch.setattr(ready_module, "sync_folder", synced.append)
        ready.tidy()
        assert synced == [str(final.parent)]
        (left,) = folder.iterdir()
        assert whole_bytes(str(left)) == 0
        assert final.stat().st_nlink == 1

    def test_none_is_made_before_it_is_quiet(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ready_module, "QUIET_S", 1000.0)
        ready = Ready(folder, JOURNALLED)
        ready.used()
        assert ready.renew(10, there_is_room) == 0
        monkeypatch.setattr(ready_module, "QUIET_S", 0.0)
        assert ready.renew(10, there_is_room) == 1

    def test_first_names_go_though_something_comes_all_the_time(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ready_module, "QUIET_S", 1000.0)
        ready = Ready(folder, JOURNALLED)
        made(folder, 2)
        linked(ready, 5000)
        ready.used()
        assert ready.renew(10, there_is_room) == 0
        assert len(list(folder.iterdir())) == 2
        monkeypatch.setattr(ready_module, "TIDY_S", 0.0)
        assert ready.renew(10, there_is_room) == 0
        assert len(list(folder.iterdir())) == 1

    def test_without_room_the_blank_ones_make_some(self, folder: Path) -> None:
        ready = made(folder, 3)
        path, _ = filled(ready, 100)
        final = linked(ready, 100)
        ready.used()
        assert ready.renew(10, lambda: False) == 0
        assert list(map(str, folder.iterdir())) == [path]
        assert final.exists()

    def test_without_room_what_somebody_holds_stays(self, folder: Path) -> None:
        one, other = made(folder, 3), Ready(folder, JOURNALLED)
        blank = taken(other)
        one.used()
        assert one.renew(10, lambda: False) == 0
        assert list(map(str, folder.iterdir())) == [blank.path]
        other.fill(blank, content(5000))
        assert whole_bytes(blank.path) == 5000

    def test_one_process_makes_at_a_time(self, folder: Path) -> None:
        one, other = (Ready(folder, JOURNALLED) for _ in range(2))
        one.used()
        other.used()
        found: list[int] = []

        def look() -> bool:
            if not found:
                found.append(other.renew(10, there_is_room))
            return True

        looks = iter([there_is_room])  # the first one is before the lock

        def look_again() -> bool:
            return next(looks, look)()

        assert one.renew(10, look_again) == 1
        assert found == [0]

    def test_what_cannot_be_made_whole_leaves_nothing(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ready = Ready(folder, JOURNALLED)
        ready.used()

        def full(*_: object) -> int:
            raise OSError(28, "no space")

        monkeypatch.setattr(os, "pwritev", full)
        with pytest.raises(OSError, match="no space"):
            ready.renew(10, there_is_room)
        assert list(folder.iterdir()) == []

    def test_where_the_file_system_keeps_no_order_there_are_none(self, folder: Path) -> None:
        made(folder, 1)
        ready = Ready(folder, Disk())
        ready.used()
        assert ready.renew(10, there_is_room) == 0
        assert ready.take() is None


class TestTroubles:
    def test_one_that_cannot_be_opened_costs_nothing_of_the_others(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ready, opened = made(folder, 3), os.open

        def none_left(*_: object, **__: object) -> int:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr(os, "open", none_left)
        with pytest.raises(OSError, match="too many"):
            ready.take()
        monkeypatch.setattr(os, "open", opened)
        for _ in range(3):
            os.close(taken(ready).descriptor)

    def test_where_the_disk_cannot_do_it_that_is_found_out_once(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ready = Ready(folder, JOURNALLED)

        def refused(*_: object) -> int:
            raise NotImplementedError

        monkeypatch.setattr(os, "pwritev", refused)
        ready.used()
        with pytest.raises(OSError, match="in one"):
            ready.renew(10, there_is_room)
        ready.used()
        assert ready.renew(10, there_is_room) == 0
        assert list(folder.iterdir()) == []

    def test_a_folder_that_goes_is_said_once_for_what_came(self, folder: Path) -> None:
        ready = made(folder, 1)
        os.close(taken(ready).descriptor)
        shutil.rmtree(folder)
        ready.used()
        with pytest.raises(FileNotFoundError):
            ready.renew(10, there_is_room)
        assert ready.renew(10, there_is_room) == 0

    def test_without_room_those_kept_for_the_next_message_go_too(self, folder: Path) -> None:
        ready = made(folder, 2)
        ready.give_back(taken(ready))
        assert ready.renew(10, lambda: False) == 0
        assert list(folder.iterdir()) == []
        assert ready.take() is None

    def test_what_is_there_from_before_goes_where_none_are_wanted(self, folder: Path) -> None:
        made(folder, 3)
        Ready(folder, JOURNALLED).drop(2)
        assert len(list(folder.iterdir())) == 2
        Ready(folder, Disk()).drop(2)
        assert list(folder.iterdir()) == []


class Kept:
    """Keeps what is whole in a folder of its own, as the spool does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.parent / "kept"
        self.folder.mkdir()
        self.found: list[tuple[str, int]] = []

    def __call__(self, path: str, length: int) -> bool:
        self.found.append((path, length))
        os.link(path, self.folder / Path(path).name)
        return True


class TestRecovery:
    @pytest.mark.parametrize("after_all", [False, True])
    def test_the_whole_of_the_dead_is_kept_the_rest_goes_and_the_blank_stay(
        self, folder: Path, after_all: bool
    ) -> None:
        ready, kept = made(folder, 3), Kept(folder)
        whole, wanted = filled(ready, 5000)
        torn, _ = filled(ready, 5000)
        os.truncate(torn, 4096)
        assert ready.recover(kept, after_all=after_all) == (1, [])
        assert kept.found == [(whole, 5000)]
        assert (kept.folder / Path(whole).name).read_bytes()[:5000] == wanted
        (left,) = folder.iterdir()
        assert taken(Ready(folder, JOURNALLED)).path == str(left)

    @pytest.mark.parametrize("after_all", [False, True])
    def test_what_the_living_hold_is_left_alone(self, folder: Path, after_all: bool) -> None:
        ready, kept = made(folder, 2), Kept(folder)
        blank, other = taken(ready), taken(ready)
        ready.fill(blank, content(5000))
        assert ready.recover(kept, after_all=after_all) == (0, [])
        assert whole_bytes(blank.path) == 5000
        assert set(map(str, folder.iterdir())) == {blank.path, other.path}
        ready.fill(other, content(100))
        assert whole_bytes(other.path) == 100

    def test_a_time_that_a_power_cut_took_back_is_not_believed_when_all_begins_anew(
        self, folder: Path
    ) -> None:
        ready, kept = made(folder, 2), Kept(folder)
        path, _ = filled(ready, 5000)
        os.utime(path, (BLANK_S, BLANK_S))
        assert ready.recover(kept, after_all=False) == (0, [])
        assert ready.recover(kept, after_all=True) == (1, [])
        assert kept.found == [(path, 5000)]

    def test_after_the_system_starts_nothing_is_taken_before_it_was_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, kept = made(folder, 2), Kept(folder)
        path, wanted = filled(before, 5000)
        os.utime(path, (BLANK_S, BLANK_S))  # its blocks are safe, and its time is not
        monkeypatch.setattr(sealed_module, "BLANK_S", BLANK_S + 1)  # another start
        ready = Ready(folder, JOURNALLED)
        assert ready.take() is None
        assert ready.recover(kept, after_all=True) == (1, [])
        assert (kept.folder / Path(path).name).read_bytes()[:5000] == wanted
        assert taken(ready).path != path

    def test_one_that_could_not_be_looked_at_is_never_overwritten(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = made(folder, 1)
        path, _ = filled(before, 5000)
        os.utime(path, (BLANK_S, BLANK_S))
        monkeypatch.setattr(sealed_module, "BLANK_S", BLANK_S + 1)  # another start

        def full(*_: object) -> bool:
            raise OSError(errno.ENOSPC, "no space")

        ready = Ready(folder, JOURNALLED)
        found = ready.recover(full, after_all=True)
        assert found == (0, [(Path(path).name, errno.ENOSPC)])
        assert ready.take() is None
        assert whole_bytes(path) == 5000

    def test_one_that_was_cut_to_its_content_is_whole(self, folder: Path) -> None:
        ready, kept = made(folder, 2), Kept(folder)
        blank = taken(ready)
        ready.fill(blank, content(5000, PREFIX + bytes(5000 - len(PREFIX))))
        os.close(blank.descriptor)
        os.truncate(blank.path, 5000)
        half = taken(ready)  # as a power cut leaves what was about to be made
        os.truncate(half.path, 5 * BLOCK_BYTES)
        os.close(half.descriptor)
        assert ready.recover(kept, after_all=True) == (1, [])
        assert kept.found == [(blank.path, 5000)]
        assert list(folder.iterdir()) == []

    def test_what_an_older_release_left_claimed_is_recovered_and_its_blank_ones_go(
        self, folder: Path
    ) -> None:
        ready, kept = made(folder, 2), Kept(folder)
        path, _ = filled(ready, 5000)
        blank = taken(ready)
        os.close(blank.descriptor)
        for one in (path, blank.path):
            Path(one).rename(folder / f"999999999-1-{Path(one).name}")
        assert ready.recover(kept, after_all=True) == (1, [])
        assert [length for _, length in kept.found] == [5000]
        assert list(folder.iterdir()) == []

    def test_one_that_cannot_be_read_stays_and_holds_up_no_other(self, folder: Path) -> None:
        ready = made(folder, 1)
        whole, _ = filled(ready, 5000)
        (folder / "0.dcm").mkdir()
        kept = Kept(folder)
        found = ready.recover(kept, after_all=True)
        assert (kept.found, found) == ([(whole, 5000)], (1, [("0.dcm", errno.EISDIR)]))
        assert (folder / "0.dcm").is_dir()

    def test_a_seal_within_a_content_is_not_its_end(self, folder: Path) -> None:
        """A sender may write what looks like a seal; a file's name it does not know."""
        ready = made(folder, 1)
        blank = taken(ready)
        before = Path(blank.path).read_bytes()
        forged = SEAL.pack(MAGIC, b"0" * 32, BLOCK_BYTES).ljust(BLOCK_BYTES, b"\0")
        ready.fill(blank, content(3 * BLOCK_BYTES, b"x" * BLOCK_BYTES + forged + forged))
        os.close(blank.descriptor)
        after = Path(blank.path).read_bytes()
        Path(blank.path).write_bytes(after[: 2 * BLOCK_BYTES] + before[2 * BLOCK_BYTES :])
        assert whole_bytes(blank.path) is None
