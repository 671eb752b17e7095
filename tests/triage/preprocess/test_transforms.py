"""Window, square and body."""

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from triage.errors import NotEligible
from triage.preprocess.transforms import (
    IMAGE,
    INVERTED,
    VOI_APPLIED,
    PadToSquared,
    Transform,
    Windowd,
    body_mask,
    foreground,
    run,
)
from triage.settings import Recipe


def recipe(**changes: object) -> Recipe:
    fields: dict[str, object] = {"name": "test", "kind": "projection", "size_px": (8, 8)}
    return Recipe.model_validate({**fields, **changes})


def image(values: object, **meta: bool) -> MetaTensor:
    return MetaTensor(torch.tensor(values, dtype=torch.float32)[None], meta=dict(meta))


def apply(transform: Transform, one: MetaTensor) -> torch.Tensor:
    return run([transform], one).as_tensor()[0]


class TestWindow:
    def test_a_fixed_window_clips_and_scales(self) -> None:
        window = Windowd(IMAGE, recipe(window="fixed", window_range=(0, 80)))
        found = apply(window, image([[-1000, 0, 20], [40, 80, 3000]]))
        assert found.tolist() == [[0, 0, 0.25], [0.5, 1, 1]]

    def test_percentiles_ignore_the_few_extremes(self) -> None:
        values = np.arange(10_000, dtype=np.float32).reshape(100, 100)
        values[0, 0], values[99, 99] = -1e6, 1e6
        found = apply(Windowd(IMAGE, recipe(percentiles=(1, 99))), image(values.tolist()))
        assert found.min() == 0
        assert found.max() == 1
        assert found[50, 0] == pytest.approx(0.5, abs=0.01)

    def test_monochrome1_is_turned_round_after_the_mirrored_percentiles(self) -> None:
        values = np.random.default_rng(0).gamma(2.0, 100.0, (64, 64)).astype(np.float32)
        window = Windowd(IMAGE, recipe(percentiles=(1, 90)))
        upright = apply(window, image(values.tolist()))
        inverted = apply(window, image((1000 - values).tolist(), **{INVERTED: True}))
        assert inverted == pytest.approx(upright, abs=1e-5)

    def test_display_values_are_taken_as_they_are(self) -> None:
        window = Windowd(IMAGE, recipe(window="voi"))
        assert apply(window, image([[0.25, 0.75]], **{VOI_APPLIED: True})).tolist() == [
            [0.25, 0.75]
        ]

    def test_without_display_values_voi_falls_back_to_percentiles(self) -> None:
        found = apply(Windowd(IMAGE, recipe(window="voi")), image([[100, 200], [300, 400]]))
        assert [float(found.min()), float(found.max())] == [0, 1]

    def test_an_image_without_contrast_is_not_eligible(self) -> None:
        with pytest.raises(NotEligible, match="no contrast"):
            apply(Windowd(IMAGE, recipe()), image([[7, 7], [7, 7]]))

    def test_a_large_image_is_windowed_as_its_thinned_one(self) -> None:
        values = torch.rand(1, 1500, 1300, generator=torch.Generator().manual_seed(0))
        expected = np.percentile(values.numpy(), (0.5, 99.5))
        found = apply(Windowd(IMAGE, recipe()), MetaTensor(values.clone()))
        scale = (values[0] - expected[0]) / (expected[1] - expected[0])
        assert (found - scale.clamp(0, 1)).abs().max() < 0.002


class TestShape:
    @pytest.mark.parametrize("shape", [(1, 5, 8), (1, 8, 5), (1, 3, 5, 8)])
    def test_the_plane_becomes_square_around_the_image(self, shape: tuple[int, ...]) -> None:
        found = run([PadToSquared(IMAGE)], MetaTensor(torch.ones(shape))).as_tensor()
        assert found.shape[-2:] == (8, 8)
        assert found.shape[:-2] == torch.Size(shape[:-2])
        assert found.sum() == torch.ones(shape).sum()
        assert found[..., 0, 0].max() == 0

    def test_foreground_is_the_box_of_the_largest_piece(self) -> None:
        values = torch.zeros(1, 40, 50)
        values[:, 10:30, 15:40] = 100
        values[:, 2:4, 2:4] = 100
        found = run([foreground()], MetaTensor(values)).as_tensor()
        assert found.shape == (1, 20, 25)

    def test_otsu_parts_air_from_tissue(self) -> None:
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(1, 60, 60, generator=generator) * 10 - 1000
        values[:, 20:40, 20:40] += 1040
        mask = body_mask(values)
        assert mask[:, 20:40, 20:40].all()
        assert mask.sum() == 400

    def test_a_constant_image_is_all_body(self) -> None:
        assert body_mask(torch.ones(1, 4, 4)).all()
