import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoint import WrongRun
from models.contract import BadParams, Batch, Loss
from models.maddr import MADDR, Head, focal, spread
from models.memae import MemAE
from tests.models.chests import SMALL, healthy

VECTOR: dict[str, Any] = SMALL | {"memory": "vector", "latent": 12}
ORGANS, MODALITIES = ("CHEST", "HEAD"), ("DX", "CT", "MR")


def maddr(**params: object) -> MADDR:
    given: dict[str, Any] = {
        "base": "memae",
        "base_params": VECTOR,
        "organs": ORGANS,
        "modalities": MODALITIES,
        "organ_features": 4,
        "modality_features": 4,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MADDR(**(given | params))


def pictures(count: int = 24, seed: int = 0) -> Batch:
    """Give pictures whose organ is told by their left rim, and whose modality by their right."""
    voxels_NCHW = healthy(count, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    organ_N = torch.randint(len(ORGANS), (count,), generator=generator)
    modality_N = torch.randint(len(MODALITIES), (count,), generator=generator)
    voxels_NCHW[:, :, :, :4] = organ_N[:, None, None, None].float()
    voxels_NCHW[:, :, :, 12:] = modality_N[:, None, None, None] / 2
    return Batch(voxels_NCHW, organ_N, modality_N)


def learn(detector: MADDR, steps: int = 150) -> None:
    [player] = detector.stages()[0].players
    parameters = [one for module in player.modules for one in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    detector.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(player.loss(pictures(seed=step)).total)
            optimizer.step()
    detector.eval()


class TestFocal:
    def test_it_is_what_the_formula_says_by_hand(self) -> None:
        logit_NK = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])  # p = 3/4 and 4/5
        found = focal(logit_NK, torch.tensor([1, 0]), torch.tensor([2.0, 0.5]))
        second = -0.5 * 0.25**2 * math.log(0.75)
        first = -2.0 * 0.2**2 * math.log(0.8)
        assert float(found) == pytest.approx((first + second) / 2, rel=1e-5)

    def test_without_focus_and_with_even_weights_it_is_the_cross_entropy(self) -> None:
        generator = torch.Generator().manual_seed(0)
        logit_NK = torch.randn(6, 3, generator=generator)
        label_N = torch.tensor([0, 1, 2, 2, 1, 0])
        found = focal(logit_NK, label_N, torch.ones(3), gamma=0.0)
        assert torch.allclose(found, torch.nn.functional.cross_entropy(logit_NK, label_N))


class TestSpread:
    def test_it_is_the_mean_distance_to_the_mean_of_the_others(self) -> None:
        code_NF = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
        left_out = [
            (one - torch.cat([code_NF[:i], code_NF[i + 1 :]]).mean(0)).square().sum()
            for i, one in enumerate(code_NF)
        ]
        assert torch.allclose(spread(code_NF), torch.stack(left_out).mean() / 5)

    def test_it_is_zero_only_where_all_codes_are_equal(self) -> None:
        same_NF = torch.full((4, 3), 0.7)
        assert float(spread(same_NF)) == pytest.approx(0.0, abs=1e-12)
        assert spread(same_NF + torch.eye(4, 3)) > 0


class TestHead:
    def test_the_weights_fall_with_frequency_and_are_one_on_average_over_the_images(self) -> None:
        head = Head(features=2, classes=3)
        label_N = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
        head.count(label_N)
        weight_K = head.weights()
        assert float(weight_K[label_N].mean()) == pytest.approx(1.0, abs=0.02)
        assert float(weight_K[2] / weight_K[0]) == pytest.approx(61 / 11)

    def test_before_it_was_shown_any_image_all_classes_weigh_alike(self) -> None:
        assert torch.equal(Head(features=2, classes=3).weights(), torch.ones(3))


class TestTheTerms:
    def test_with_every_weight_zero_the_base_learns_as_it_does_alone(self) -> None:
        wrapped = maddr(weights={"organ": 0.0, "modality": 0.0, "centre": 0.0})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            alone = MemAE(**VECTOR)
        batch = pictures()
        torch.autograd.backward(wrapped.loss(batch).total)
        torch.autograd.backward(alone.loss(Batch(batch.voxels_NCHW)).total)
        for name, parameter in alone.named_parameters():
            expected, found = parameter.grad, wrapped.base.get_parameter(name).grad
            assert expected is not None
            assert found is not None
            assert torch.equal(found, expected), name

    @pytest.mark.parametrize("term", ["organ", "modality", "centre"])
    def test_each_term_stands_in_the_total_with_its_weight(self, term: str) -> None:
        loss = maddr(terms=[term], weights={term: 0.1}).loss(pictures())
        rest = loss.parts["reconstruction"] + 2e-4 * loss.parts["entropy"]
        assert set(loss.parts) == {"reconstruction", "entropy", term}
        assert torch.allclose(loss.total, rest + 0.1 * loss.parts[term])

    @pytest.mark.parametrize(
        ("term", "own"),
        [("organ", slice(0, 4)), ("modality", slice(4, 8)), ("centre", slice(8, 12))],
    )
    def test_each_term_moves_its_own_part_of_the_code_and_no_other(
        self, term: str, own: slice
    ) -> None:
        detector = maddr(terms=[term])
        loss = detector.loss(pictures())
        assert loss.latent_NF is not None
        [grad_NF] = torch.autograd.grad(loss.parts[term], loss.latent_NF)
        assert (grad_NF[:, own].abs().sum(0) > 0).all()
        grad_NF[:, own] = 0
        assert torch.equal(grad_NF, torch.zeros_like(grad_NF))

    def test_without_the_split_every_term_moves_the_whole_code(self) -> None:
        detector = maddr(split=False)
        loss = detector.loss(pictures())
        assert loss.latent_NF is not None
        for term in ("organ", "modality", "centre"):
            [grad_NF] = torch.autograd.grad(loss.parts[term], loss.latent_NF, retain_graph=True)
            assert (grad_NF.abs().sum(0) > 0).all(), term

    def test_a_batch_is_encoded_once(self) -> None:
        detector, calls = maddr(), []
        assert isinstance(detector.base, MemAE)
        detector.base.encoder.register_forward_hook(lambda *_: calls.append(1))
        detector.loss(pictures())
        assert calls == [1]

    def test_images_without_a_label_stop_the_training_with_what_to_do(self) -> None:
        with pytest.raises(WrongRun, match="name no organ; name it for every source"):
            maddr().loss(Batch(healthy(4)))

    def test_the_centre_needs_no_label(self) -> None:
        assert "centre" in maddr(terms=["centre"]).loss(Batch(healthy(4))).parts


class TestTheCentre:
    def test_a_small_batch_is_pulled_to_the_moving_centre_and_a_large_one_to_its_own(self) -> None:
        detector = maddr(terms=["centre"]).train()
        detector.loss(pictures(16, seed=1))
        former_F = detector.centre_F.clone()
        small = pictures(4, seed=2)
        loss = detector.loss(small)
        own_NF = detector.base.encode(small.voxels_NCHW)[:, 8:]
        moved_F = former_F + 0.1 * (own_NF.detach().mean(0) - former_F)
        assert torch.allclose(detector.centre_F, moved_F, atol=1e-6)
        expected = (own_NF - moved_F).square().mean()
        assert torch.allclose(loss.parts["centre"], expected, rtol=1e-4)
        large = pictures(8, seed=3)
        own_NF = detector.base.encode(large.voxels_NCHW)[:, 8:]
        assert torch.allclose(detector.loss(large).parts["centre"], spread(own_NF), rtol=1e-4)

    def test_looking_at_held_out_images_moves_neither_centre_nor_counts(self) -> None:
        detector = maddr().eval()
        before = {name: value.clone() for name, value in detector.state_dict().items()}
        detector.loss(pictures(4))
        assert all(
            torch.equal(value, before[name]) for name, value in detector.state_dict().items()
        )

    @pytest.mark.parametrize("relative", [False, True], ids=["idle base", "base that settles"])
    def test_settling_learns_the_mean_of_the_codes_whatever_the_base_does(
        self, relative: bool
    ) -> None:
        detector = maddr(base_params=VECTOR | {"relative": relative}).eval()
        voxels_NCHW = pictures(40).voxels_NCHW
        detector.settle(iter(torch.split(voxels_NCHW, 16)))
        with torch.no_grad():
            own_NF = detector.base.encode(voxels_NCHW)[:, 8:]
        assert torch.allclose(detector.centre_F, own_NF.mean(0), atol=1e-6)
        found = detector.score(voxels_NCHW).others["centre"]
        assert torch.allclose(found, (own_NF - own_NF.mean(0)).norm(dim=1), atol=1e-5)
        assert isinstance(detector.base, MemAE)
        assert (detector.base.healthy_HW != 1).all() == relative


class TestMixup:
    def test_the_mixture_is_rebuilt_and_its_labels_count_by_their_share(self) -> None:
        detector = maddr(terms=["organ", "mixup"]).train()
        batch, seen = pictures(8), []
        rebuild = detector.base.loss

        def listening(given: Batch) -> Loss:
            seen.append(given.voxels_NCHW)
            return rebuild(given)

        detector.base.loss = listening  # type: ignore[assignment]
        with torch.random.fork_rng():
            torch.manual_seed(_a_seed_that_mixes())
            loss = detector.loss(batch)
            torch.manual_seed(_a_seed_that_mixes())
            torch.rand(())
            share, other_N = torch.rand(()), torch.randperm(8)
        mixed = share * batch.voxels_NCHW + (1 - share) * batch.voxels_NCHW[other_N]
        assert torch.allclose(seen[0], mixed, atol=1e-6)
        assert batch.organ_N is not None
        head = detector.heads["organ"]
        assert isinstance(head, Head)
        logit_NK = head(detector.base.encode(mixed)[:, :4])
        first, second = (
            focal(logit_NK, label_N, head.weights())
            for label_N in (batch.organ_N, batch.organ_N[other_N])
        )
        assert torch.allclose(loss.parts["organ"], share * first + (1 - share) * second, rtol=1e-4)

    def test_about_half_of_the_batches_are_mixed_and_none_when_measured(self) -> None:
        detector, batch = maddr(terms=["mixup"]), pictures(4)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            detector.train()
            mixed = sum(detector._mixture(batch) is not None for _ in range(200))
            detector.eval()
            measured = [detector._mixture(batch) for _ in range(20)]
        assert 70 < mixed < 130
        assert measured == [None] * 20


def _a_seed_that_mixes() -> int:
    with torch.random.fork_rng():
        for seed in range(20):
            torch.manual_seed(seed)
            if torch.rand(()) < 0.5:
                return seed
    raise AssertionError


class TestLearning:
    def test_the_organ_head_learns_organs_and_the_modality_head_modalities(self) -> None:
        detector = maddr()
        learn(detector)
        batch = pictures(200, seed=999)
        assert batch.organ_N is not None
        assert batch.modality_N is not None
        seen = detector.score(batch.voxels_NCHW).seen
        assert _share_right(seen["organ"], batch.organ_N) > 0.95
        assert _share_right(seen["modality"], batch.modality_N) > 0.95
        # The two labels are independent: a head taught with the other's would be near chance.
        assert _share_right(seen["organ"], (batch.modality_N > 0).long()) < 0.7

    def test_the_heads_are_moved_by_the_player_that_encodes(self) -> None:
        detector = maddr()
        before = {name: value.clone() for name, value in detector.heads.named_parameters()}
        learn(detector, steps=3)
        for name, value in detector.heads.named_parameters():
            assert not torch.equal(value, before[name]), name

    def test_no_label_is_changed(self) -> None:
        detector, batch = maddr(terms=["organ", "modality", "centre", "mixup"]).train(), pictures()
        assert batch.organ_N is not None
        assert batch.modality_N is not None
        before = batch.organ_N.clone(), batch.modality_N.clone(), batch.voxels_NCHW.clone()
        for _ in range(4):
            torch.autograd.backward(detector.loss(batch).total)
        assert torch.equal(batch.organ_N, before[0])
        assert torch.equal(batch.modality_N, before[1])
        assert torch.equal(batch.voxels_NCHW, before[2])


def _share_right(probability_NK: Tensor, label_N: Tensor) -> float:
    return float((probability_NK.argmax(1) == label_N).float().mean())


class TestOneOrganAndOneModality:
    def test_there_is_nothing_to_tell_apart_so_only_the_centre_is_left(self) -> None:
        detector = maddr(organs=["CHEST"], modalities=["DX"])
        loss = detector.loss(Batch(healthy(8)))
        assert set(loss.parts) == {"reconstruction", "entropy", "centre"}
        found = detector.eval().score(healthy(3))
        assert found.seen == {}
        assert set(found.others) == {"centre"}


class TestWhatCannotBeBuilt:
    def test_an_unknown_term_is_named(self) -> None:
        with pytest.raises(BadParams, match="terms: center is none of organ, modality, centre"):
            maddr(terms=["center"])

    def test_mixup_has_no_weight(self) -> None:
        with pytest.raises(BadParams, match="weights: mixup is none of organ, modality, centre"):
            maddr(weights={"mixup": 0.5})

    def test_a_code_too_short_to_split_is_refused(self) -> None:
        with pytest.raises(BadParams, match="12 features a code, too few"):
            maddr(organ_features=10, modality_features=10)

    def test_a_base_without_codes_is_refused(self) -> None:
        with pytest.raises(BadParams, match="base maddr has no codes"):
            maddr(base="maddr")
