"""Security events on their way to the audit trail: none lost, none forged, never a flood."""

import json
from collections import Counter
from pathlib import Path

import pytest

from triage import journal as journal_module
from triage.journal import ALL_AT_ONCE, EACH_AT_ONCE, Ended, Journal, Pace

DAY_S = 86_400


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_events_are_counted_and_read_back_once_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for _ in range(3):
        journal.note("association.rejected", code="1/1/7", ae_title="BAD", address="10.0.0.1")
    journal.note("instance.refused", code="0xC000", ae_title="CT1", address="10.0.0.2")
    journal.flush()
    journal.flush()
    (batch,) = journal.batches()
    assert [(event.kind, event.count) for event in batch.events] == [
        ("association.rejected", 3),
        ("instance.refused", 1),
    ]
    (again,) = journal.batches()
    assert again == batch  # a crash before the commit: the same events, the same UUIDs
    batch.done()
    assert list(journal.batches()) == []


def test_a_flood_is_bounded_and_still_counted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(5000):
        address, code = f"10.0.{number}", f"{number} differs"
        journal.note("association.rejected", code=code, address=address)
    journal.flush()
    (batch,) = journal.batches()
    assert len(batch.events) <= journal_module.MAX_KEYS + 1
    assert sum(event.count for event in batch.events) == 5000


def test_nothing_a_peer_claims_can_forge_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.note("association.rejected", ae_title='A\n{"kind":"x"}\x1b[31m' + "Z" * 99)
    journal.flush()
    (batch,) = journal.batches()
    (event,) = batch.events
    assert "\n" not in event.ae_title
    assert "\x1b" not in event.ae_title
    assert len(event.ae_title) == 64


def test_events_wait_when_the_disk_refuses_and_are_written_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.note("limit")
    with pytest.raises(FileNotFoundError):
        journal.flush()
    journal.note("limit")
    (tmp_path / "journal").mkdir()
    journal.flush()
    (batch,) = journal.batches()
    assert batch.events[0].count == 2


def test_a_reader_that_is_away_bounds_the_files_not_the_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_BATCHES", 2)
    journal = Journal(tmp_path)
    for _ in range(5):
        journal.note("limit")
        journal.flush()
    assert len(list(tmp_path.iterdir())) == 2
    for batch in journal.batches():
        batch.done()
    journal.flush()
    (batch,) = journal.batches()
    assert batch.events[0].count == 3


def test_a_damaged_line_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text("not json\n")
    (batch,) = Journal(tmp_path).batches()
    assert batch.events[0].kind == "journal.damaged"


def test_an_event_that_repeats_is_written_ten_times_then_once_a_minute_with_its_count(
    tmp_path: Path,
) -> None:
    clock = Clock()
    journal = Journal(tmp_path, Pace(clock))
    rows: list[int] = []
    for _ in range(3600):
        journal.note("association.rejected", code="CALLING_AE_TITLE", ae_title="CT9")
        rows += [one.count for one in journal.flush()]
        clock.now += 1
        for batch in journal.batches():
            batch.done()
    assert EACH_AT_ONCE + 55 <= len(rows) <= EACH_AT_ONCE + 61
    assert set(rows[:EACH_AT_ONCE]) == {1}
    assert max(rows) <= 61
    rest = [one.count for one in journal.flush(last=True)]
    assert sum(rows) + sum(rest) == 3600


def test_a_day_of_callers_with_ever_new_names_makes_few_rows_and_loses_no_count() -> None:
    clock = Clock()
    pace = Pace(clock)
    rows = total = 0
    kept: Counter[journal_module.Key] = Counter()
    for second in range(0, DAY_S, 10):
        for number in range(40):
            kept["association.rejected", "CALLING_AE_TITLE", f"X{second}.{number}", "10.0.0.1"] += 1
        total += 40
        clock.now = second
        written, kept = pace.due(kept)
        rows += len(written)
        total -= written.total()
    assert rows <= ALL_AT_ONCE + DAY_S / 10 + EACH_AT_ONCE + DAY_S / 60 + 1
    assert kept.total() == total
    assert len(pace._each) < 2 * journal_module.MAX_REMEMBERED


