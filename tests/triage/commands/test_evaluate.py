"""From labelled pictures and an artifact to numbers, a page, or a refusal."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models import artifact
from models.metrics import auroc
from tests.triage.commands.cli import triage
from tests.triage.commands.labelled import LINES, STRATUM, write_artifact, write_folder
from triage import settings
from triage.commands.evaluate import Question, evaluate
from triage.commands.evaluate_page import interval, lines
from triage.commands.evaluation import Report
from triage.commands.measure import prepare, scores
from triage.commands.training_plan import read_pictures
from triage.errors import ConfigError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures/ and artifact/."""
    home = tmp_path_factory.mktemp("evaluate")
    write_folder(home / "pictures")
    write_artifact(home / "artifact", used=[home / "pictures" / f"{i}.png" for i in range(8)])
    return home


@pytest.fixture(scope="module")
def written(home: Path) -> tuple[Report, Path]:
    out = home / "out"
    return evaluate(home / "artifact", Question(home / "pictures"), out=out), out


def test_every_number_follows_from_the_scores(home: Path, written: tuple[Report, Path]) -> None:
    found = next(one for one in written[0].results if one.subset == "a")
    loaded = artifact.load(home / "artifact")
    pictures = [
        one for one in read_pictures(home / "pictures") if one.subset == "a" and one.split == "test"
    ]
    recipe = settings.load().recipes["chest-radiograph"]
    raw = np.asarray(scores(loaded.detector, prepare(pictures, recipe).voxels))
    sick = np.asarray([one.abnormal for one in pictures])
    # 39 healthy ones calibrate, so p <= 0.05 means: above all but one of them.
    cut = loaded.calibration.strata[STRATUM][-2]
    flagged = raw > cut
    assert (found.healthy, found.abnormal, found.patients) == (12, 10, 17)
    assert found.threshold == pytest.approx(cut)
    assert found.auroc.value == pytest.approx(auroc(raw[~sick], raw[sick]))
    assert found.sensitivity.value == pytest.approx(flagged[sick].mean())
    assert found.false_flags.value == pytest.approx(flagged[~sick].mean())
    assert found.accuracy.value == pytest.approx((flagged == sick).mean())
    hits = (flagged & sick).sum()
    assert found.f1.value == pytest.approx(2 * hits / max(1, flagged.sum() + sick.sum()))
    assert found.false_flags.low <= found.false_flags.value <= found.false_flags.high
    assert found.baselines["5 nearest thumbnails"] > 0.9  # the opacity is plain to see


def test_the_page_says_what_the_json_says(written: tuple[Report, Path]) -> None:
    report, out = written
    assert Report.model_validate(json.loads((out / "report.json").read_text())) == report
    html = (out / "report.html").read_text()
    for result in report.results:
        assert interval(result.auroc) in html
        for name, value in lines(result):
            assert f'{name}</th><td class="n">{value}</td>' in html.replace("&lt;", "<")
    assert html.count("<svg ") == 3 * len(report.results)
    assert "For prioritization only. Not for diagnosis." in html


def test_the_page_needs_nothing_else_and_runs_nothing(written: tuple[Report, Path]) -> None:
    html = (written[1] / "report.html").read_text()
    assert "<script" not in html
    assert "@media print" in html
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)


def test_a_sheet_holds_inputs_reconstructions_and_maps(written: tuple[Report, Path]) -> None:
    html = (written[1] / "report.html").read_text()
    for head in ("input", "reconstruction", "error map"):
        assert f">{head}</text>" in html
    # Five ranks of each label, three columns, two subsets.
    assert html.count("<image ") == 2 * 10 * 3


def test_the_command_prints_json_and_writes_no_picture_unasked(home: Path) -> None:
    before = sorted(home.rglob("*"))
    answer = triage(
        "evaluate", home / "artifact", "--data", home / "pictures", "--subset", "b", "--json"
    )
    assert answer.code == 0, answer.err
    (result,) = answer.json["results"]
    assert (result["subset"], result["healthy"], result["abnormal"]) == ("b", 6, 6)
    assert sorted(home.rglob("*")) == before


