"""A body is whole, bounded in memory, and leaves nothing on disk but what is kept."""

import errno
import fcntl
import os
import shutil
import threading
import tracemalloc
from pathlib import Path

import pytest

from triage.durable import write_all
from triage.receive import body as body_module
from triage.receive import draft as draft_module
from triage.receive import stage as stage_module
from triage.receive.body import Body
from triage.receive.pdu import Broken
from triage.receive.stage import _huge_page as huge_page
from triage.sealed import AROUND_THE_CACHE, BLOCK_BYTES
from triage.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def body(spool: Spool, most: int = 10**8, *, room: bool = True, header: bytes = b"") -> Body:
    return Body(spool, most, lambda: room, lambda: header)


def fill(one: Body, count: int) -> bytes:
    parts = [bytes([number % 256]) * 997 for number in range(count)]
    for part in parts:
        one.write(memoryview(part))
    return b"".join(parts)


def left(spool: Spool) -> list[Path]:
    return [path for path in spool.root.rglob("*") if path.is_file()]


LENGTHS = pytest.mark.parametrize("parts", [1, 50, 657, 658, 1500, 5000])
"""Of 997 bytes: 656 and a header fill what is held in memory."""


@LENGTHS
def test_what_is_kept_is_header_and_data_set(spool: Spool, parts: int) -> None:
    one = body(spool, header=b"HEADER")
    sent = fill(one, parts)
    assert bytes(one.content()) == sent
    assert one.size == len(sent)
    path = one.keep()
    one.close()
    assert path.read_bytes() == b"HEADER" + sent
    assert left(spool) == [path]
    assert spool.incoming(9) == [path]


@LENGTHS
def test_the_header_tells_the_time_of_the_end(spool: Spool, parts: int) -> None:
    times = iter([b"BEGUN", b"ENDED"])
    one = Body(spool, 10**7, lambda: True, lambda: next(times))
    sent = fill(one, parts)
    path = one.keep()
    one.close()
    assert path.read_bytes() == b"ENDED" + sent


@pytest.mark.parametrize(("parts", "drafts"), [(50, 0), (1500, 1)])
def test_what_is_not_kept_is_gone(spool: Spool, parts: int, drafts: int) -> None:
    one = body(spool)
    fill(one, parts)
    assert len(list(spool.tmp.iterdir())) == drafts
    one.close()
    assert left(spool) == []


def test_an_empty_one_is_empty(spool: Spool) -> None:
    one = body(spool, header=b"HEADER")
    one.write(memoryview(b""))
    assert bytes(one.content()) == b""
    one.close()
    assert left(spool) == []


