"""Whether a detector flags as it did, and what a threshold costs in flags a day."""

import json
import shutil
from pathlib import Path

import pytest

from models import artifact
from models.calibrate import Calibration
from tests.triage.keyring import known, private
from triage.settings import Settings
from triage.sshsig import sign
from triage.trust import NAMESPACE, Trust
from triage.worklist import cards
from triage.worklist.cards import Stratum
from triage.worklist.watching import compare


@pytest.mark.parametrize(
    ("recent", "before", "state"),
    [
        ((29, 29), (1000, 10), "too few to tell"),
        ((1000, 10), (29, 29), "too few to tell"),
        ((200, 10), (800, 40), "as before"),
        ((200, 16), (800, 40), "as before"),
        ((200, 40), (800, 40), "more flags"),
        ((400, 0), (800, 80), "fewer flags"),
        ((100, 0), (100, 0), "as before"),
    ],
)
def test_two_shares_are_held_apart_by_their_standard_error(
    recent: tuple[int, int], before: tuple[int, int], state: str
) -> None:
    assert compare(recent, before) == state


@pytest.mark.parametrize("n", [49, 50, 95, 99, 463])
@pytest.mark.parametrize("p", [0.005, 0.01, 0.02, 0.05, 0.1, 0.5])
def test_a_threshold_s_score_and_share_are_those_of_the_p_values(n: int, p: float) -> None:
    scores = tuple(float(one) for one in range(n))
    stratum = Stratum("x", scores)
    calibration = Calibration(strata={"x": scores})
    score = stratum.score(p)
    # a healthy study falls into each of the n + 1 gaps between the scores alike
    gaps = [-1.0, *(one + 0.5 for one in scores)]
    flagged = [one for one in gaps if calibration.p_value(one, ("x",)).p <= p]
    assert stratum.expected(p) == pytest.approx(len(flagged) / (n + 1))
    assert (score is None) == (not flagged)
    if score is not None:
        assert min(flagged) == score + 0.5


def test_the_installed_detectors_are_read_as_the_workers_read_them(settings: Settings) -> None:
    found = {one.name: one for one in cards.installed(settings)}
    [card] = [one for one in found.values() if not one.problem]
    loaded = artifact.load(settings.artifacts[1] / card.name)
    assert (card.artifact_sha256, card.weights_sha256) == (loaded.sha256, loaded.weights_sha256)
    assert card.calibrated == loaded.card.fingerprint.calibration_date == "2026-11-21"
    assert {one.name: one.scores for one in card.strata} == loaded.calibration.strata


@pytest.mark.parametrize(
    ("name", "problem"),
    [("card.json", "is not what its manifest says"), ("MANIFEST.sha256", "cannot be read (KeyE")],
)
def test_a_changed_artifact_says_so(settings: Settings, name: str, problem: str) -> None:
    [own, zoo] = settings.artifacts
    [card] = [one for one in cards.installed(settings) if not one.problem]
    shutil.copytree(zoo / card.name, own / card.name)
    changed = Path(own / card.name / name)
    if name == "card.json":
        changed.write_text(json.dumps({}))
    else:
        changed.unlink()
    [found] = [one for one in cards.installed(settings) if one.name == card.name]
    assert found.problem.startswith(problem[:14])


def test_a_detector_without_the_signature_that_is_asked_for_says_so(settings: Settings) -> None:
    trust = Trust(artifact_keys=(known("ours").line,))
    site = settings.site.model_copy(update={"trust": trust})
    asking = settings.model_copy(update={"site": site})
    [card] = cards.installed(asking)
    assert "unsigned: checksums only" in card.problem
    own, zoo = asking.artifacts
    own.mkdir(exist_ok=True)
    text = sign(private("ours"), (zoo / card.name / "MANIFEST.sha256").read_bytes(), NAMESPACE)
    (own / f"{card.name}.sig").write_text(text)
    assert [one.problem for one in cards.installed(asking)] == [""]
