from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models import artifact
from models.anchor import Anchor
from models.contract import BadParams, Batch
from models.features import MissingWeights
from models.fit import Images, Plan, fit
from tests.models.cards import CALIBRATION, card
from tests.models.chests import healthy, with_opacity
from tests.models.test_encoders import vit_tensors

PLAN = Plan(epochs=1, batch_size=8, jitter=0, average=0)
IMAGES = Images(healthy(16), healthy(8, seed=1))


def _small(seed: int = 0, **params: object) -> Anchor:
    tiny: dict[str, object] = {"size_px": 16, "widths": (8, 8, 8), "slots": 64}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Anchor(**(tiny | params))  # type: ignore[arg-type]


class TestScore:
    def test_the_first_head_decides_and_the_others_stand_beside(self) -> None:
        detector, turned = _small(), _small(heads=("density", "padim"))
        for one in (detector, turned):
            one.settle([healthy(32)])
        voxels = with_opacity(healthy(4, seed=2))
        found, other = detector.score(voxels), turned.score(voxels)
        assert set(found.others) == {"nearest", "density"}
        assert torch.allclose(found.others["density"], other.score_N, rtol=1e-4)
        assert torch.allclose(found.score_N, other.others["padim"], rtol=1e-4)
        assert found.map_NHW is not None
        assert other.map_NHW is not None
        assert torch.allclose(found.map_NHW, other.map_NHW, rtol=1e-4)

    def test_a_density_alone_draws_no_map(self) -> None:
        assert _small(heads=("density",)).score(healthy(2)).map_NHW is None

    @pytest.mark.parametrize("head", ["padim", "nearest"])
    def test_the_map_is_brightest_where_the_lesion_is(self, head: str) -> None:
        detector = _small(heads=(head,), size_px=64)
        detector.settle([healthy(64, size_px=64)])
        map_NHW = detector.score(with_opacity(healthy(8, seed=1, size_px=64))).map_NHW
        assert map_NHW is not None
        inside, outside = map_NHW[:, 24:40, 10:22].mean(), map_NHW[:, :, 34:].mean()
        assert inside > 2 * outside

    def test_a_fixed_seed_gives_the_golden_scores(self) -> None:
        detector = _small()
        detector.settle([healthy(32, seed=1)])
        found = detector.score(with_opacity(healthy(2)))
        for name, golden in GOLDEN.items():
            score_N = found.others.get(name, found.score_N)
            assert score_N.tolist() == pytest.approx(golden, rel=1e-3), name


class TestSettle:
    def test_of_very_many_images_evenly_chosen_ones_are_taken(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("models.anchor.LIMIT", 16)
        many, few = _small(heads=("padim",)), _small(heads=("padim",))
        # One by one: a batch of another size may take another way to the last bit.
        images = [healthy(40)[place : place + 1] for place in range(40)]
        many.settle(images)
        few.settle(images[::3])
        assert torch.equal(many.score(healthy(2)).score_N, few.score(healthy(2)).score_N)


class TestWeightsFromAFile:
    def test_a_vision_transformer_s_features_are_squeezed_and_travel_with_the_artifact(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "vit.safetensors"
        save_file(vit_tensors(depth=1), file)
        detector = _small(encoder="vit", weights=str(file), squeeze=8, heads=("padim", "nearest"))
        before = {name: one.clone() for name, one in detector.encoder.named_buffers()}
        history = fit(detector, IMAGES, PLAN, tmp_path / "run")
        assert {epoch.stage for epoch in history} == {"squeeze"}
        detector.settle([IMAGES.train])
        for name, one in detector.encoder.named_buffers():
            assert torch.equal(one, before[name]), name
        described = card(family="anchor", params=detector.params)
        artifact.save(tmp_path / "a", detector, described, CALIBRATION, "A card.\n")
        file.unlink()
        after = artifact.load(tmp_path / "a").detector
        voxels = healthy(3, seed=4)
        expected = detector.score(voxels).score_N
        assert torch.allclose(after.score(voxels).score_N, expected, rtol=1e-5)

    def test_another_anchor_s_encoder_is_taken_over_and_stays(self, tmp_path: Path) -> None:
        other = _small(seed=7)
        save_file(other.state_dict(), tmp_path / "weights.safetensors")
        detector = _small(weights=str(tmp_path / "weights.safetensors"), squeeze=8)
        fit(detector, IMAGES, PLAN, tmp_path / "run")
        for name, one in other.encoder.state_dict().items():
            assert torch.equal(one, detector.encoder.state_dict()[name]), name
        lost = detector.loss(Batch(healthy(8)))
        assert set(lost.parts) == {"squeeze"}

    def test_a_file_of_other_widths_is_refused(self, tmp_path: Path) -> None:
        save_file(_small().state_dict(), tmp_path / "weights.safetensors")
        with pytest.raises(MissingWeights, match="of these widths"):
            _small(widths=(8, 16, 16), weights=str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize(
    "params",
    [
        {"size_px": 20},
        {"heads": ()},
        {"heads": ("padim", "padim")},
        {"heads": ("oracle",)},
        {"top": 0.0},
        {"margin": 0.5},
        {"masked": 1.0},
        {"encoder": "resnet"},
    ],
)
def test_parameters_that_make_no_detector_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(BadParams):
        _small(**params)


GOLDEN = {"padim": [3.12276, 3.36391], "nearest": [1.1804, 1.14391], "density": [2.78661, 2.87926]}
"""To be kept when nothing that scores is meant to change."""