def test_memory_does_not_grow_with_the_message(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, part, taken = body(spool), memoryview(bytes(131_072)), []
    monkeypatch.setattr(stage_module, "_spare", [])

    def take() -> memoryview:
        taken.append(1)
        return huge_page()

    monkeypatch.setattr(stage_module, "_huge_page", take)
    one.write(part)
    tracemalloc.start()
    for _ in range(200):
        one.write(part)
    assert bytes(one.content()[-9:]) == bytes(9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one.close()
    assert peak < 2**20
    assert len(taken) == 1


def test_a_message_beyond_the_limit_is_broken(spool: Spool) -> None:
    one = body(spool, most=1000)
    one.write(memoryview(bytes(1000)))
    with pytest.raises(Broken):
        one.write(memoryview(b"x"))
    one.close()


def test_without_room_the_rest_is_dropped_and_the_end_says_so(spool: Spool) -> None:
    one = body(spool, room=False)
    fill(one, 50)
    assert left(spool) == []
    with pytest.raises(OSError, match="no room"):
        one.content()
    one.close()


def test_room_that_ends_in_the_middle_drops_what_was_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_module, "LOOK_BYTES", 5000)
    looks = iter([True, True, False])
    one = Body(spool, 10**6, lambda: next(looks))
    fill(one, 50)
    assert left(spool) == []
    with pytest.raises(OSError, match="no room"):
        one.content()
    one.close()


def test_a_folder_that_is_gone_is_no_room(spool: Spool) -> None:
    shutil.rmtree(spool.tmp)
    one = body(spool)
    fill(one, 1500)
    with pytest.raises(OSError, match="no room"):
        one.content()
    one.close()


def test_what_is_in_memory_is_refused_when_it_cannot_be_written(spool: Spool) -> None:
    shutil.rmtree(spool.tmp)
    one = body(spool)
    sent = fill(one, 50)
    assert bytes(one.content()) == sent
    with pytest.raises(FileNotFoundError):
        one.keep()
    one.close()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_piece_that_the_disk_refuses_is_told_at_the_end_whichever_it_is(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = iter(range(100))

    def write(descriptor: int, data: memoryview) -> None:
        if next(calls) == number:
            raise OSError(5, "input/output error")
        write_all(descriptor, data)

    monkeypatch.setattr(draft_module, "write_all", write)
    one = body(spool)
    fill(one, 1600)  # two pieces in between, and the last one in two
    with pytest.raises(OSError, match=r"no room|input/output"):
        one.content()
    one.close()
    assert left(spool) == []


def test_an_error_that_is_no_error_of_the_disk_is_told_and_nobody_waits_for_ever(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(draft_module, "write_all", write)
    one = body(spool)
    with pytest.raises(MemoryError):
        fill(one, 3000)
    one.close()
    assert left(spool) == []


def test_a_disk_that_cannot_be_written_around_the_cache_is_written_through_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = AROUND_THE_CACHE

    def write(descriptor: int, data: memoryview) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & direct:
            write_all(descriptor, data[:BLOCK_BYTES])
            raise OSError(errno.EINVAL, "invalid argument")
        write_all(descriptor, data)

    monkeypatch.setattr(draft_module, "write_all", write)
    one = body(spool, header=b"HEADER")
    sent = fill(one, 3000)
    path = one.keep()
    one.close()
    assert path.read_bytes() == b"HEADER" + sent


def test_a_descriptor_is_closed_once_though_the_disk_refuses(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, closed, close = body(spool), [], os.close
    fill(one, 1500)

    def refused(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "close", refused)
    one.close()
    one.close()
    monkeypatch.undo()
    assert len(closed) == 1


def test_without_another_thread_it_is_whole_too(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    one = body(spool, header=b"HEADER")
    sent = fill(one, 3000)
    path = one.keep()
    one.close()
    assert path.read_bytes() == b"HEADER" + sent


def test_memory_that_is_being_written_is_nobody_elses(spool: Spool) -> None:
    """Two at once, whose pieces are written while the other's come."""
    both = [body(spool, header=bytes([number]) * 300) for number in range(2)]
    sent: list[list[bytes]] = [[], []]
    for _ in range(400):
        for one, parts in zip(both, sent, strict=True):
            parts.append(os.urandom(9973))
            one.write(memoryview(parts[-1]))
    paths = [one.keep() for one in both]
    for one in both:
        one.close()
    for number, (path, parts) in enumerate(zip(paths, sent, strict=True)):
        assert path.read_bytes() == bytes([number]) * 300 + b"".join(parts)


@pytest.mark.parametrize("count", [40_000, 131_066, 700_000])
def test_a_fragment_is_the_same_whether_it_is_put_in_its_place_or_copied(
    spool: Spool, count: int
) -> None:
    one, sent = body(spool, header=b"HEADER"), b""
    for number in range(30):
        fragment = os.urandom(count)
        place = one.place(count) if number % 3 else None
        if place is None:
            one.write(memoryview(fragment))
        else:
            place[:] = fragment
            one.write(place)
        sent += fragment
    assert bytes(one.content()) == sent
    path = one.keep()
    one.close()
    assert path.read_bytes() == b"HEADER" + sent


def test_no_place_is_given_beyond_the_limit_or_without_room(spool: Spool) -> None:
    assert body(spool, most=1000).place(1001) is None
    one = body(spool, room=False)
    assert one.place(50_000) is None
    one.write(memoryview(bytes(50_000)))
    with pytest.raises(OSError, match="no room"):
        one.content()
    one.close()


@LENGTHS
def test_no_descriptor_is_left_open(spool: Spool, parts: int) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for keep in (True, False):
        one = body(spool)
        fill(one, parts)
        one.content()
        if keep:
            one.keep()
        one.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
