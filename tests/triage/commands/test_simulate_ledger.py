"""The ledger counts what was acknowledged, and is on the disk when a line is noted."""

from pathlib import Path

from triage.commands.simulate_ledger import Answer, Ledger, read


def test_what_is_noted_can_be_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out" / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.note("1.2", "1.2.3", "aa", Answer.STORED)
        ledger.note("1.2", "1.2.4", "bb", Answer.REFUSED)
        assert read(path) == ledger.entries
    with path.open("a") as file:
        file.write('{"study": "1.2", "inst')  # a kill in mid-line
    assert [one.instance for one in read(path)] == ["1.2.3", "1.2.4"]


def test_only_what_was_stored_counts_and_repeats_are_nothing_new(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.note("1.2", "1.2.3", "aa", Answer.UNKNOWN)
        assert not ledger.acknowledged()
        assert not ledger.last_new()
        ledger.note("1.2", "1.2.3", "aa", Answer.STORED)
        first = ledger.entries[-1].at
        ledger.note("1.2", "1.2.3", "aa", Answer.STORED)
        assert ledger.acknowledged() == {("1.2.3", "aa"): first}
        assert ledger.last_new() == {"1.2": first}
        ledger.note("1.2", "1.2.3", "bb", Answer.STORED)
        assert ledger.last_new() == {"1.2": ledger.entries[-1].at}
        assert ledger.counts() == {"stored": 3, "refused": 0, "unknown": 1}
