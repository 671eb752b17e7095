"""When studies come: a log of arrivals, or a Poisson process with a rate for each hour of the day.

Source: independent Poisson processes, piecewise constant by hour; counts within an hour are
Poisson, the moments uniform (Ross, Introduction to Probability Models, 5.3).
"""

import csv
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

from triage.errors import ConfigError

HOUR_S: Final = 3600.0
MODALITIES: Final = ("CT", "DX", "MR")
BODY_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "CT": ("HEAD", "CHEST"),
    "DX": ("CHEST",),
    "MR": ("HEAD",),
}
IMAGES: Final[Mapping[str, tuple[int, int]]] = {"CT": (24, 48), "DX": (1, 2), "MR": (16, 32)}
"""Fewest and most images of a study."""
LOG_COLUMNS: Final = ("time", "modality", "body_part", "images", "abnormal")
FLAGGED: Final = "flagged"
"""A column that a log may have: what a detector said, yes or no."""
YES: Final = frozenset({"yes", "y", "true", "1"})
NO: Final = frozenset({"no", "n", "false", "0", ""})
MAX_IMAGES: Final = 5000

_SHAPE: Final = (
    0.20, 0.15, 0.12, 0.10, 0.10, 0.15, 0.30, 0.60, 1.00, 1.30, 1.40, 1.30,
    1.10, 1.10, 1.30, 1.30, 1.10, 0.90, 0.70, 0.60, 0.50, 0.40, 0.30, 0.25,
)  # fmt: skip
_BUSY: Final[Mapping[str, float]] = {"CT": 8.0, "DX": 18.0, "MR": 4.0}
"""Studies an hour at a shape of one."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One study that a modality will make."""

    at_s: float
    """Simulated seconds since the start."""
    modality: str
    body_part: str
    images: int
    abnormal: bool
    flagged: bool | None = None
    """None where the log does not say."""


Profile = Mapping[str, Sequence[float]]
"""Modality -> studies an hour, for each of the 24 hours of the day."""

DAY: Final[Profile] = {
    modality: tuple(busy * share for share in _SHAPE) for modality, busy in _BUSY.items()
}
"""A department with quiet nights, a peak before noon and one after."""


@dataclass(frozen=True, slots=True)
class Period:
    """The simulated hours, and what share of the studies holds something."""

    start_hour: float = 8.0
    hours: float = 1.0
    abnormal: float = 0.15


def poisson(profile: Profile, period: Period, seed: int) -> list[Arrival]:
    """Draw the arrivals of a period, earliest first; the same seed gives the same ones."""
    dice = random.Random(seed)  # noqa: S311 - a simulation, no secret
    found = [
        _arrival(dice, moment_s, modality, period)
        for modality in sorted(profile)
        for begin_s, end_s, rate in _pieces(profile[modality], period)
        for moment_s in _moments(dice, begin_s, end_s, rate)
    ]
    return sorted(found, key=lambda one: one.at_s)


def read_log(path: Path) -> list[Arrival]:
    """Read a CSV with the columns time, modality, body_part, images, abnormal; earliest first.

    It may have a column flagged too. A time is a number of seconds, HH:MM[:SS] or ISO 8601; the
    earliest is the start.

    Raises:
        ConfigError: the file cannot be read, or a line of it; the line is named.
    """
    rows = list(_rows(path, LOG_COLUMNS))
    found = sorted((_logged(path, number, row) for number, row in rows), key=lambda one: one.at_s)
    if not found:
        msg = f"{path} holds no arrival; write a line for each below {','.join(LOG_COLUMNS)}"
        raise ConfigError(msg)
    first_s = found[0].at_s
    return [replace(one, at_s=one.at_s - first_s) for one in found]


