import json
from pathlib import Path

import numpy as np
import pytest

from triage.errors import ConfigError
from triage.flags import alpha_for, expected_flags_a_day, promise, sizes
from triage.settings import Level

LEVELS = (
    Level(name="high", p_at_most=0.02, priority=2),
    Level(name="raised", p_at_most=0.05, priority=1),
)


@pytest.mark.parametrize("n", [59, 99, 342])
def test_the_rate_of_drawn_calibrations_lies_in_the_interval_19_times_of_20(n: int) -> None:
    said = promise(n, 0.05)
    draws = np.sort(np.random.default_rng(0).random((4000, n)))
    k = round(said.rate * (n + 1))
    realised = 1 - draws[:, n - k]  # scores are uniform: the share above the k-th strangest
    inside = (said.low <= realised) & (realised <= said.high)
    assert realised.mean() == pytest.approx(said.rate, abs=0.002)
    assert inside.mean() == pytest.approx(0.95, abs=0.015)
    assert said.rate <= 0.05


@pytest.mark.parametrize(("n", "alpha"), [(18, 0.05), (49, 0.01), (0, 0.05)])
def test_a_level_that_no_study_can_reach_flags_nothing(n: int, alpha: float) -> None:
    said = promise(n, alpha)
    assert (said.rate, said.low, said.high) == (0.0, 0.0, 0.0)


def test_the_first_rank_that_reaches_alpha_counts() -> None:
    assert promise(19, 0.05).rate == pytest.approx(0.05)
    assert promise(99, 0.02).rate == pytest.approx(0.02)


def test_a_day_of_each_stratum_and_level_is_counted_and_an_uncalibrated_one_is_not() -> None:
    arrivals = {"DX/CHEST/adult": 100.0, "DX/HAND": 30.0}
    found = expected_flags_a_day({"DX/CHEST/adult": 199, "DX/CHEST/child": 99}, arrivals, LEVELS)
    assert [(one.stratum, one.level) for one in found] == [
        ("DX/CHEST/adult", "high"),
        ("DX/CHEST/adult", "raised"),
    ]
    raised = found[1]
    assert raised.flags_a_day == pytest.approx(5.0)
    assert raised.low < 5.0 < raised.high
    assert raised.busy_day > raised.flags_a_day


def test_19_days_of_20_bring_at_most_the_busy_day() -> None:
    (found,) = expected_flags_a_day({"S": 199}, {"S": 120.0}, LEVELS[1:])
    draw = np.random.default_rng(1)
    rates = draw.beta(10, 190, 20_000)
    days = draw.binomial(120, rates)
    assert (days <= found.busy_day).mean() >= 0.945
    assert (days <= found.busy_day - 1).mean() < 0.955


@pytest.mark.parametrize(("arrivals", "flags"), [(100.0, 5.0), (400.0, 3.0), (20.0, 2.0)])
def test_alpha_for_flags_a_day_is_the_largest_that_keeps_to_them(
    arrivals: float, flags: float
) -> None:
    n = 500
    alpha = alpha_for(n, arrivals, flags)
    assert alpha is not None
    assert promise(n, alpha).high * arrivals <= flags
    assert promise(n, alpha + 1 / (n + 1)).high * arrivals > flags


def test_no_alpha_keeps_to_fewer_flags_than_the_calibration_can_tell() -> None:
    assert alpha_for(50, 1000.0, 0.5) is None


def test_the_sizes_are_read_from_the_artifact_s_folder(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps({"strata": {"DX/CHEST": [1, 2, 3]}}))
    assert sizes(tmp_path) == {"DX/CHEST": 3}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"strata": {"a": 3}}', '{"strata": []}'])
def test_a_damaged_calibration_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(ConfigError, match="install the artifact again"):
        sizes(tmp_path)
