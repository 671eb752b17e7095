import pytest
import torch
from torch import Tensor

from models.contract import BadParams
from models.transformer import Attention, Block, MultiLevel


def _tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestAttention:
    def test_it_is_the_softmax_of_scaled_products_over_tokens_and_slots(self) -> None:
        module, tokens = Attention(8, 2, memory=3), _tokens(1, 5, 8)
        with torch.no_grad():
            found = module(tokens, tokens)[0]
            query, key, value = (part(tokens[0]) for part in _projections(module))
            key = torch.cat([key, module.keys_MF * 4**0.5])
            value = torch.cat([value, module.values_MF * 3**0.5])
            heads = [
                (query[:, at] @ key[:, at].T / 4**0.5).softmax(1) @ value[:, at]
                for at in (slice(0, 4), slice(4, 8))
            ]
            assert torch.allclose(found, module.out(torch.cat(heads, 1)), atol=1e-6)

    def test_slots_begin_as_large_as_what_they_are_beside(self) -> None:
        torch.manual_seed(0)
        module = Attention(64, 4, memory=256)
        assert float((module.keys_MF * 16**0.5).std().detach()) == pytest.approx(1, abs=0.05)
        assert float((module.values_MF * 256**0.5).std().detach()) == pytest.approx(1, abs=0.05)

    def test_memory_keys_and_values_are_taught(self) -> None:
        module, tokens = Attention(8, 2, memory=3), _tokens(2, 5, 8)
        torch.autograd.backward(module(tokens, tokens).square().sum())
        for slots in (module.keys_MF, module.values_MF):
            assert slots.grad is not None
            assert (slots.grad.abs().sum(1) > 0).all()

    def test_without_slots_it_has_no_memory(self) -> None:
        assert {name for name, _ in Attention(8, 2).named_parameters()} == {
            "query.weight", "key.weight", "value.weight", "out.weight", "out.bias",
        }  # fmt: skip

    def test_heads_must_divide_the_width(self) -> None:
        for family in (Attention, lambda width, heads: MultiLevel(width, heads, 2)):
            with pytest.raises(BadParams, match="heads, 3"):
                family(8, 3)


class TestMultiLevel:
    @pytest.mark.parametrize("gates", ["feature", "level"])
    def test_it_sums_what_the_gates_let_through_over_the_root_of_the_levels(
        self, gates: str
    ) -> None:
        module = MultiLevel(8, 2, 3, gates)  # type: ignore[arg-type]
        asking, levels = _tokens(2, 5, 8), _tokens(3, 2, 4, 8, seed=1)
        plain = Attention(8, 2)
        plain.load_state_dict(
            {name: value for name, value in module.state_dict().items() if "." in name}
        )
        with torch.no_grad():
            torch.nn.init.normal_(module.bias_L1G)
            expected = torch.zeros(2, 5, 8)
            for number, level in enumerate(levels):  # one level at a time, by eq. 2 and 3
                found = plain(asking, level)
                weight = torch.cat([module.gate_2LFG[0, number], module.gate_2LFG[1, number]])
                opened = torch.cat([asking, found], 2) @ weight + module.bias_L1G[number]
                expected += opened.sigmoid() * found / 3**0.5
            assert torch.allclose(module(asking, levels), expected, atol=1e-5)

    def test_a_shut_gate_lets_its_level_through_nowhere(self) -> None:
        module, asking = MultiLevel(8, 2, 2), _tokens(1, 5, 8)
        levels = _tokens(2, 1, 4, 8, seed=1)
        with torch.no_grad():
            module.bias_L1G[1] = -1e4
            before = module(asking, levels)
            levels[1] = 7.0
            assert torch.equal(module(asking, levels), before)
            levels[0] = 7.0
            assert not torch.equal(module(asking, levels), before)


class TestBlock:
    def test_without_levels_it_has_no_part_that_looks_at_them(self) -> None:
        names = {name.partition(".")[0] for name, _ in Block(8, 2).named_parameters()}
        assert names == {"before", "attention", "between", "mlp"}


def _projections(module: Attention) -> tuple[torch.nn.Module, ...]:
    return module.query, module.key, module.value