def read_profile(path: Path) -> Profile:
    """Read a CSV with the columns hour, CT, DX, MR: studies an hour, for the hours 0 to 23.

    Raises:
        ConfigError: the file cannot be read, or an hour is missing or no rate.
    """
    rates: dict[str, list[float]] = {modality: [math.nan] * 24 for modality in MODALITIES}
    for number, row in _rows(path, ("hour", *MODALITIES)):
        try:
            hour = int(row["hour"])
            for modality in MODALITIES:
                rates[modality][hour] = float(row[modality])
        except (ValueError, IndexError):
            _wrong(path, number, "an hour from 0 to 23 and three numbers")
    if not all(rate >= 0 and math.isfinite(rate) for one in rates.values() for rate in one):
        msg = f"{path}: give each hour from 0 to 23 one line of rates that are not negative"
        raise ConfigError(msg)
    return rates


def _pieces(rates: Sequence[float], period: Period) -> Iterator[tuple[float, float, float]]:
    """Give begin, end (simulated seconds) and rate of each hour of the day within a period."""
    moment, end = period.start_hour, period.start_hour + period.hours
    while moment < end:
        until = min(math.floor(moment) + 1.0, end)
        rate = rates[int(moment) % 24]
        yield (moment - period.start_hour) * HOUR_S, (until - period.start_hour) * HOUR_S, rate
        moment = until


def _moments(dice: random.Random, begin_s: float, end_s: float, rate: float) -> Iterator[float]:
    """Give moments with exponential gaps, ``rate`` an hour on average."""
    moment_s = begin_s
    while rate > 0 and (moment_s := moment_s + dice.expovariate(rate / HOUR_S)) < end_s:
        yield moment_s


def _arrival(dice: random.Random, at_s: float, modality: str, period: Period) -> Arrival:
    return Arrival(
        at_s=at_s,
        modality=modality,
        body_part=dice.choice(BODY_PARTS[modality]),
        images=dice.randint(*IMAGES[modality]),
        abnormal=dice.random() < period.abnormal,
    )


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Give a CSV's lines with their numbers, values stripped.

    Raises:
        ConfigError: the file cannot be read, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(columns) - set(reader.fieldnames or ())
            if missing:
                msg = f"{path}: line 1: no column {', '.join(sorted(missing))}"
                raise ConfigError(msg)
            for row in reader:
                wanted = (*columns, *({FLAGGED} & row.keys()))
                yield reader.line_num, {name: (row[name] or "").strip() for name in wanted}
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        msg = f"{path} cannot be read ({type(why).__name__}); give a CSV file in UTF-8"
        raise ConfigError(msg) from None


def _logged(path: Path, number: int, row: Mapping[str, str]) -> Arrival:
    modality, abnormal = row["modality"].upper(), row["abnormal"].lower()
    flagged = row.get(FLAGGED, "").lower()
    if modality not in MODALITIES:
        _wrong(path, number, f"a modality of {', '.join(MODALITIES)}")
    if not {abnormal, flagged} <= YES | NO:
        _wrong(path, number, "abnormal, and flagged, yes or no")
    if not row["images"].isdecimal() or not 1 <= int(row["images"]) <= MAX_IMAGES:
        _wrong(path, number, f"1 to {MAX_IMAGES} images")
    return Arrival(
        at_s=_seconds(path, number, row["time"]),
        modality=modality,
        body_part=row["body_part"].upper(),
        images=int(row["images"]),
        abnormal=abnormal in YES,
        flagged=flagged in YES if FLAGGED in row else None,
    )


def _seconds(path: Path, number: int, text: str) -> float:
    try:
        if "T" in text or "-" in text[1:]:
            return datetime.fromisoformat(text).timestamp()
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(map(math.isfinite, parts)):
        _wrong(path, number, "a time as seconds, HH:MM[:SS] or ISO 8601")
    if len(parts) == 1:
        return parts[0]
    return sum(part * unit for part, unit in zip(parts, (3600.0, 60.0, 1.0), strict=False))


def _wrong(path: Path, number: int, wanted: str) -> NoReturn:
    msg = f"{path}: line {number}: write {wanted}"
    raise ConfigError(msg)
