"""Strata of healthy studies: one score a patient, in every stratum that is large enough."""

import math

import numpy as np
import pytest

from models.calibrate import Calibration, Place, Rule, Uncalibrated, aggregate
from models.healthy import Healthy, NotFinite, calibrate_studies

BASE = ("DX/CHEST/adult", "DX/CHEST")
RULE = Rule(minimum=50, narrow=200, seen=20)


def place(scanner: str = "A", view: str = "PA", base: tuple[str, ...] = BASE) -> Place:
    return Place(base, {"view": view, "site": "NORTH", "scanner": scanner})


def studies(count: int, scanner: str = "A", view: str = "PA", seed: int = 0) -> list[Healthy]:
    scores = np.random.default_rng(seed).random(count)
    return [
        Healthy(f"{scanner}{view}{at}", "1", float(score), place(scanner, view))
        for at, score in enumerate(scores)
    ]


@pytest.fixture(scope="module")
def mixed() -> Calibration:
    """Two scanners: one with enough for a stratum of its own, one with enough to be mixed in."""
    found = [*studies(220, "A"), *studies(30, "B"), *studies(5, "C")]
    return calibrate_studies(found, RULE)


def test_a_scanner_with_enough_patients_has_a_stratum_of_its_own(mixed: Calibration) -> None:
    found = mixed.p_value_at(0.5, place("A"), RULE)
    assert (found.stratum, found.n) == ("DX/CHEST/adult/view=PA/scanner=A", 220)
    assert found.fallback == ()


def test_a_scanner_with_fewer_is_judged_by_the_stratum_that_it_is_a_part_of(
    mixed: Calibration,
) -> None:
    found = mixed.p_value_at(0.5, place("B"), RULE)
    assert (found.stratum, found.n) == ("DX/CHEST/adult/view=PA/site=NORTH", 255)


@pytest.mark.parametrize("scanner", ["C", "NEVER SEEN", "UNKNOWN"])
def test_a_scanner_hardly_or_never_seen_is_not_scored_by_luck(
    mixed: Calibration, scanner: str
) -> None:
    with pytest.raises(Uncalibrated, match="have this study's scanner") as why:
        mixed.p_value_at(0.5, place(scanner), RULE)
    assert "NEVER" not in str(why.value), "a message says no value of a header"


def test_a_view_never_seen_is_not_scored(mixed: Calibration) -> None:
    with pytest.raises(Uncalibrated, match="view"):
        mixed.p_value_at(0.5, place("A", view="LL"), RULE)


def test_an_age_band_never_seen_is_not_judged_by_the_pooled_stratum(mixed: Calibration) -> None:
    child = ("DX/CHEST/child", "DX/CHEST")
    with pytest.raises(Uncalibrated, match="band"):
        mixed.p_value_at(0.5, place("A", base=child), RULE)


def test_what_the_calibration_never_knew_is_not_asked() -> None:
    plain = [Healthy(str(at), "1", at / 99, Place(BASE)) for at in range(99)]
    found = calibrate_studies(plain, RULE).p_value_at(0.5, place("ANY"), RULE)
    assert (found.stratum, found.n) == ("DX/CHEST/adult", 99)


def test_a_patient_counts_once_whatever_the_number_of_studies() -> None:
    busy = [Healthy("one", str(at), 9.0, Place(BASE)) for at in range(500)]
    found = calibrate_studies([*studies(60), *busy], RULE)
    facts = found.facts["DX/CHEST"]
    assert (facts.patients, facts.studies, facts.images) == (61, 560, 560)
    assert found.strata["DX/CHEST"].count(9.0) == 1


def test_the_study_that_speaks_for_a_patient_is_not_chosen_by_its_score() -> None:
    scores = range(9)
    up = [Healthy("one", str(at), float(at), Place(BASE)) for at in scores]
    down = [Healthy("one", str(at), float(-at), Place(BASE)) for at in scores]
    (first,) = calibrate_studies(up, RULE).strata["DX/CHEST"]
    (second,) = calibrate_studies(reversed(down), RULE).strata["DX/CHEST"]
    assert first == -second


def test_repeated_patients_do_not_break_the_promise() -> None:
    """Patients differ from each other, and some come far more often: pooling would be wrong."""
    rng, alone = np.random.default_rng(0), Place(("S",))
    found = []
    for _ in range(300):
        level = rng.normal(size=60)
        often = np.where(level < -1, 10, 1)  # the least strange ones come often
        known = [
            Healthy(str(person), str(at), float(level[person] + rng.normal() / 9), alone)
            for person in range(59)
            for at in range(often[person])
        ]
        new = float(level[59] + rng.normal() / 9)
        found.append(calibrate_studies(known, RULE).p_value(new, ("S",), minimum=50).p)
    for alpha in (0.05, 0.2, 0.5):
        spread = math.sqrt(alpha * (1 - alpha) / 300)
        assert np.mean(np.array(found) <= alpha) == pytest.approx(alpha, abs=3.3 * spread)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_no_numbers_calibrate_nothing(score: float) -> None:
    with pytest.raises(NotFinite, match="1 of 61 healthy studies"):
        calibrate_studies([*studies(60), Healthy("x", "1", score, Place(BASE))], RULE)


def test_the_peaks_of_maps_are_kept_only_where_every_study_has_one() -> None:
    with_map = [
        Healthy(str(at), "1", 0.1, Place(BASE), peak=float(at)) for at in reversed(range(60))
    ]
    assert calibrate_studies(with_map, RULE).peaks["DX/CHEST"][:2] == (0.0, 1.0)
    assert calibrate_studies([*with_map, *studies(1)], RULE).peaks == {}


@pytest.mark.parametrize(("how", "score"), [("max", 5.0), ("top3", 4.0)])
def test_slices_make_a_study_s_score_as_the_calibration_says(how: str, score: float) -> None:
    assert aggregate([3.0, 5.0, 1.0, 4.0, 0.0], how) == score
    assert aggregate([2.0], how) == 2.0


def test_an_unknown_way_to_aggregate_is_refused() -> None:
    with pytest.raises(ValueError, match="max, top3"):
        Calibration(strata={}, aggregation="median")


def test_it_survives_json_bit_by_bit(mixed: Calibration) -> None:
    assert Calibration.model_validate_json(mixed.model_dump_json()) == mixed
