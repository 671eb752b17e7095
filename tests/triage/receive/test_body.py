"""A body is whole, bounded in memory, and leaves nothing on disk."""

import mmap
from pathlib import Path

import pytest

from triage.receive import body as body_module
from triage.receive.body import Body
from triage.receive.pdu import Broken


def body(folder: Path, most: int = 10**6, *, room: bool = True) -> Body:
    return Body(folder, most, lambda: room)


def fill(one: Body, count: int) -> bytes:
    parts = [bytes([number % 256]) * 997 for number in range(count)]
    for part in parts:
        one.write(memoryview(part))
    return b"".join(parts)


def test_a_small_one_stays_in_memory(tmp_path: Path) -> None:
    one = body(tmp_path)
    sent = fill(one, 20)
    assert isinstance(one.content(), bytearray)
    assert bytes(one.content()) == sent
    assert one.size == len(sent)
    one.close()


def test_a_large_one_goes_to_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_module, "SPILL_BYTES", 5000)
    one = body(tmp_path)
    sent = fill(one, 50)
    assert list(tmp_path.iterdir()) == []
    content = one.content()
    assert isinstance(content, mmap.mmap)
    assert bytes(content) == sent
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_message_beyond_the_limit_is_broken(tmp_path: Path) -> None:
    one = body(tmp_path, most=1000)
    one.write(memoryview(bytes(1000)))
    with pytest.raises(Broken):
        one.write(memoryview(b"x"))
    one.close()


def test_without_room_the_rest_is_dropped_and_the_end_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_module, "SPILL_BYTES", 5000)
    one = body(tmp_path, room=False)
    fill(one, 50)
    assert len(one._chunk) < 5000
    with pytest.raises(OSError, match="no room"):
        one.content()
    one.close()


def test_a_folder_that_is_gone_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "SPILL_BYTES", 5000)
    one = body(tmp_path / "missing")
    fill(one, 50)
    with pytest.raises(OSError, match="no room"):
        one.content()
    one.close()
