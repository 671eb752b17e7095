"""Who waits how long: studies and readers, by arrival or by priority, with and without a limit.

The order is the worklist's (``db.listing``): the higher priority first, within it the longest
waiting; a routine study that has waited for longer than the limit stands in the lowest band above
routine. A reader who has begun a study ends it (non-preemptive). Every order reads the same studies
with the same reading times, so that what one gains another is seen to lose.

Source: FDA's QuCAD asks the same of a queue in balance (Thompson et al., arXiv:2303.07050); its
formulas for M/M/c with non-preemptive priorities (Cobham 1954) are this module's oracle in the
tests. The limit is Baltruschat et al.'s (Eur Radiol 2021).
"""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Final

AGED: Final = 1
"""The band of those who waited too long: the lowest above routine."""
MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """One study for the readers. Seconds since any moment."""

    arrived_s: float
    decided_s: float
    """When its priority was known; until then it stands as routine."""
    priority: int
    read_s: float
    """How long a reader takes for it."""
    abnormal: bool | None = None
    """None where nobody knows."""


@dataclass(frozen=True, slots=True)
class Group:
    """How long some studies wait under one order, in minutes."""

    n: int
    mean: float
    median: float
    p95: float
    longest: float
    gained: float
    """Less than by arrival, on average; negative where they lose."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One order beside reading by arrival."""

    name: str
    groups: Mapping[str, Group]
    promoted: int
    """Studies whose waiting alone put them above routine."""


@dataclass
class _Room:
    """The queue as the readers find it: one heap a level, entries of studies read are skipped."""

    cases: Sequence[Case]
    by_priority: bool
    limit_s: float
    levels: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)
    promoted: int = 0

    def add(self, level: int, number: int) -> None:
        """Let a study stand at a level, by its arrival."""
        heapq.heappush(self.levels.setdefault(level, []), (self.cases[number].arrived_s, number))

    def take(self, now_s: float) -> int | None:
        """Give the study that a reader takes now; None when none waits."""
        best: tuple[int, float, int] | None = None
        for level, heap in self.levels.items():
            while heap and heap[0][1] in self.read:
                heapq.heappop(heap)
            if heap:
                arrived_s, number = heap[0]
                aged = level < AGED and now_s - arrived_s >= self.limit_s
                key = (-(AGED if aged else level), arrived_s, number)
                best = key if best is None else min(best, key)
        if best is None:
            return None
        number = best[2]
        self.read.add(number)
        self.promoted += best[0] == -AGED and self._level(number, now_s) < AGED
        return number

    def _level(self, number: int, now_s: float) -> int:
        case = self.cases[number]
        return case.priority if self.by_priority and case.decided_s <= now_s else 0


def waits(
    cases: Sequence[Case], *, readers: int, by_priority: bool = True, limit_s: float = inf
) -> tuple[list[float], int]:
    """Give each study's wait from arrival to the start of its reading, in seconds.

    Beside it, how many the limit put above routine. ``by_priority`` False is by arrival.
    """
    room = _Room(cases, by_priority, limit_s)
    arrivals = sorted(range(len(cases)), key=lambda one: (cases[one].arrived_s, one))
    ups = sorted(
        (max(one.decided_s, one.arrived_s), number)
        for number, one in enumerate(cases)
        if by_priority and one.priority
    )
    free = [-inf] * readers
    found, next_arrival, next_up = [0.0] * len(cases), 0, 0
    for _ in cases:
        now_s = heapq.heappop(free)
        if len(room.read) == next_arrival:  # nobody waits: the reader waits for the next
            now_s = max(now_s, cases[arrivals[next_arrival]].arrived_s)
        while next_arrival < len(cases) and cases[arrivals[next_arrival]].arrived_s <= now_s:
            room.add(0, arrivals[next_arrival])
            next_arrival += 1
        while next_up < len(ups) and ups[next_up][0] <= now_s:
            room.add(cases[ups[next_up][1]].priority, ups[next_up][1])
            next_up += 1
        number = room.take(now_s)
        assert number is not None  # noqa: S101 - the reader waited for one
        found[number] = now_s - cases[number].arrived_s
        heapq.heappush(free, now_s + cases[number].read_s)
    return found, room.promoted


def compare(cases: Sequence[Case], *, readers: int, limit_s: float) -> tuple[Comparison, ...]:
    """Give the three orders: by arrival, by priority, and by priority with the limit."""
    plain, _ = waits(cases, readers=readers, by_priority=False)
    orders = (
        ("by arrival", {"by_priority": False}, inf),
        ("by priority", {"by_priority": True}, inf),
        ("by priority, with the limit", {"by_priority": True}, limit_s),
    )
    found = []
    for name, how, limit in orders:
        waited, promoted = waits(cases, readers=readers, limit_s=limit, **how)
        groups = {
            group: _group([waited[one] for one in numbers], [plain[one] for one in numbers])
            for group, numbers in _groups(cases).items()
            if numbers
        }
        found.append(Comparison(name, groups, promoted))
    return tuple(found)


def reading_times(number: int, mean_s: float, seed: int = 0) -> list[float]:
    """Draw exponential reading times, as the published model has them."""
    dice = random.Random(seed)  # noqa: S311 - a simulation, no secret
    return [dice.expovariate(1 / mean_s) for _ in range(number)]


def _groups(cases: Sequence[Case]) -> dict[str, list[int]]:
    numbered = list(zip(count(), cases, strict=False))
    found = {
        "prioritised": [n for n, one in numbered if one.priority],
        "not prioritised": [n for n, one in numbered if not one.priority],
        "all": [n for n, _ in numbered],
    }
    if any(one.abnormal is not None for one in cases):
        found["abnormal"] = [n for n, one in numbered if one.abnormal]
        found["abnormal, not prioritised"] = [
            n for n, one in numbered if one.abnormal and not one.priority
        ]
    return found


def _group(waited_s: Sequence[float], plain_s: Sequence[float]) -> Group:
    ordered = sorted(waited_s)
    mean = sum(ordered) / len(ordered)
    return Group(
        n=len(ordered),
        mean=mean / MINUTE_S,
        median=quantile(ordered, 0.5) / MINUTE_S,
        p95=quantile(ordered, 0.95) / MINUTE_S,
        longest=ordered[-1] / MINUTE_S,
        gained=(sum(plain_s) / len(plain_s) - mean) / MINUTE_S,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the quantile of values in ascending order, between neighbours in a straight line."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
