from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.contract import BadParams
from models.encoders import MaskedEncoder, Vit
from models.features import MissingWeights
from models.files import sha256
from tests.models.chests import healthy

WIDTH, HIDDEN, PATCH_PX, GRID = 128, 160, 2, 3


def vit_tensors(depth: int = 2) -> dict[str, Tensor]:
    """Random weights in DINOv2's layout: two heads of 64 features."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return 0.1 * torch.randn(*size, generator=generator)

    found = {
        "embeddings.cls_token": draw(1, 1, WIDTH),
        "embeddings.mask_token": draw(1, WIDTH),
        "embeddings.position_embeddings": draw(1, GRID**2 + 1, WIDTH),
        "embeddings.patch_embeddings.projection.weight": draw(WIDTH, 3, PATCH_PX, PATCH_PX),
        "embeddings.patch_embeddings.projection.bias": draw(WIDTH),
        "layernorm.weight": 1 + draw(WIDTH),
        "layernorm.bias": draw(WIDTH),
    }
    for index in range(depth):
        layer = f"encoder.layer.{index}"
        for name in ("query", "key", "value"):
            found[f"{layer}.attention.attention.{name}.weight"] = draw(WIDTH, WIDTH)
            found[f"{layer}.attention.attention.{name}.bias"] = draw(WIDTH)
        for name, out, inside in (
            ("attention.output.dense", WIDTH, WIDTH),
            ("mlp.fc1", HIDDEN, WIDTH),
            ("mlp.fc2", WIDTH, HIDDEN),
        ):
            found[f"{layer}.{name}.weight"] = draw(out, inside)
            found[f"{layer}.{name}.bias"] = draw(out)
        for one in (1, 2):
            found[f"{layer}.norm{one}.weight"] = 1 + draw(WIDTH)
            found[f"{layer}.norm{one}.bias"] = draw(WIDTH)
            found[f"{layer}.layer_scale{one}.lambda1"] = 1 + draw(WIDTH)
    return found


@pytest.fixture
def vit_file(tmp_path: Path) -> Path:
    save_file(vit_tensors(), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


class TestMaskedEncoder:
    def test_what_it_does_not_see_does_not_reach_it(self) -> None:
        encoder = MaskedEncoder((8, 8, 8), masked=0.95)
        seen: list[Tensor] = []
        encoder.stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        encoder.loss(healthy(4), torch.Generator().manual_seed(0))
        grey, hidden = seen[0][:, :1], seen[0][:, 1:]
        assert hidden.mean() > 0.5
        assert (grey[hidden == 1] == 0).all()
        assert torch.equal(grey[hidden == 0], (2 * healthy(4) - 1)[hidden == 0])

    def test_its_loss_is_over_the_hidden_cells_alone(self) -> None:
        encoder = MaskedEncoder((8, 8, 8), masked=0.5)
        nn.init.zeros_(encoder.fill[1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(encoder.fill[1].bias)  # type: ignore[arg-type]
        voxels = torch.full((2, 1, 16, 16), 0.5)
        assert float(encoder.loss(voxels, None).detach()) == pytest.approx(0.0)
        voxels = torch.full((2, 1, 16, 16), 1.0)
        assert float(encoder.loss(voxels, None).detach()) == pytest.approx(1.0)

    def test_at_least_one_cell_is_hidden_however_few_are_asked_for(self) -> None:
        encoder = MaskedEncoder((8, 8, 8), masked=1e-6)
        assert encoder.loss(healthy(4), None).isfinite()

    def test_its_features_lie_where_the_image_shows_them(self) -> None:
        encoder = MaskedEncoder((8, 8, 8), masked=0.5).eval()
        voxels = healthy(1, size_px=64)
        changed = voxels.clone()
        changed[..., :8, :8] = 1.0
        gap = (encoder(changed, 16) - encoder(voxels, 16)).abs().mean(2).reshape(16, 16)
        assert gap[:2, :2].mean() > 3 * gap[8:, 8:].mean()

    @pytest.mark.parametrize("widths", [(8, 8), (8, 8, 12)])
    def test_wrong_widths_are_refused(self, widths: tuple[int, ...]) -> None:
        with pytest.raises(BadParams, match="widths"):
            MaskedEncoder(widths, 0.5)


class TestVit:
    def test_it_computes_what_torch_s_own_layers_do(self, vit_file: Path) -> None:
        tensors = {name: one.half().float() for name, one in vit_tensors().items()}
        vit = Vit(vit_file, None)
        voxels = healthy(2, size_px=GRID * PATCH_PX)
        colours = voxels.expand(-1, 3, -1, -1)
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        projection = nn.Conv2d(3, WIDTH, PATCH_PX, stride=PATCH_PX)
        name = "embeddings.patch_embeddings.projection"
        projection.load_state_dict({kind: tensors[f"{name}.{kind}"] for kind in ("weight", "bias")})
        with torch.no_grad():
            patches = projection((colours - mean) / std).flatten(2).transpose(1, 2)
            first = tensors["embeddings.cls_token"].expand(2, -1, -1)
            tokens = torch.cat([first, patches], 1) + tensors["embeddings.position_embeddings"]
            for index in range(2):
                tokens = _layer(tensors, f"encoder.layer.{index}", tokens)
            wanted = nn.functional.layer_norm(
                tokens, (WIDTH,), tensors["layernorm.weight"], tensors["layernorm.bias"], 1e-6
            )[:, 1:]
        assert torch.allclose(vit(voxels, GRID), wanted, atol=1e-3)

    def test_its_positions_are_stretched_to_the_map(self, vit_file: Path) -> None:
        assert Vit(vit_file, None)(healthy(1, size_px=64), 8).shape == (1, 64, WIDTH)

    def test_it_is_frozen_small_and_knows_its_file(self, vit_file: Path) -> None:
        vit = Vit(vit_file, None)
        assert list(vit.parameters()) == []
        assert {one.dtype for one in vit.buffers()} == {torch.float16}
        assert vit.checksum == sha256(vit_file.read_bytes())

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda t: t.pop("layernorm.weight"), "holds no layernorm.weight"),
            (lambda t: t.pop("embeddings.position_embeddings"), "DINOv2's layout"),
            (lambda t: t.update({"layernorm.bias": torch.zeros(3)}), "layernorm.bias of shape"),
        ],
    )
    def test_another_file_is_refused_and_told_why(
        self, tmp_path: Path, spoil: object, said: str
    ) -> None:
        tensors = vit_tensors(depth=1)
        spoil(tensors)  # type: ignore[operator]
        save_file(tensors, tmp_path / "other.safetensors")
        with pytest.raises(MissingWeights, match=said):
            Vit(tmp_path / "other.safetensors", None)

    def test_a_missing_or_foreign_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MissingWeights, match="needs `weights`"):
            Vit(None, None)
        with pytest.raises(MissingWeights, match="cannot read"):
            Vit(tmp_path / "none.safetensors", None)
        (tmp_path / "text").write_text("no tensors")
        with pytest.raises(MissingWeights, match="no safetensors"):
            Vit(tmp_path / "text", None)


def _layer(tensors: dict[str, Tensor], name: str, tokens: Tensor) -> Tensor:
    """One block, by torch's attention."""
    attention = nn.MultiheadAttention(WIDTH, WIDTH // 64, batch_first=True)
    parts = [f"{name}.attention.attention.{one}" for one in ("query", "key", "value")]
    attention.load_state_dict(
        {
            "in_proj_weight": torch.cat([tensors[f"{one}.weight"] for one in parts]),
            "in_proj_bias": torch.cat([tensors[f"{one}.bias"] for one in parts]),
            "out_proj.weight": tensors[f"{name}.attention.output.dense.weight"],
            "out_proj.bias": tensors[f"{name}.attention.output.dense.bias"],
        }
    )

    def normal(given: Tensor, one: str) -> Tensor:
        weight, bias = (tensors[f"{name}.{one}.{kind}"] for kind in ("weight", "bias"))
        return nn.functional.layer_norm(given, (WIDTH,), weight, bias, 1e-6)

    def linear(given: Tensor, one: str) -> Tensor:
        weight, bias = (tensors[f"{name}.{one}.{kind}"] for kind in ("weight", "bias"))
        return nn.functional.linear(given, weight, bias)

    before = normal(tokens, "norm1")
    found, _ = attention(before, before, before)
    tokens = tokens + found * tensors[f"{name}.layer_scale1.lambda1"]
    hidden = nn.functional.gelu(linear(normal(tokens, "norm2"), "mlp.fc1"))
    return tokens + linear(hidden, "mlp.fc2") * tensors[f"{name}.layer_scale2.lambda1"]
