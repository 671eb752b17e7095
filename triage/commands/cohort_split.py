"""Who of a cohort learns, stops early, calibrates and tests: by person, never by picture.

A patient's place is a keyed hash, so it stays when others come or go. Two patients of whom one
picture is known, the same or nearly, are taken for one person under two names, and share a
place; so does every copy. Whoever has an abnormal series only tests.

Shapes: S series, F features of a thumbnail.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from triage.commands.cohort_series import Candidate
from triage.errors import ConfigError

ALIKE: Final = 0.995
"""Correlation of two middle slices, as thumbnails, from which they are the same picture."""
CHUNK: Final = 1024
TRAIN, EARLY_STOP, CALIBRATION, TEST = "train", "early-stop", "calibration", "test"


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the people; the rest trains."""

    early_stop: float = 0.1
    calibration: float = 0.2
    test: float = 0.0

    def split(self, place: float) -> str:
        """Give the split of a place in [0, 1)."""
        for name, share in (
            (EARLY_STOP, self.early_stop),
            (CALIBRATION, self.calibration),
            (TEST, self.test),
        ):
            if place < share:
                return name
            place -= share
        return TRAIN


@dataclass(frozen=True, slots=True)
class Placed:
    """Every series' split, and what was found on the way."""

    split_of: Mapping[str, str]
    """By patient digest."""
    joined: int
    """Patients that share a picture with another patient."""
    copies: int
    """Pairs of series with the same picture, nearly or wholly."""


def place(candidates: Sequence[Candidate], abnormal: Iterable[str], shares: Shares) -> Placed:
    """Give every person one split; ``abnormal`` are Study Instance UIDs.

    Raises:
        ConfigError: one picture is both healthy and abnormal.
    """
    sick = frozenset(abnormal)
    pairs = _pairs(candidates)
    for one, other in pairs:
        if (one.study_instance_uid in sick) is not (other.study_instance_uid in sick):
            msg = (
                f"studies {one.study_instance_uid} and {other.study_instance_uid} show one "
                "picture, but one is listed as abnormal and one is not; correct the lists, or "
                "leave both out"
            )
            raise ConfigError(msg)
    group_of = _groups(candidates, pairs)
    members: dict[str, set[str]] = defaultdict(set)
    for patient, group in group_of.items():
        members[group].add(patient)
    tests = {group_of[one.patient] for one in candidates if one.study_instance_uid in sick}
    return Placed(
        split_of={
            patient: TEST if group in tests else shares.split(_place(min(members[group])))
            for patient, group in group_of.items()
        },
        joined=sum(len(group) for group in members.values() if len(group) > 1),
        copies=len(pairs),
    )


def refuse_empty(lines: Iterable[str], shares: Shares, not_taken: Mapping[str, int]) -> None:
    """Refuse a cohort that cannot be trained on; ``lines`` are the healthy series' splits.

    ``not_taken`` counts, by the code of their reason, the studies that gave no series.

    Raises:
        ConfigError: nobody learns, stops or calibrates.
    """
    lines = list(lines)
    there = set(lines)
    wanted = [TRAIN, EARLY_STOP, CALIBRATION, *([TEST] if shares.test else [])]
    if empty := [name for name in wanted if name not in there]:
        reasons = ", ".join(f"{number} {code}" for code, number in sorted(not_taken.items()))
        msg = (
            f"no healthy series fell to {', '.join(empty)}: {len(lines)} are too few for these "
            f"shares (studies not taken: {reasons or 'none'}); add studies, or raise --early-stop "
            "or --calibration"
        )
        raise ConfigError(msg)


def _place(digest: str) -> float:
    """Give a keyed digest's place in [0, 1); its last digits, which nothing else looks at."""
    return int(digest[-13:], 16) / 16**13


def _pairs(candidates: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Give the series of different patients that show the same picture, nearly or wholly."""
    if not candidates:
        return []
    thumbnails = np.stack([one.direction() for one in candidates])
    found = []
    for start in range(0, len(candidates), CHUNK):
        alike = thumbnails[start : start + CHUNK] @ thumbnails.T
        for row, column in np.argwhere(alike >= ALIKE):
            one, other = candidates[start + int(row)], candidates[int(column)]
            if start + row < column and one.recipe == other.recipe:
                found.append((one, other))
    return [(one, other) for one, other in found if one.patient != other.patient]


def _groups(
    candidates: Sequence[Candidate], pairs: Iterable[tuple[Candidate, Candidate]]
) -> dict[str, str]:
    """Give each patient the name of its person: the smallest of those it is joined with."""
    parent = {one.patient: one.patient for one in candidates}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            patient = parent[patient]
        return patient

    for one, other in pairs:
        first, second = sorted((root(one.patient), root(other.patient)))
        parent[second] = first
    return {patient: root(patient) for patient in parent}
