from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.calibrate import calibrate
from tests.models.chests import healthy, small_memae, with_opacity
from triage.commands.measure import Prepared, measure, prepare, scores
from triage.commands.training_plan import Picture
from triage.settings import Recipe


def _prepared(count: int) -> Prepared:
    voxels = torch.cat([healthy(count), with_opacity(healthy(count, seed=1))])
    pictures = tuple(
        Picture(Path(f"{i}.png"), "a", "test", i >= count, str(i)) for i in range(2 * count)
    )
    return Prepared(pictures, voxels)


def test_pictures_are_prepared_in_order_by_the_recipe(tmp_path: Path) -> None:
    pictures = []
    for index, level in enumerate((40, 200)):
        grey = np.full((20, 30), level, np.uint8)
        grey[:, :15] = 0
        Image.fromarray(grey).save(tmp_path / f"{index}.png")
        pictures.append(Picture(tmp_path / f"{index}.png", "a", "train", False, str(index)))
    recipe = Recipe(name="r", kind="projection", size_px=(8, 8))
    prepared = prepare(tuple(pictures), recipe)
    assert prepared.voxels.shape == (2, 1, 8, 8)
    assert torch.allclose(prepared.voxels[0], prepared.voxels[1], atol=1e-6)


def test_scores_come_one_a_picture_however_many_there_are() -> None:
    detector, voxels = small_memae(), healthy(130)
    assert scores(detector, voxels) == pytest.approx(detector.score(voxels).score_N.tolist())


def test_what_is_measured_agrees_with_the_scores() -> None:
    detector, tested = small_memae(), _prepared(12)
    found = scores(detector, tested.voxels)
    calibration = calibrate({"DX/CHEST": found[:12]})
    evaluation = measure(
        detector, calibration, tested, "DX/CHEST", alphas=(0.5,), train=healthy(20, seed=2)
    )
    above = [[sick > well for sick in found[12:]] for well in found[:12]]
    assert evaluation.auroc.value == pytest.approx(np.mean(above))
    assert (evaluation.healthy, evaluation.abnormal) == (12, 12)
    # Against themselves, 5 of 12 healthy ones have (1 + rank) / 13 <= 0.5.
    assert evaluation.false_flags["0.5"].value == pytest.approx(5 / 12)
    assert evaluation.sensitivity["0.5"].value >= evaluation.false_flags["0.5"].value
