"""Waiting times against the published formulas, and against rules that hold for any day.

Oracle: M/M/c by arrival (Erlang C) and with two non-preemptive classes (Cobham 1954,
doi:10.1287/opre.2.1.70), from which QuCAD computes a device's time saved and time lost
(Thompson et al., arXiv:2303.07050).
"""

import math
import random
from math import inf

import pytest

from triage.worklist import reading_room
from triage.worklist.reading_room import Case

MEAN_S = 300.0


def erlang_c(servers: int, load: float) -> float:
    """Give the probability that somebody who comes must wait; ``load`` in erlang."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


def by_arrival(servers: int, load: float) -> float:
    """Give the mean wait of M/M/c, in mean reading times."""
    return erlang_c(servers, load) / (servers - load)


def by_class(servers: int, load: float, share: float) -> tuple[float, float]:
    """Give the mean waits of two non-preemptive classes; ``share`` comes in the first."""
    residual = erlang_c(servers, load) / servers
    first, both = share * load / servers, load / servers
    return residual / (1 - first), residual / ((1 - first) * (1 - both))


def department(servers: int, load: float, share: float, number: int, seed: int) -> list[Case]:
    """Draw Poisson arrivals, exponential readings, and flags by chance."""
    dice = random.Random(seed)
    readings = reading_room.reading_times(number, MEAN_S, seed + 1)
    at, found = 0.0, []
    for read_s in readings:
        at += dice.expovariate(load / MEAN_S)
        found.append(Case(at, at, int(dice.random() < share), read_s))
    return found


def mean_wait(cases: list[Case], waits: list[float], priority: int) -> float:
    """Give a class's mean wait in mean reading times."""
    own = [wait for case, wait in zip(cases, waits, strict=True) if case.priority == priority]
    return sum(own) / len(own) / MEAN_S


@pytest.mark.parametrize(
    ("servers", "load", "share"), [(1, 0.7, 0.1), (1, 0.8, 0.3), (2, 1.5, 0.2), (4, 3.2, 0.15)]
)
def test_it_finds_the_waits_of_the_published_formulas(
    servers: int, load: float, share: float
) -> None:
    cases = department(servers, load, share, 120_000, 7)
    plain, _ = reading_room.waits(cases, readers=servers, by_priority=False)
    assert sum(plain) / len(plain) / MEAN_S == pytest.approx(by_arrival(servers, load), rel=0.08)
    waited, promoted = reading_room.waits(cases, readers=servers)
    first, second = by_class(servers, load, share)
    assert mean_wait(cases, waited, 1) == pytest.approx(first, rel=0.08)
    assert mean_wait(cases, waited, 0) == pytest.approx(second, rel=0.08)
    assert promoted == 0


def test_what_the_flagged_gain_the_others_lose() -> None:
    """Kleinrock's conservation law: with one reader the work that waits is the same in any order.

    Weighted by reading time it holds exactly, study for study.
    """
    cases = department(1, 0.8, 0.2, 5_000, 3)
    plain, _ = reading_room.waits(cases, readers=1, by_priority=False)
    for limit_s in (inf, 1800.0):
        waited, _ = reading_room.waits(cases, readers=1, limit_s=limit_s)
        work = [
            sum(case.read_s * wait for case, wait in zip(cases, one, strict=True))
            for one in (plain, waited)
        ]
        assert work[1] == pytest.approx(work[0], rel=1e-9)


def test_a_limit_of_nought_is_reading_by_arrival_where_there_is_one_level() -> None:
    cases = department(2, 1.8, 0.2, 2_000, 5)
    plain, _ = reading_room.waits(cases, readers=2, by_priority=False)
    waited, promoted = reading_room.waits(cases, readers=2, limit_s=0.0)
    assert waited == plain
    assert promoted == sum(not one.priority for one in cases)


def test_the_limit_shortens_the_longest_wait_and_costs_the_flagged_a_little() -> None:
    cases = department(1, 0.95, 0.3, 20_000, 11)
    _, without, guarded = reading_room.compare(cases, readers=1, limit_s=3 * 3600)
    routine = "not prioritised"
    assert guarded.groups[routine].longest < without.groups[routine].longest
    assert guarded.groups["prioritised"].mean >= without.groups["prioritised"].mean
    assert guarded.groups["prioritised"].gained > 0
    assert guarded.promoted > 0


def test_a_study_is_routine_until_its_priority_is_known() -> None:
    busy = [Case(0.0, 0.0, 0, 100.0), Case(1.0, 1.0, 0, 100.0)]
    early = [*busy, Case(2.0, 50.0, 1, 10.0)]
    late = [*busy, Case(2.0, 150.0, 1, 10.0)]
    assert reading_room.waits(early, readers=1)[0] == [0.0, 109.0, 98.0]
    assert reading_room.waits(late, readers=1)[0] == [0.0, 99.0, 198.0]


def test_of_two_levels_the_higher_is_read_first_and_the_aged_stand_with_the_lower() -> None:
    cases = [
        Case(0.0, 0.0, 0, 1000.0),
        Case(1.0, 1.0, 0, 10.0),
        Case(500.0, 500.0, 1, 10.0),
        Case(900.0, 900.0, 2, 10.0),
    ]
    waited, promoted = reading_room.waits(cases, readers=1, limit_s=600.0)
    assert waited == [0.0, 1009.0, 520.0, 100.0]
    assert promoted == 1


def test_groups_name_the_missed_where_the_truth_is_known() -> None:
    cases = [Case(0.0, 0.0, 1, 60.0, abnormal=True), Case(0.0, 0.0, 0, 60.0, abnormal=True)]
    by_priority = reading_room.compare(cases, readers=1, limit_s=inf)[1]
    assert by_priority.groups["abnormal, not prioritised"].n == 1
    assert by_priority.groups["abnormal, not prioritised"].mean == 1.0
    unknown = [Case(0.0, 0.0, 1, 60.0)]
    assert set(reading_room.compare(unknown, readers=1, limit_s=inf)[0].groups) == {
        "prioritised", "all",
    }  # fmt: skip


def test_a_quantile_lies_between_its_neighbours() -> None:
    assert reading_room.quantile([1.0], 0.99) == 1.0
    assert reading_room.quantile([0.0, 10.0], 0.5) == 5.0
    assert reading_room.quantile([0.0, 10.0, 20.0], 0.95) == pytest.approx(19.0)
