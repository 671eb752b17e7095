"""A small folder of generated pictures, from split.csv to an artifact that scores."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from models import artifact
from tests.models.chests import healthy, with_opacity
from triage.commands.train import train
from triage.errors import ConfigError

TRAINING: dict[str, Any] = {
    "name": "generated",
    "version": "1.0.0",
    "family": "memae",
    "recipe": "chest-radiograph",
    "params": {"widths": [8, 8, 8, 8], "memory": "vector", "slots": 12, "latent": 4},
    "data": {
        "pooled": "DX/CHEST",
        "held_out": 0.2,
        "calibration": 0.3,
        "subsets": {
            "a": {
                "stratum": "DX/CHEST/child",
                "licence": "generated",
                "train": ["train"],
                "calibrate": ["val"],
                "test": ["test"],
            },
            "b": {
                "stratum": "DX/CHEST/adult",
                "licence": "generated",
                "train": ["train"],
                "repeat": 2,
            },
        },
    },
    "plan": {"epochs": 12, "batch_size": 4, "learning_rate": 0.003},
    "intended_use": "Tests.",
    "limitations": ["Generated pictures."],
}
Line = tuple[str, str, int, str]
"""Subset, split, anomaly, patient."""
LINES: list[Line] = [
    *(("a", "train", 0, f"a{i // 2}") for i in range(40)),
    *(("b", "train", 0, f"b{i}") for i in range(20)),
    *(("a", "val", 0, f"v{i}") for i in range(8)),
    *(("a", "val", 1, f"s{i}") for i in range(4)),
    *(("a", "test", 0, f"t{i}") for i in range(8)),
    *(("a", "test", 1, f"u{i}") for i in range(8)),
    ("c", "train", 0, "c0"),
]
Folder = Callable[[list[Line]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    def build(lines: list[Line]) -> Path:
        voxels = healthy(len(lines), size_px=64)
        strange = with_opacity(voxels)
        with (tmp_path / "split.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "subset", "split", "anomaly", "patient"])
            for index, line in enumerate(lines):
                picture = (strange if line[2] else voxels)[index, 0].numpy()
                Image.fromarray((picture * 255).astype(np.uint8)).save(tmp_path / f"{index}.png")
                writer.writerow([f"{index}.png", *line])
        return tmp_path

    return build


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "generated.yaml"
    path.write_text(yaml.safe_dump(TRAINING))
    return path


def test_a_folder_becomes_an_artifact_that_says_what_it_is(
    folder: Folder, config: Path, tmp_path: Path
) -> None:
    found = train(config, data=folder(LINES), runs=tmp_path / "runs", device="cpu")
    loaded = artifact.load(Path(found["artifact"]))
    fingerprint = loaded.card.fingerprint
    used = (*fingerprint.trained_on, *fingerprint.held_out, *fingerprint.calibrated_on)
    assert sum(source.images for source in used) == 40 + 20 + 8
    assert {source.name for source in used} == {"a", "b"}
    assert loaded.card.recipe["name"] == "chest-radiograph"
    strata = loaded.calibration.strata
    assert set(strata) == {"DX/CHEST", "DX/CHEST/child", "DX/CHEST/adult"}
    pooled = sorted(strata["DX/CHEST/child"] + strata["DX/CHEST/adult"])
    assert pooled == list(strata["DX/CHEST"])
    (evaluation,) = loaded.card.evaluations
    assert (evaluation.healthy, evaluation.abnormal) == (8, 8)
    assert evaluation.auroc.value > 0.9  # the generated opacity is plain to see
    assert "AUROC" in (Path(found["artifact"]) / "README.md").read_text()


def test_training_again_gives_the_same_artifact(
    folder: Folder, config: Path, tmp_path: Path
) -> None:
    data = folder(LINES)
    first, second = (
        artifact.load(Path(train(config, data=data, runs=tmp_path / name)["artifact"]))
        for name in ("one", "two")
    )
    assert first.sha256 == second.sha256


def test_the_image_folder_is_found_by_the_environment(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAGE_TRAIN_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match=r"elsewhere/split\.csv"):
        train(config, runs=tmp_path / "runs")


@pytest.mark.parametrize(
    ("leak", "roles"),
    [
        (("a", "test", 0, "b3"), "test"),
        (("a", "val", 0, "t1"), "calibration and test"),
    ],
)
def test_a_patient_with_two_roles_is_refused_before_anything_is_trained(
    folder: Folder, config: Path, tmp_path: Path, leak: Line, roles: str
) -> None:
    with pytest.raises(ConfigError, match=roles) as why:
        train(config, data=folder([*LINES, leak]), runs=tmp_path / "runs")
    assert leak[3] not in str(why.value)
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_healthy_training_images_is_refused(
    folder: Folder, config: Path, tmp_path: Path
) -> None:
    lines = [line for line in LINES if line[1] != "train"]
    lines += [("a", "train", 1, "x0"), ("b", "train", 1, "x1")]
    with pytest.raises(ConfigError, match="no image is left for train"):
        train(config, data=folder(lines), runs=tmp_path / "runs")


def test_no_folder_at_all_says_how_to_name_one(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data"):
        train(config, runs=tmp_path / "runs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "knee"}, "knee"),
        ({"family": "oracle"}, "unknown detector family"),
        ({"params": {"depth": 3}}, "depth"),
        ({"plan": {"epochs": 0}}, r"plan\.epochs"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_key_is_named(
    folder: Folder, config: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    config.write_text(yaml.safe_dump(TRAINING | changes))
    with pytest.raises(ConfigError, match=message):
        train(config, data=folder(LINES), runs=tmp_path / "runs")


def test_a_run_of_another_plan_is_not_carried_on(
    folder: Folder, config: Path, tmp_path: Path
) -> None:
    data = folder(LINES)
    config.write_text(yaml.safe_dump(TRAINING | {"plan": {"epochs": 1}}))
    train(config, data=data, runs=tmp_path / "runs")
    config.write_text(yaml.safe_dump(TRAINING | {"plan": {"epochs": 13}}))
    with pytest.raises(ConfigError, match="another plan"):
        train(config, data=data, runs=tmp_path / "runs", resume=True)
