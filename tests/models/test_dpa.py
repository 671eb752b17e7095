from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models import artifact
from models.contract import BadParams, Batch
from models.dpa import DPA, relative_l1
from models.features import VGG19, MissingWeights
from models.files import sha256
from models.fit import Images, Plan, fit
from tests.models.cards import CALIBRATION, card
from tests.models.chests import healthy

PLAN = Plan(epochs=1, batch_size=8, jitter=0, average=0)
IMAGES = Images(healthy(16), healthy(8, seed=1))


def _small(seed: int = 0, **params: object) -> DPA:
    tiny: dict[str, object] = {"size_px": 16, "widths": (8, 8), "latent": 8, "feature_width": 8}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DPA(**(tiny | params))  # type: ignore[arg-type]


@pytest.fixture
def vgg19(tmp_path: Path) -> Path:
    """Random weights in VGG19's shape, up to its layer r32."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for index, inside, outside in VGG19[:6]:
        weight = torch.randn(outside, inside, 3, 3, generator=generator)
        tensors[f"features.{index}.weight"] = weight * (2 / (9 * inside)) ** 0.5
        tensors[f"features.{index}.bias"] = torch.zeros(outside)
    save_file(tensors, tmp_path / "vgg19.safetensors")
    return tmp_path / "vgg19.safetensors"


class TestRelativeL1:
    def test_it_is_the_difference_over_the_size_of_what_was_wanted(self) -> None:
        wanted = torch.tensor([[[[1.0, -3.0]], [[2.0, 2.0]]]])  # N 1, C 2, H 1, W 2
        got = torch.tensor([[[[2.0, -3.0]], [[2.0, 5.0]]]])
        # sum |wanted - got| = 1 + 0 + 0 + 3; sum |wanted| = 8; at the places 1/2 and 3/2 over 2
        assert torch.allclose(relative_l1(wanted, got), torch.tensor([[[0.25, 0.75]]]))
        assert float(relative_l1(wanted, got).mean()) == pytest.approx(4 / 8)

    def test_each_image_is_measured_by_its_own_size(self) -> None:
        wanted = torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1)
        assert relative_l1(wanted, wanted + 1).flatten().tolist() == pytest.approx([1.0, 0.1])

    def test_no_gradient_comes_through_the_divisor(self) -> None:
        wanted = torch.tensor([[[[2.0]]]], requires_grad=True)
        torch.autograd.backward(relative_l1(wanted, torch.zeros(1, 1, 1, 1)).sum())
        assert wanted.grad is not None
        assert wanted.grad.item() == pytest.approx(0.5)  # of |w| / 2, not of |w| / |w|


class TestStages:
    def test_own_features_learn_first_and_stand_still_afterwards(self, tmp_path: Path) -> None:
        detector = _small()
        start, seen = _copied(detector), list[dict[str, Tensor]]()
        history = fit(
            detector, IMAGES, PLAN, tmp_path, progress=lambda _: seen.append(_copied(detector))
        )
        assert [epoch.stage for epoch in history] == ["features", "autoencoder"]
        first, last = seen
        for name, value in start.items():
            if name.startswith("features"):
                assert not torch.equal(value, first[name]), name
                assert torch.equal(first[name], last[name]), name
            if name.startswith(("encoder", "decoder")):
                assert torch.equal(value, first[name]), name
                assert not torch.equal(first[name], last[name]), name

    def test_vgg19_does_not_learn(self, vgg19: Path, tmp_path: Path) -> None:
        detector = _small(features="vgg19", weights=str(vgg19))
        assert [stage.name for stage in detector.stages()] == ["autoencoder"]
        before = _copied(detector.features)
        fit(detector, Images(healthy(4), healthy(2, seed=1)), PLAN, tmp_path / "run")
        after = detector.features.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


class TestScore:
    def test_an_image_rebuilt_exactly_scores_zero(self) -> None:
        class Perfect(DPA):
            def encode(self, voxels_NCHW: Tensor) -> Tensor:
                return voxels_NCHW

            def decode(self, latent_NF: Tensor) -> Tensor:
                return latent_NF

        anomaly = Perfect(size_px=16, widths=(8, 8)).score(healthy(2))
        assert torch.equal(anomaly.score_N, torch.zeros(2))
        assert anomaly.map_NHW is not None
        assert torch.equal(anomaly.map_NHW, torch.zeros(2, 16, 16))

    def test_it_is_the_loss_of_that_image(self) -> None:
        detector = _small().eval()
        voxels = healthy(3)
        each = [detector.loss(Batch(one)).total.item() for one in torch.split(voxels, 1)]
        assert detector.score(voxels).score_N.tolist() == pytest.approx(each, rel=1e-5)

    def test_the_maps_mean_is_about_the_score(self) -> None:
        anomaly = _small().score(healthy(3))
        assert anomaly.map_NHW is not None
        assert torch.allclose(anomaly.map_NHW.mean((1, 2)), anomaly.score_N, rtol=0.1)

    def test_the_moments_are_learnt_in_training_alone(self) -> None:
        detector = _small()
        detector.eval().loss(Batch(healthy(4)))
        detector.score(healthy(4))
        assert {int(each.get_buffer("seen")) for each in detector.moments} == {0}
        detector.train().loss(Batch(healthy(4)))
        assert {int(each.get_buffer("seen")) for each in detector.moments} == {4}


class TestVgg19:
    def test_an_artifact_says_which_weights_and_brings_them(
        self, vgg19: Path, tmp_path: Path
    ) -> None:
        before = _small(features="vgg19", weights=str(vgg19)).eval()
        assert before.params["weights"] == str(vgg19)
        assert before.params["weights_sha256"] == sha256(vgg19.read_bytes())
        described = card(family="dpa", params=before.params)
        artifact.save(tmp_path / "a", before, described, CALIBRATION, "A card.\n")
        vgg19.unlink()
        after = artifact.load(tmp_path / "a").detector
        assert torch.equal(before.score(healthy(2)).score_N, after.score(healthy(2)).score_N)

    def test_without_its_file_a_training_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MissingWeights, match="cannot read"):
            _small(features="vgg19", weights=str(tmp_path / "none.safetensors"))


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(BadParams, match="size_px 20"):
        DPA(size_px=20)
    with pytest.raises(BadParams, match=r"\[12\]"):
        DPA(size_px=64, widths=(12,))


def _copied(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}
