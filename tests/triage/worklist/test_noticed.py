"""What counts as one look, and for how long."""

import pytest

from triage.worklist import noticed
from triage.worklist.noticed import Noticed


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(noticed, "time", one)
    return one


def test_a_look_is_news_again_after_its_time(clock: Clock) -> None:
    looks = Noticed(60)
    assert not looks.lately("ada", "2.25.1")
    looks.keep("ada", "2.25.1")
    clock.at += 59
    assert looks.lately("ada", "2.25.1")
    clock.at += 1
    assert not looks.lately("ada", "2.25.1")


def test_it_is_one_person_s_look_at_one_thing(clock: Clock) -> None:
    looks = Noticed(60)
    looks.keep("ada", "2.25.1")
    assert not looks.lately("ada", "2.25.2")
    assert not looks.lately("ben", "2.25.1")
    assert clock.at == 100


def test_beyond_its_room_it_forgets_and_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noticed, "MOST", 2)
    looks = Noticed(60)
    for what in ("a", "b", "c"):
        looks.keep("ada", what)
    assert [looks.lately("ada", what) for what in "abc"] == [False, False, True]
