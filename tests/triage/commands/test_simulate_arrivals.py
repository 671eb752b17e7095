"""When studies come: by a log, by a profile; the same seed, the same day."""

from collections import Counter
from pathlib import Path

import pytest

from triage.commands.simulate_arrivals import (
    DAY,
    IMAGES,
    Arrival,
    Period,
    poisson,
    read_log,
    read_profile,
)
from triage.errors import ConfigError

HEAD = "time,modality,body_part,images,abnormal\n"
WHOLE = "hour,CT,DX,MR\n" + "".join(f"{hour},{hour},0.5,0\n" for hour in range(24))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "times",
    [
        ("60", "0", "90.5"),
        ("08:01", "08:00:00", "08:01:30.5"),
        ("2026-01-02T08:01:00", "2026-01-02T08:00:00", "2026-01-02T08:01:30.500"),
    ],
    ids=["seconds", "clock", "ISO 8601"],
)
def test_a_log_is_read_in_order_of_time_whatever_its_clock(
    tmp_path: Path, times: tuple[str, str, str]
) -> None:
    kinds = ("ct,head,300,no", "DX, chest ,1,yes", "MR,HEAD,20,1")
    text = HEAD + "".join(f"{time},{kind}\n" for time, kind in zip(times, kinds, strict=True))
    assert read_log(written(tmp_path, text)) == [
        Arrival(0.0, "DX", "CHEST", 1, abnormal=True),
        Arrival(60.0, "CT", "HEAD", 300, abnormal=False),
        Arrival(90.5, "MR", "HEAD", 20, abnormal=True),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,modality\n1,CT\n", "line 1: no column abnormal, body_part, images"),
        (HEAD, "holds no arrival"),
        (HEAD + "0,US,HEAD,1,no\n", "line 2: write a modality"),
        (HEAD + "0,CT,HEAD,1,no\nsoon,CT,HEAD,1,no\n", "line 3: write a time"),
        (HEAD + "1:2:3:4,CT,HEAD,1,no\n", "line 2: write a time"),
        (HEAD + "nan,CT,HEAD,1,no\n", "line 2: write a time"),
        (HEAD + "0,CT,HEAD,0,no\n", "line 2: write 1 to"),
        (HEAD + "0,CT,HEAD,1,perhaps\n", "line 2: write abnormal"),
    ],
)
def test_a_log_that_is_wrong_says_where(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_log(written(tmp_path, text))


def test_a_log_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_log(tmp_path / "none.csv")


def test_a_profile_is_read_by_hour_and_modality(tmp_path: Path) -> None:
    rates = read_profile(written(tmp_path, WHOLE))
    assert rates["CT"] == [float(hour) for hour in range(24)]
    assert rates["MR"] == [0.0] * 24


@pytest.mark.parametrize(
    "text",
    [WHOLE.rpartition("23")[0], WHOLE.replace("\n5,5", "\n5,-5"), WHOLE + "24,1,1,1\n"],
    ids=["an hour is missing", "a negative rate", "an hour too many"],
)
def test_a_profile_that_is_wrong_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read_profile(written(tmp_path, text))


def test_a_day_has_as_many_studies_as_its_rates_say() -> None:
    days = [poisson(DAY, Period(0, 24), seed) for seed in range(20)]
    for modality, rates in DAY.items():
        mean = sum(rates) * len(days)
        found = sum(Counter(one.modality for one in day)[modality] for day in days)
        assert abs(found - mean) < 5 * mean**0.5  # five standard deviations
    busy = sum(9 * 3600 <= one.at_s < 12 * 3600 for day in days for one in day)
    night = sum(1 * 3600 <= one.at_s < 4 * 3600 for day in days for one in day)
    assert busy > 5 * night


def test_the_same_seed_gives_the_same_day_and_another_seed_another() -> None:
    period = Period(start_hour=22.5, hours=4)
    first, again, other = (poisson(DAY, period, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first, key=lambda one: one.at_s)
    assert all(0 <= one.at_s < 4 * 3600 for one in first)
    assert all(IMAGES[one.modality][0] <= one.images <= IMAGES[one.modality][1] for one in first)


def test_a_period_goes_over_midnight_with_the_rates_of_its_hours() -> None:
    only_at_one = {"CT": [0.0] + [500.0] + [0.0] * 22}
    found = poisson(only_at_one, Period(start_hour=23.5, hours=4), seed=1)
    assert found
    assert all(1.5 * 3600 <= one.at_s < 2.5 * 3600 for one in found)
