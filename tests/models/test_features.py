from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.contract import BadParams, Batch
from models.features import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VGG19,
    MissingWeights,
    Moments,
    OwnFeatures,
    Vgg19,
    blend,
)
from models.files import sha256
from tests.models.chests import healthy

Save = Callable[..., Path]


def _tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for index, inside, outside in VGG19[:6]:
        spread = (2 / (9 * inside)) ** 0.5
        weight = torch.randn(outside, inside, 3, 3, generator=generator) * spread
        found[f"features.{index}.weight"] = weight.half().float()
        found[f"features.{index}.bias"] = torch.full((outside,), 0.125)
    return found


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(**changes: Tensor | None) -> Path:
        tensors = {k: v for k, v in (_tensors() | changes).items() if v is not None}
        save_file(tensors, tmp_path / "vgg19.safetensors")
        return tmp_path / "vgg19.safetensors"

    return write


class TestBlend:
    def test_only_inside_one_rectangle_an_image_changes(self) -> None:
        voxels_NCHW = healthy(16)
        blended_NCHW, share_NCHW = blend(voxels_NCHW)
        outside = share_NCHW == 0
        assert torch.equal(blended_NCHW[outside], voxels_NCHW[outside])
        for one_HW in share_NCHW[:, 0]:
            rows, columns = one_HW.amax(1) > 0, one_HW.amax(0) > 0
            assert torch.equal(one_HW > 0, rows[:, None] & columns[None, :])
            assert 2 <= int(rows.sum()) <= 7  # a tenth to four tenths of 16, rounded up
            assert len(one_HW[one_HW > 0].unique()) == 1

    def test_the_piece_is_another_image_in_the_share_that_is_told(self) -> None:
        black, white = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
        blended_NCHW, share_NCHW = blend(torch.cat([black, white]))
        assert torch.allclose(blended_NCHW[0], share_NCHW[0])
        assert torch.allclose(blended_NCHW[1], 1 - share_NCHW[1])

    def test_a_generator_draws_the_same_pieces_again(self) -> None:
        first, second = (blend(healthy(4), torch.Generator().manual_seed(3))[0] for _ in range(2))
        assert torch.equal(first, second)


class TestOwnFeatures:
    def test_each_level_halves_the_sides_and_doubles_the_features(self) -> None:
        maps = OwnFeatures(("half", "quarter", "eighth"), width=8)(healthy(2))
        assert [tuple(each.shape) for each in maps] == [
            (2, 16, 8, 8), (2, 32, 4, 4), (2, 64, 2, 2)
        ]  # fmt: skip

    def test_they_learn_to_find_the_blended_pieces(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            features, batch = OwnFeatures(width=8), Batch(healthy(16))
            optimizer = torch.optim.Adam(features.parameters(), lr=3e-3)
            before = features.watch(batch).item()
            for _ in range(25):
                optimizer.zero_grad()
                torch.autograd.backward(features.loss(batch).total)
                optimizer.step()
            assert features.watch(batch).item() < 0.8 * before

    def test_the_watched_loss_is_the_same_each_time(self) -> None:
        features = OwnFeatures(width=8)
        assert torch.equal(features.watch(Batch(healthy(4))), features.watch(Batch(healthy(4))))

    def test_an_unknown_layer_is_refused(self) -> None:
        with pytest.raises(BadParams, match="r32"):
            OwnFeatures(("r32",))


class TestVgg19:
    def test_its_maps_are_those_of_the_published_stack(self, save: Save) -> None:
        voxels_NCHW = healthy(2)
        (got,) = Vgg19(("r32",), save())(voxels_NCHW)
        assert got.shape == (2, 256, 4, 4)
        assert torch.allclose(got, _plain(_tensors())(_as_colours(voxels_NCHW)), rtol=1e-4)

    def test_no_weight_of_it_is_a_parameter_and_all_are_in_the_state(self, save: Save) -> None:
        features = Vgg19(("r32",), save())
        assert list(features.parameters()) == []
        assert len(features.state_dict()) == 12

    def test_the_checksum_is_the_files(self, save: Save) -> None:
        path = save()
        assert Vgg19(("r32",), path).checksum == sha256(path.read_bytes())

    def test_known_by_checksum_it_waits_for_the_artifacts_weights(self, save: Save) -> None:
        read = Vgg19(("r32",), save())
        waiting = Vgg19(("r32",), None, read.checksum)
        with pytest.raises(MissingWeights, match="weights_sha256"):
            waiting(healthy(1))
        waiting.load_state_dict(read.state_dict())
        assert torch.equal(waiting(healthy(1))[0], read(healthy(1))[0])

    def test_without_a_file_it_says_what_it_needs(self, tmp_path: Path) -> None:
        with pytest.raises(MissingWeights, match="weights"):
            Vgg19(("r32",), None)
        with pytest.raises(MissingWeights, match="cannot read"):
            Vgg19(("r32",), tmp_path / "nowhere.safetensors")

    def test_a_file_of_something_else_is_refused(self, save: Save, tmp_path: Path) -> None:
        (tmp_path / "vgg.pth").write_bytes(b"\x80\x02not tensors")
        with pytest.raises(MissingWeights, match="no safetensors"):
            Vgg19(("r32",), tmp_path / "vgg.pth")
        with pytest.raises(MissingWeights, match=r"features\.12\.bias"):
            Vgg19(("r32",), save(**{"features.12.bias": None}))
        with pytest.raises(MissingWeights, match=r"features\.0\.weight"):
            Vgg19(("r32",), save(**{"features.0.weight": torch.zeros(64, 1, 3, 3)}))
        with pytest.raises(MissingWeights, match=r"features\.14\.weight"):
            Vgg19(("r42",), save())

    def test_an_unknown_layer_is_refused(self) -> None:
        with pytest.raises(BadParams, match="half"):
            Vgg19(("half",), None)


class TestMoments:
    def test_what_was_observed_in_parts_is_standardised_as_a_whole(self) -> None:
        maps_NCHW = 3 + 2 * torch.randn(40, 5, 4, 4)
        moments = Moments(5)
        for part in torch.split(maps_NCHW, 16):
            moments.observe(part)
        got = moments(maps_NCHW)
        assert torch.allclose(got.mean((0, 2, 3)), torch.zeros(5), atol=1e-4)
        assert torch.allclose(got.square().mean((0, 2, 3)), torch.ones(5), rtol=1e-3)

    def test_after_its_limit_nothing_changes_it(self) -> None:
        moments = Moments(2, limit=8)
        moments.observe(torch.randn(8, 2, 3, 3))
        before = moments.mean_F.clone()
        moments.observe(torch.randn(8, 2, 3, 3))
        assert torch.equal(moments.mean_F, before)


def _as_colours(voxels_NCHW: Tensor) -> Tensor:
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    return (voxels_NCHW.expand(-1, 3, -1, -1) - mean) / std


def _plain(tensors: dict[str, Tensor]) -> nn.Sequential:
    """The stack as layers: convolution and rectifier, pooled before blocks 2 and 3."""
    stack = nn.Sequential()
    for index, inside, outside in VGG19[:6]:
        if index in (5, 10):
            stack.append(nn.MaxPool2d(2))
        convolution = nn.Conv2d(inside, outside, 3, padding=1)
        convolution.load_state_dict(
            {kind: tensors[f"features.{index}.{kind}"] for kind in ("weight", "bias")}
        )
        stack.extend((convolution, nn.ReLU()))
    return stack.requires_grad_(False)
