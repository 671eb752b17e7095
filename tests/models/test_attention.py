import pytest
import torch
from torch import Tensor

from models.attention import (
    AttentionBlock,
    Form,
    channel_attention,
    grid_attention,
    patch_attention,
    pooled,
)


def _gate(agreed: float) -> float:
    return float(torch.sigmoid(torch.tensor(agreed)))


class TestPatchAttention:
    def test_a_value_is_weighed_by_the_mean_product_of_its_patch(self) -> None:
        query, key = torch.ones(1, 1, 3, 3), torch.full((1, 1, 3, 3), 2.0)
        found = patch_attention(query, key, torch.full((1, 1, 3, 3), 5.0), 3)
        assert found[0, 0, 1, 1].item() == pytest.approx(5 * _gate(2.0))
        # In a corner four of the nine places lie inside.
        assert found[0, 0, 0, 0].item() == pytest.approx(5 * _gate(2.0 * 4 / 9))

    def test_products_are_summed_over_channels_and_divided_by_their_root(self) -> None:
        query = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
        key = torch.tensor([1.0, -1.0, 1.0, 1.0]).reshape(1, 4, 1, 1)
        value = torch.tensor([1.0, 0.0, -2.0, 3.0]).reshape(1, 4, 1, 1)
        found = patch_attention(query, key, value, 1)
        assert torch.allclose(found, value * _gate((1 - 2 + 3 + 4) / 2))


class TestGridAttention:
    def test_each_place_gets_the_values_mixed_by_the_softmax_of_its_products(self) -> None:
        query = torch.tensor([[2.0, 0.0], [0.0, 2.0]]).T.reshape(1, 2, 1, 2)
        key = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[None]
        value = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])[None]
        weight = (torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]) / 2**0.5).softmax(1)
        found = grid_attention(query, key, value)
        assert found.shape == (1, 2, 1, 2)
        assert torch.allclose(found[0, :, 0, 0], value[0] @ weight[0])
        assert torch.allclose(found[0, :, 0, 1], value[0] @ weight[1])

    def test_one_token_is_all_that_any_place_can_get(self) -> None:
        value = torch.tensor([[[3.0], [4.0]]])
        found = grid_attention(torch.randn(1, 2, 5, 7), torch.randn(1, 2, 1), value)
        assert torch.allclose(found, value[..., None].expand(1, 2, 5, 7))


class TestChannelAttention:
    def test_channels_are_mixed_by_the_affinity_of_keys_and_values(self) -> None:
        query = torch.tensor([1.0, 5.0]).reshape(1, 2, 1, 1)
        key, value = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]]), torch.tensor([[[3.0, 1.0], [0, 4]]])
        weight = (torch.tensor([[6.0, 0.0], [0.0, 0.0]]) / 2**0.5).softmax(1)
        found = channel_attention(query, key, value)
        assert torch.allclose(found[0, :, 0, 0], weight @ torch.tensor([1.0, 5.0]))


class TestPooled:
    def test_it_gives_means_of_squares_and_of_what_is_left_at_the_rim(self) -> None:
        maps = torch.arange(9.0).reshape(1, 1, 3, 3)
        assert torch.equal(pooled(maps, 2), torch.tensor([[[[2.0, 3.5], [6.5, 8.0]]]]))

    @pytest.mark.parametrize(("side", "tokens"), [(228, 14), (57, 12), (29, 10), (8, 8)])
    def test_it_leaves_at_most_fourteen_a_side(self, side: int, tokens: int) -> None:
        assert pooled(torch.zeros(1, 1, side, side), 14).shape[2:] == (tokens, tokens)


@pytest.mark.parametrize("kind", ["pooled", "channel"])
class TestAttentionBlock:
    @pytest.mark.parametrize(
        ("form", "inside", "size", "outside"),
        [
            ("same", 29, None, 29),
            ("down", 228, None, 114),
            ("down", 57, None, 29),
            ("up", 29, (57, 57), 57),
            ("up", 57, (114, 114), 114),
            ("up", 8, None, 16),
        ],
    )
    def test_each_form_gives_its_sides(
        self, kind: str, form: Form, inside: int, size: tuple[int, int] | None, outside: int
    ) -> None:
        block = AttentionBlock(form, 2, 8, kind=kind, tokens=4)  # type: ignore[arg-type]
        with torch.no_grad():
            assert block(torch.rand(1, 2, inside, inside), size).shape == (1, 8, outside, outside)

    def test_what_is_pooled_first_is_what_would_be_pooled_last(self, kind: str) -> None:
        block = AttentionBlock("same", 1, 8, kind=kind, tokens=2)  # type: ignore[arg-type]
        seen, asked = torch.rand(1, 8, 6, 6), torch.rand(1, 8, 6, 6)
        with torch.no_grad():
            key, value = block.key_value(seen).chunk(2, 1)
            expected: Tensor
            if kind == "channel":
                expected = channel_attention(asked, key.flatten(2), value.flatten(2))
            else:
                few = (pooled(each, 2).flatten(2) for each in (key, value))
                expected = grid_attention(asked, *few)
            assert torch.allclose(block._attended(asked, seen), expected, atol=1e-6)