def test_the_first_of_a_new_peer_is_told_apart_again_after_a_flood() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.due(Counter({("association.rejected", "", f"X{one}", "a"): 1 for one in range(900)}))
    clock.now += 15
    honest = ("association.rejected", "CALLING_AE_TITLE", "CT2", "10.0.0.7")
    written, _ = pace.due(Counter({honest: 1}))
    assert written == {honest: 1}


def test_ends_of_associations_are_written_once_beside_the_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.end("ab" * 16, "CT\n1", "10.0.0.1", 40)
    journal.end("cd" * 16, "CT1", "10.0.0.1", 0)  # which brought nothing
    journal.note("association.rejected")
    assert [event.kind for event in journal.flush()] == ["association.rejected"]
    assert journal.flush() == []
    (batch,) = journal.batches()
    assert batch.ended == (Ended("ab" * 16, "CT?1", "10.0.0.1", 40),)
    assert len(batch.events) == 1


def test_ends_wait_in_their_order_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal")
    names = [f"{number:032x}" for number in range(3)]
    journal.end(names[0], "CT1", "10.0.0.1", 1)
    journal.end(names[1], "CT1", "10.0.0.1", 1)
    with pytest.raises(FileNotFoundError):
        journal.flush()
    journal.end(names[2], "CT1", "10.0.0.1", 1)
    (tmp_path / "journal").mkdir()
    monkeypatch.setattr(journal_module, "MAX_WITH_ENDS", 0)
    journal.flush()
    monkeypatch.setattr(journal_module, "MAX_WITH_ENDS", 1)
    journal.flush()
    (batch,) = journal.batches()
    assert [one.association for one in batch.ended] == names


def test_ends_leave_room_for_events_and_the_last_flush_writes_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_BATCHES", 4)
    monkeypatch.setattr(journal_module, "MAX_WITH_ENDS", 2)
    journal = Journal(tmp_path)
    for number in range(6):
        journal.end(f"{number:032x}", "CT1", "10.0.0.1", 1)
        journal.flush()
    assert len(list(journal.batches())) == 2
    for number in range(4):
        journal.note("association.rejected", code=str(number))
        journal.flush()
    assert len(list(journal.batches())) == 4
    journal.flush(last=True)
    batches = list(journal.batches())
    assert [len(batch.ended) for batch in batches] == [1, 1, 0, 0, 4]
    assert sum(event.count for batch in batches for event in batch.events) == 4


def test_of_too_many_ends_the_newest_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_ENDED", 3)
    journal = Journal(tmp_path / "journal")
    for number in range(5):
        journal.end(f"{number:032x}", "CT1", "10.0.0.1", 1)
        with pytest.raises(FileNotFoundError):
            journal.flush()
    (tmp_path / "journal").mkdir()
    journal.flush()
    (batch,) = journal.batches()
    assert [int(one.association, 16) for one in batch.ended] == [2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        {"association": "../../etc/passwd"}, {"association": "A" * 32}, {"ae_title": "A" * 65},
        {"ae_title": "A\u0000"}, {"address": 7}, {"accepted": 0}, {"accepted": True},
        {"accepted": 2**31}, {"accepted": "3"}, {"more": 1},
    ],
)  # fmt: skip
def test_an_end_that_is_not_as_we_write_them_is_damage(
    tmp_path: Path, change: dict[str, object]
) -> None:
    line = {"association": "ab" * 16, "ae_title": "CT1", "address": "10.0.0.1", "accepted": 3}
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(line) + "\n" + json.dumps(line | change) + "\n")
    batch = Journal(tmp_path).read(path)
    assert [one.accepted for one in batch.ended] == [3]
    assert [event.kind for event in batch.events] == ["journal.damaged"]
