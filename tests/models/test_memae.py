import pytest
import torch
from torch import Tensor

from models.contract import Batch
from models.memae import READINGS, MemAE, Memory, entropy, hard_shrink
from tests.models.chests import healthy, small_memae, with_opacity


class TestHardShrink:
    def test_it_drops_what_is_at_or_below_the_threshold_and_sums_to_one_again(self) -> None:
        shrunk = hard_shrink(torch.tensor([[0.1, 0.25, 0.65]]), 0.1)
        assert torch.allclose(shrunk, torch.tensor([[0.0, 0.25 / 0.9, 0.65 / 0.9]]))

    def test_it_gives_zeros_and_no_nan_when_nothing_is_above(self) -> None:
        assert torch.equal(hard_shrink(torch.full((1, 4), 0.25), 0.25), torch.zeros(1, 4))


def test_the_entropy_is_zero_for_one_slot_and_log_m_for_an_even_address() -> None:
    assert float(entropy(torch.tensor([[0.0, 1.0]]))) == pytest.approx(0.0, abs=1e-6)
    assert float(entropy(torch.full((3, 4), 0.25))) == pytest.approx(torch.tensor(4.0).log().item())


class TestMemory:
    def test_a_query_equal_to_a_slot_is_addressed_there_most(self) -> None:
        torch.manual_seed(0)
        memory = Memory(slots=20, features=8, shrink=1.0)
        _, address_PM = memory(memory.slots_MF.detach())
        assert torch.equal(address_PM.argmax(1), torch.arange(20))

    def test_with_sharp_addresses_the_stored_slot_itself_is_recalled(self) -> None:
        torch.manual_seed(0)
        memory = Memory(slots=20, features=8, shrink=1.0)
        with torch.no_grad():
            memory.get_parameter("scale").fill_(1000.0)
        recalled_PF, _ = memory(memory.slots_MF.detach())
        assert torch.allclose(recalled_PF, memory.slots_MF, atol=1e-5)

    def test_every_address_sums_to_one_and_few_slots_are_left(self) -> None:
        torch.manual_seed(0)
        _, address_PM = Memory(slots=50, features=8, shrink=1.0)(torch.randn(30, 8))
        assert torch.allclose(address_PM.sum(1), torch.ones(30))
        assert (address_PM == 0).any(1).all()

    def test_by_product_it_is_addressed_with_the_softmax_of_the_bare_products(self) -> None:
        torch.manual_seed(0)
        memory = Memory(slots=6, features=8, shrink=0.0, address="dot")
        query_PF = torch.randn(5, 8)
        _, address_PM = memory(query_PF)
        assert memory.scale is None
        assert torch.allclose(address_PM, (query_PF @ memory.slots_MF.T).softmax(1), atol=1e-6)

    def test_a_threshold_in_units_of_an_even_weight_leaves_something_of_any_memory(self) -> None:
        torch.manual_seed(0)
        for slots in (20, 2000):
            _, address_PM = Memory(slots, features=8, shrink=1.0, address="dot")(torch.randn(9, 8))
            assert torch.allclose(address_PM.sum(1), torch.ones(9))

    def test_five_times_an_even_weight_shrinks_an_even_address_to_nothing(self) -> None:
        memory = Memory(slots=2000, features=8, shrink=5.0, address="dot")
        recalled_PF, _ = memory(torch.zeros(3, 8))
        assert memory.threshold == pytest.approx(0.0025)
        assert torch.equal(recalled_PF, torch.zeros(3, 8))


class TestMemAE:
    @pytest.mark.parametrize(("memory", "queries"), [("position", 2 * 16), ("vector", 2)])
    def test_it_asks_the_memory_once_a_place_or_once_an_image(
        self, memory: str, queries: int
    ) -> None:
        rebuilt_NCHW, address_PM = small_memae(memory=memory).rebuild(healthy(2))
        assert rebuilt_NCHW.shape == (2, 1, 16, 16)
        assert address_PM.shape == (queries, 12)

    @pytest.mark.parametrize(("memory", "features"), [("position", 8 * 16), ("vector", 8)])
    def test_a_code_is_what_asks_the_memory_and_is_drawn_through_it(
        self, memory: str, features: int
    ) -> None:
        detector, voxels = small_memae(memory=memory), healthy(2)
        latent_NF = detector.encode(voxels)
        assert latent_NF.shape == (2, features)
        assert detector.code_features == features
        assert torch.equal(detector.decode(latent_NF), detector.rebuild(voxels)[0])

    def test_an_image_rebuilt_exactly_scores_zero(self) -> None:
        detector = _Perfect(size_px=16, widths=(8,))
        assert torch.equal(detector.score(healthy(2)).score_N, torch.zeros(2))

    @pytest.mark.parametrize("reading", READINGS)
    def test_every_reading_sees_a_larger_residual_as_stranger(self, reading: str) -> None:
        small, large = (READINGS[reading](k * healthy(2)).mean() for k in (1, 2))
        assert large > small

    def test_a_thin_edge_a_pixel_off_is_less_to_the_smooth_reading_than_a_patch(self) -> None:
        edge, patch = torch.zeros(2, 1, 1, 32, 32)
        edge[..., 4:28, 15], edge[..., 4:28, 16] = 1.0, -1.0
        patch[..., 12:18, 12:20] = 1.0  # the same number of changed pixels
        assert torch.equal(edge.square().sum(), patch.square().sum())
        assert READINGS["smooth"](edge).sum() < 0.2 * READINGS["smooth"](patch).sum()

    def test_relative_divides_by_what_healthy_images_leave(self) -> None:
        detector = small_memae(relative=True, reading="mse")
        voxels = healthy(64)
        detector.settle(torch.split(voxels, 16))
        assert float(detector.score(voxels).score_N.mean()) == pytest.approx(1.0, rel=0.1)
        assert not torch.equal(detector.healthy_HW, torch.ones(16, 16))

    def test_the_margin_is_left_out_of_the_score_but_not_of_the_map(self) -> None:
        detector = small_memae(margin=0.25, reading="mse")
        anomaly = detector.score(healthy(2))
        assert anomaly.map_NHW is not None
        assert torch.allclose(anomaly.score_N, anomaly.map_NHW[:, 4:12, 4:12].mean((1, 2)))
        assert (anomaly.map_NHW[:, 0] > 0).any()

    def test_the_loss_adds_the_weighted_entropy(self) -> None:
        loss = small_memae(entropy_weight=0.5).loss(Batch(healthy(4)))
        expected = loss.parts["reconstruction"] + 0.5 * loss.parts["entropy"]
        assert torch.equal(loss.total, expected)

    @pytest.mark.parametrize(
        ("params", "golden"),
        [
            ({"memory": "position"}, [0.834319, 0.921689]),
            ({"memory": "vector", "reading": "smooth", "margin": 0.2}, [0.631060, 0.717672]),
        ],
    )
    def test_a_fixed_seed_gives_the_golden_scores(
        self, params: dict[str, object], golden: list[float]
    ) -> None:
        voxels = torch.cat([healthy(1), with_opacity(healthy(1))])
        assert small_memae(seed=7, **params).score(voxels).score_N.tolist() == pytest.approx(
            golden, rel=1e-4
        )


class _Perfect(MemAE):
    def rebuild(self, voxels_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        return voxels_NCHW, torch.ones(1, 1)