def test_without_json_a_table_names_the_numbers(home: Path) -> None:
    answer = triage("evaluate", home / "artifact", "--data", home / "pictures", "--subset", "a")
    assert answer.code == 0, answer.err
    for name in ("AUROC", "sensitivity at specificity 0.90", "false flags there, promised 0.05"):
        assert name in answer.out


def test_pictures_that_were_trained_on_are_refused(home: Path) -> None:
    answer = triage(
        "evaluate", home / "artifact", "--data", home / "pictures",
        "--split", "train", "--split", "test", "--subset", "a",
    )  # fmt: skip
    assert answer.code == 3
    assert "split.csv line 2" in answer.err
    assert "was used to train or calibrate" in answer.err


def test_a_patient_whose_other_picture_was_trained_on_is_refused(
    home: Path, tmp_path: Path
) -> None:
    leaking = [*LINES[:20], ("a", "test", 1, "n3"), *LINES[21:]]
    folder = write_folder(tmp_path / "pictures", leaking)
    with pytest.raises(ConfigError, match=r"split\.csv line 22 .* is of a patient") as why:
        evaluate(home / "artifact", Question(folder, ("a",)))
    assert "n3" not in str(why.value)


def test_an_older_card_says_that_nothing_could_be_checked(home: Path, tmp_path: Path) -> None:
    older = write_artifact(tmp_path / "artifact")
    report = evaluate(older, Question(home / "pictures", ("b",)))
    assert report.checked[0].startswith("NOT checked")


def test_an_artifact_without_calibration_is_refused(home: Path, tmp_path: Path) -> None:
    bare = write_artifact(tmp_path / "artifact", strata={})
    with pytest.raises(ConfigError, match=r"calibration\.json holds no healthy score"):
        evaluate(bare, Question(home / "pictures"))


def test_an_unknown_stratum_is_refused_with_those_there_are(home: Path) -> None:
    with pytest.raises(ConfigError, match=f"'MR/HEAD', only of {STRATUM}"):
        evaluate(home / "artifact", Question(home / "pictures", stratum="MR/HEAD"))


def test_too_few_calibration_scores_flag_nothing(home: Path, tmp_path: Path) -> None:
    few = write_artifact(tmp_path / "artifact", strata={STRATUM: [0.0] * 10})
    (result,) = evaluate(few, Question(home / "pictures", ("b",))).results
    assert result.threshold is None
    assert result.sensitivity.value == result.false_flags.value == result.f1.value == 0.0


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question(Path(), ("c",)), "no subset c in split.csv, only a, b"),
        (Question(Path(), splits=("exam",)), "no split exam in split.csv, only test, train"),
        (Question(Path(), ("a",), ("train",)), r"'a', split train has no abnormal \(anomaly 1\)"),
    ],
)
def test_a_split_without_both_labels_is_refused(home: Path, question: Question, said: str) -> None:
    asked = Question(home / "pictures", question.subsets, question.splits)
    with pytest.raises(ConfigError, match=said):
        evaluate(home / "artifact", asked)


def test_a_picture_that_cannot_be_read_is_named(home: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures")
    (folder / "33.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"split\.csv line 35: .*take the line out"):
        evaluate(home / "artifact", Question(folder, ("b",)))


def test_a_damaged_artifact_is_refused(home: Path, tmp_path: Path) -> None:
    broken = write_artifact(tmp_path / "artifact")
    (broken / "card.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"card\.json is not what"):
        evaluate(broken, Question(home / "pictures"))


def test_measuring_leaves_the_detector_as_it_was(home: Path) -> None:
    torch.manual_seed(1)
    first, second = (
        evaluate(home / "artifact", Question(home / "pictures", ("b",))).results for _ in range(2)
    )
    assert first == second
