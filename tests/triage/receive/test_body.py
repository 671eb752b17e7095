"""A body is whole, bounded in memory, and leaves nothing on disk but what is kept."""

import shutil
import tracemalloc
from pathlib import Path

import pytest

from triage.receive import body as body_module
from triage.receive.body import Body
from triage.receive.pdu import Broken
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


def test_what_is_kept_is_header_and_data_set(spool: Spool) -> None:
    one = body(spool, header=b"HEADER")
    sent = fill(one, 50)
    assert bytes(one.content()) == sent
    assert one.size == len(sent)
    path = one.keep()
    one.close()
    assert path.read_bytes() == b"HEADER" + sent
    assert left(spool) == [path]
    assert spool.incoming(9) == [path]


def test_the_header_tells_the_time_of_the_end(spool: Spool) -> None:
    times = iter([b"BEGUN", b"ENDED"])
    one = Body(spool, 10**6, lambda: True, lambda: next(times))
    sent = fill(one, 3)
    path = one.keep()
    one.close()
    assert path.read_bytes() == b"ENDED" + sent


def test_what_is_not_kept_is_gone(spool: Spool) -> None:
    one = body(spool)
    fill(one, 50)
    assert len(list(spool.tmp.iterdir())) == 1
    one.close()
    assert left(spool) == []


def test_an_empty_one_is_empty(spool: Spool) -> None:
    one = body(spool, header=b"HEADER")
    one.write(memoryview(b""))
    assert bytes(one.content()) == b""
    one.close()
    assert left(spool) == []


def test_memory_does_not_grow_with_the_message(spool: Spool) -> None:
    one, part = body(spool), memoryview(bytes(131_072))
    one.write(part)
    tracemalloc.start()
    for _ in range(200):
        one.write(part)
    assert bytes(one.content()[-9:]) == bytes(9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one.close()
    assert peak < 2**20


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
    fill(one, 50)
    with pytest.raises(OSError, match="no room"):
        one.content()
    one.close()


def test_no_descriptor_is_left_open(spool: Spool) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for keep in (True, False):
        one = body(spool)
        fill(one, 5)
        one.content()
        if keep:
            one.keep()
        one.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
