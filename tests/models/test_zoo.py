"""The artifacts that ship are whole, small, and as good as their cards say."""

import os
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest

from models import artifact
from models.artifact import Artifact
from models.metrics import auroc

ZOO = Path(str(files("models").joinpath("zoo")))
DATA = Path(os.environ.get("TRIAGE_TEST_DATA", ZOO.parents[2] / "shared/data")) / "chest-xray"


@pytest.fixture(scope="module")
def shipped() -> Artifact:
    return artifact.load(ZOO / "chest-radiograph-memae")


def test_the_chest_radiograph_detector_is_whole_and_small(shipped: Artifact) -> None:
    assert shipped.card.name == shipped.folder.name
    assert sum(path.stat().st_size for path in shipped.folder.iterdir()) < 3_000_000


@pytest.mark.parametrize("stratum", ["DX/CHEST", "DX/CHEST/child", "DX/CHEST/adult"])
def test_every_stratum_has_enough_healthy_studies_for_the_strictest_level(
    shipped: Artifact, stratum: str
) -> None:
    assert len(shipped.calibration.strata[stratum]) >= 50


def test_its_card_says_where_the_pictures_came_from(shipped: Artifact) -> None:
    licences = " ".join(shipped.card.licences)
    assert "CC BY 4.0" in licences
    assert "NIH Clinical Center" in licences


@pytest.mark.slow
@pytest.mark.parametrize("subset", ["nih", "zhanglab", "rsna_covid"])
def test_its_card_s_auroc_is_found_again_on_the_same_pictures(
    shipped: Artifact, subset: str
) -> None:
    if not DATA.is_dir():
        pytest.skip("no image folder; TRIAGE_TEST_DATA names one")
    from triage.commands.measure import prepare, scores
    from triage.commands.training_plan import Picture, read_pictures
    from triage.settings import Recipe

    def is_tested(abnormal: bool, picture: Picture) -> bool:
        return (picture.subset, picture.abnormal) == (subset, abnormal) and (
            picture.split in ("test", "test_covid")
        )

    recipe, pictures = Recipe.model_validate(shipped.card.recipe), read_pictures(DATA)
    well, sick = (
        scores(
            shipped.detector,
            prepare(tuple(filter(partial(is_tested, abnormal), pictures)), recipe).voxels,
        )
        for abnormal in (False, True)
    )
    (said,) = (found for found in shipped.card.evaluations if found.name == subset)
    assert auroc(well, sick) == pytest.approx(said.auroc.value, abs=0.005)


@pytest.mark.parametrize("seed", range(8))
def test_a_drawn_child_is_unremarkable_until_an_opacity_is_pasted(
    shipped: Artifact, seed: int
) -> None:
    from models.radiographs import paste_opacity, sample
    from triage.preprocess.pipeline import prepare_image
    from triage.settings import Recipe

    (plain,) = sample(seed, 1, 256)
    recipe = Recipe.model_validate(shipped.card.recipe)
    p_plain, p_pasted = (
        shipped.calibration.p_value(
            float(shipped.detector.score(prepare_image(image, recipe).voxels_NCHW).score_N[0]),
            ("DX/CHEST/child",),
        ).p
        for image in (plain, paste_opacity(plain, seed))
    )
    assert p_plain > 0.05
    assert p_pasted <= 0.02
