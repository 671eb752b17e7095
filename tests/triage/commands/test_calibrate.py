"""From healthy studies to a calibrated artifact and a threshold, or a refusal with its remedy."""

import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import artifact
from models.calibrate import Place, Uncalibrated
from models.files import sha256
from models.manifest import REFERENCES
from tests.triage.commands.cli import Answer, triage
from tests.triage.commands.cohorts import radiographs, saved
from tests.triage.commands.labelled import Line, write_artifact, write_folder
from triage.flags import promise

STRATUM = "DX/CHEST/adult"
SCORES = "triage.commands.calibrate_scores.score_slices"
LINES: list[Line] = [
    *(("a", "calibration", 0, f"n{i // 2}" if i < 8 else f"n{i}") for i in range(64)),
    *(("a", "test", 0, f"h{i}") for i in range(30)),
    *(("a", "test", 1, f"s{i}") for i in range(6)),
    *(("b", "test", 0, f"b{i}") for i in range(4)),
    *(("b", "test", 1, f"c{i}") for i in range(4)),
    *(("few", "calibration", 0, f"f{i}") for i in range(5)),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures/ and detector/."""
    home = tmp_path_factory.mktemp("calibrate")
    write_folder(home / "pictures", LINES)
    write_artifact(home / "detector", strata={"DX/CHEST": [0.1] * 60})
    return home


def run(home: Path, state: Path, *words: object) -> Answer:
    normals = () if "--normals" in words else ("--normals", home / "pictures")
    named = () if "--subset" in words else ("--subset", "a")
    return triage(
        "calibrate", home / "detector", *normals, *named, "--stratum", STRATUM, *words,
        "--state", state,
    )  # fmt: skip


@pytest.fixture(scope="module")
def state(home: Path) -> Path:
    """A site with a configuration of its own, and the detector calibrated there."""
    state = home / "state"
    assert triage("config", "init", "--state", state).code == 0
    found = run(home, state, "--alpha", "0.05", "--json", "--yes")
    assert found.code == 0, found.err
    (home / "said.json").write_text(found.out)
    return state


@pytest.fixture(scope="module")
def saved_one(state: Path) -> artifact.Artifact:
    return artifact.load(state / "artifacts" / "generated")


def test_each_patient_counts_once_and_the_promise_has_an_interval(home: Path, state: Path) -> None:
    said = json.loads((home / "said.json").read_text())
    row = next(row for row in said["strata"] if row["stratum"] == STRATUM)
    assert (row["patients"], row["studies"]) == (60, 64)
    expected = promise(60, 0.05)
    assert (row["false_flags"], row["low"], row["high"]) == (
        expected.rate, expected.low, expected.high,
    )  # fmt: skip
    assert said["saved"]["artifact"] == str(state / "artifacts" / "generated")


def test_the_calibration_is_saved_with_the_same_weights_and_its_facts(
    home: Path, saved_one: artifact.Artifact
) -> None:
    first = artifact.load(home / "detector")
    assert saved_one.weights_sha256 == first.weights_sha256
    assert saved_one.calibration_sha256 != first.calibration_sha256
    assert saved_one.calibration.facts[STRATUM].seen == {"site=A": 60}
    assert len(saved_one.calibration.images) == 64
    assert saved_one.references is None, "pictures are kept only where somebody asks for them"
    assert saved_one.calibration.date in (saved_one.folder / "README.md").read_text()


def test_another_source_is_uncalibrated_in_serving_and_in_measuring(
    home: Path, state: Path, saved_one: artifact.Artifact
) -> None:
    from models.calibrate import Rule

    with pytest.raises(Uncalibrated, match="site"):
        saved_one.calibration.p_value_at(0.1, Place((STRATUM,), {"site": "B"}), Rule(50))
    found = triage(
        "evaluate", saved_one.folder, "--data", home / "pictures", "--subset", "b", "--state", state
    )
    assert found.code == 3
    assert "uncalibrated" in found.err
    assert "triage calibrate" in found.err


def test_held_back_healthy_ones_of_the_same_source_are_measured(
    home: Path, state: Path, saved_one: artifact.Artifact
) -> None:
    found = triage(
        "evaluate", saved_one.folder, "--data", home / "pictures", "--subset", "a",
        "--stratum", STRATUM, "--state", state, "--json",
    )  # fmt: skip
    assert found.code == 0, found.err
    flags = found.json["results"][0]["false_flags"]
    assert flags["low"] <= promise(60, 0.05).high


def test_the_threshold_stands_in_the_policy_and_its_comments_stay(home: Path, state: Path) -> None:
    path = state / "configs" / "policy.yaml"
    before = path.read_text()
    found = run(home, state, "--flags-a-day", "9", "--arrivals", "80", "--level", "high", "--yes")
    assert found.code == 0, found.err
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), path.read_text().splitlines(), strict=True)
        if old != new
    ]
    [(old, new)] = changed
    assert old.partition("#")[2] == new.partition("#")[2] != ""
    shown = triage("config", "show", "--state", state, "--json").json["policy"]["levels"]
    (alpha,) = (one["p_at_most"] for one in shown if one["name"] == "high")
    assert promise(60, alpha).high * 80 <= 9
    assert promise(60, alpha + 1 / 61).high * 80 > 9
    path.write_text(before)


def test_the_former_calibration_is_kept(
    home: Path, saved_one: artifact.Artifact, tmp_path: Path
) -> None:
    folder = tmp_path / "artifacts" / "generated"
    shutil.copytree(saved_one.folder, folder)
    manifest = sha256((folder / "MANIFEST.sha256").read_bytes())
    found = run(home, tmp_path, "--any-site", "--json", "--yes").json
    kept = Path(found["saved"]["former"])
    assert sha256((kept / "MANIFEST.sha256").read_bytes()) == manifest
    assert artifact.load(kept).calibration.facts[STRATUM].seen == {"site=A": 60}
    assert artifact.load(folder).calibration.facts[STRATUM].seen == {}


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_the_curve_is_drawn_before_anything_is_saved(
    home: Path, tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found = run(home, tmp_path)
    assert found.code == 1
    assert "Curve:" in found.out
    drawn = (tmp_path / "runs" / "calibrate-detector" / "curve.svg").read_text()
    assert f"{STRATUM}, 60 healthy patients" in drawn
    assert drawn.count("<polygon") == 2
    assert not (tmp_path / "artifacts").exists()


def test_a_run_that_was_killed_goes_on_and_comes_to_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triage.detect import score_slices

    whole = run(home, tmp_path / "whole", "--json", "--yes").json["strata"]
    scored: list[None] = []

    def dies(*args: object, **words: object) -> object:
        if len(scored) == 40:
            raise KeyboardInterrupt
        scored.append(None)
        return score_slices(*args, **words)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SCORES, dies)
        with pytest.raises(KeyboardInterrupt):
            calibrate_directly(home, tmp_path / "killed")
    journal = tmp_path / "killed" / "runs" / "calibrate-detector" / "scored.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])  # the last line was not yet whole
    assert len(journal.read_text().splitlines()) == 40
    scored.clear()
    monkeypatch.setattr(SCORES, dies)
    assert run(home, tmp_path / "killed", "--json", "--yes").json["strata"] == whole
    assert len(scored) == 64 - 39
    assert not journal.exists()


def calibrate_directly(home: Path, state: Path) -> None:
    from triage import settings
    from triage.commands.calibrate import Asked, calibrate
    from triage.commands.calibrate_sources import Wanted

    wanted = Wanted(home / "pictures", subsets=("a",), strata={"": STRATUM})
    run_ = state / "runs" / "calibrate-detector"
    calibrate(home / "detector", Asked(wanted), settings.load(state), run_)


def test_dicom_studies_calibrate_their_scanner_and_no_other(home: Path, tmp_path: Path) -> None:
    studies = radiographs(52)
    for number, study in enumerate(studies):
        study.PatientID = f"CANARY-{number}"
        study.Manufacturer, study.ManufacturerModelName = "Acme", "One"
        study.ViewPosition = "PA"
    folder = saved(tmp_path / "dicom", *studies)
    found = triage(
        "calibrate", home / "detector", "--normals", folder, "--references", "--json", "--yes",
        "--state", tmp_path / "state",
    )  # fmt: skip
    assert found.code == 0, found.err
    loaded = artifact.load(tmp_path / "state" / "artifacts" / "generated")
    references, calibration = loaded.references, loaded.calibration
    assert references is not None
    assert sorted(references.studies_N.tolist()) == list(range(52))
    assert set(references.strata) == {"DX/CHEST/child"}
    assert b"CANARY" not in (loaded.folder / REFERENCES).read_bytes()
    pooled = calibration.facts["DX/CHEST"]
    assert pooled.patients == 52
    assert pooled.seen["scanner=ACME ONE"] == 52
    assert "DX/CHEST/view=PA" in calibration.strata
    assert "CANARY" not in found.out
    assert not any("CANARY" in path.read_text() for path in (tmp_path / "state").rglob("*.json"))


def alone(home: Path, lines: list[Line], folder: Path) -> Callable[..., Answer]:
    """Give the command on a folder of its own."""
    write_folder(folder, lines)

    def call(*words: object) -> Answer:
        return triage(
            "calibrate", home / "detector", "--normals", folder, "--stratum", STRATUM, *words,
            "--yes", "--state", folder / "state",
        )  # fmt: skip

    return call


class TestRefusals:
    def test_too_few_healthy_patients(self, home: Path, tmp_path: Path) -> None:
        found = run(home, tmp_path, "--subset", "few", "--yes")
        assert found.code == 3
        assert "too few healthy patients" in found.err
        assert "DX/CHEST/adult 5" in found.err
        assert "needs 50" in found.err
        assert not (tmp_path / "artifacts").exists()

    def test_a_threshold_that_so_few_cannot_promise(self, home: Path, state: Path) -> None:
        found = run(home, state, "--alpha", "0.01", "--yes")
        assert found.code == 3
        assert "has 60 healthy patients and needs 199" in found.err

    def test_flags_a_day_that_so_few_cannot_promise(self, home: Path, state: Path) -> None:
        found = run(home, state, "--flags-a-day", "1", "--arrivals", "500", "--yes")
        assert found.code == 3
        assert "cannot be promised" in found.err
        assert "add healthy studies, or allow more flags" in found.err

    def test_scores_that_are_no_numbers(self, home: Path, tmp_path: Path) -> None:
        loaded = artifact.load(home / "detector")
        for weight in loaded.detector.parameters():
            weight.data.fill_(math.nan)
        artifact.save(tmp_path / "nan", loaded.detector, loaded.card, loaded.calibration, "x\n")
        found = triage(
            "calibrate", tmp_path / "nan", "--normals", home / "pictures", "--subset", "a",
            "--stratum", STRATUM, "--yes", "--state", tmp_path,
        )  # fmt: skip
        assert found.code == 3
        assert "score is not finite" in found.err
        assert "train it again" in found.err

    def test_tests_of_the_cohort_itself(self, home: Path, tmp_path: Path) -> None:
        found = run(home, tmp_path, "--split", "test", "--yes")
        assert found.code == 3
        assert "measures" in found.err

    def test_a_patient_who_tests_as_well(self, home: Path, tmp_path: Path) -> None:
        call = alone(home, [*LINES[:64], ("a", "test", 0, "n20")], tmp_path / "leak")
        found = call()
        assert found.code == 3
        assert "tests the same patient" in found.err

    def test_studies_the_detector_was_trained_on(self, home: Path, tmp_path: Path) -> None:
        write_artifact(tmp_path / "seen", used=[home / "pictures" / "9.png"], strata={"S": [0.1]})
        found = triage(
            "calibrate", tmp_path / "seen", "--normals", home / "pictures", "--subset", "a",
            "--stratum", STRATUM, "--yes", "--state", tmp_path,
        )  # fmt: skip
        assert found.code == 3
        assert "were used to train this detector" in found.err

    def test_a_calibration_is_not_measured_on_its_own_studies(
        self, home: Path, saved_one: artifact.Artifact, state: Path
    ) -> None:
        found = triage(
            "evaluate", saved_one.folder, "--data", home / "pictures", "--subset", "a",
            "--split", "calibration", "--split", "test", "--stratum", STRATUM, "--state", state,
        )  # fmt: skip
        assert found.code == 3
        assert "was used to train or calibrate" in found.err

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--subset", "a", "--split", "never"), "no split never"),
            (("--subset", "zz"), "no subset zz"),
            (("--subset", "b", "--split", "calibration"), "holds no healthy study"),
            (("--alpha", "0.05", "--level", "none"), "no level none"),
        ],
    )
    def test_what_is_not_there(
        self, home: Path, state: Path, words: tuple[str, ...], said: str
    ) -> None:
        found = run(home, state, *words, "--yes")
        assert found.code == 3
        assert said in found.err

    def test_a_stratum_that_was_not_named(self, home: Path, tmp_path: Path) -> None:
        found = triage(
            "calibrate", home / "detector", "--normals", home / "pictures", "--subset", "a",
            "--yes", "--state", tmp_path,
        )  # fmt: skip
        assert found.code == 3
        assert "--stratum a=DX/CHEST/adult" in found.err

    def test_a_policy_that_is_not_the_site_s(self, home: Path, tmp_path: Path) -> None:
        found = run(home, tmp_path, "--alpha", "0.1", "--yes")
        assert found.code == 3
        assert "triage config init" in found.err

    @pytest.mark.parametrize(
        "words",
        [
            ("--alpha", "0.05", "--flags-a-day", "3", "--arrivals", "9"),
            ("--flags-a-day", "3"),
            ("--aggregation", "median"),
            ("--json",),
        ],
    )
    def test_options_that_contradict_each_other(
        self, home: Path, tmp_path: Path, words: tuple[str, ...]
    ) -> None:
        assert run(home, tmp_path, *words).code == 2

    def test_an_artifact_that_is_damaged(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "broken").mkdir()
        found = triage(
            "calibrate", tmp_path / "broken", "--normals", home / "pictures", "--yes",
            "--state", tmp_path,
        )  # fmt: skip
        assert found.code == 3
        assert "MANIFEST" in found.err


def test_an_artifact_without_calibration_is_not_scored_until_it_has_one(
    home: Path, tmp_path: Path
) -> None:
    write_artifact(tmp_path / "bare", strata={})
    loaded = artifact.load(tmp_path / "bare")
    with pytest.raises(Uncalibrated):
        loaded.calibration.p_value(0.1, (STRATUM,), minimum=50)
    found = triage(
        "calibrate", tmp_path / "bare", "--normals", home / "pictures", "--subset", "a",
        "--stratum", STRATUM, "--yes", "--state", tmp_path,
    )  # fmt: skip
    assert found.code == 0, found.err
    calibrated = artifact.load(tmp_path / "artifacts" / "generated")
    scores = calibrated.detector.score(torch.rand(1, 1, 64, 64)).score_N
    assert calibrated.calibration.p_value(float(scores[0]), (STRATUM,), minimum=50).n == 60
