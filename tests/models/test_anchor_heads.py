import pytest
import torch

from models.anchor_heads import Density, Nearest, Padim, coreset, ledoit_wolf


def _features(count: int, *, seed: int = 0, places: int = 4, features: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, places, features, generator=generator)
    return mixed @ torch.tensor([[2.0, 0.0, 0.0], [1.5, 1.0, 0.0], [0.0, 0.0, 0.5]])


class TestPadim:
    def test_healthy_features_lie_about_one_away_at_every_place(self) -> None:
        head, known = Padim(4, 3), _features(4000)
        head.fit(known)
        found = head(known)
        assert found.shape == (4000, 4)
        assert torch.allclose(found.square().mean(0), torch.ones(4), atol=0.15)

    def test_a_direction_that_seldom_varies_counts_more(self) -> None:
        head = Padim(4, 3)
        head.fit(_features(4000))
        along, across = torch.zeros(1, 4, 3), torch.zeros(1, 4, 3)
        along[..., 0] = across[..., 2] = 2.0
        assert (head(across) > 2 * head(along)).all()

    def test_more_features_than_images_give_no_nonsense(self) -> None:
        head = Padim(4, 30)
        head.fit(torch.randn(5, 4, 30, generator=torch.Generator().manual_seed(0)))
        assert head(torch.randn(7, 4, 30)).isfinite().all()


class TestNearest:
    def test_a_kept_feature_is_no_distance_away_and_others_are_as_far_as_they_are(self) -> None:
        head = Nearest(4, 3, slots=400, weight=1.0)
        known = _features(100)
        head.fit(known)
        assert head(known).max() < 1e-2
        moved = known.clone()
        moved[..., 2] += 10
        assert (head(moved) > 3).all()

    def test_a_usual_feature_in_the_wrong_place_is_strange(self) -> None:
        known = torch.zeros(50, 4, 3)
        known[:, 0] = 3.0
        swapped = known[:1].clone()
        swapped[:, [0, 3]] = swapped[:, [3, 0]]
        placed, anywhere = (Nearest(4, 3, slots=20, weight=weight) for weight in (2.0, 0.0))
        for head in (placed, anywhere):
            head.fit(known)
        assert anywhere(swapped).max() < 1e-3
        assert placed(swapped)[0, 0] > 1

    def test_fewer_features_than_slots_are_kept_more_than_once(self) -> None:
        head = Nearest(4, 3, slots=100, weight=0.0)
        head.fit(_features(5))
        assert head.bank_MF.shape == (100, 5)
        assert head(_features(5)).max() < 1e-2


class TestCoreset:
    def test_it_takes_one_of_each_cluster_before_a_second_of_any(self) -> None:
        generator = torch.Generator().manual_seed(0)
        middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [50.0, 50.0]])
        known = (middles[:, None] + 0.1 * torch.randn(4, 20, 2, generator=generator)).flatten(0, 1)
        chosen = coreset(known, 4)
        assert set(torch.cdist(chosen, middles).argmin(1).tolist()) == {0, 1, 2, 3}

    def test_nothing_is_farther_from_it_than_its_members_from_each_other(self) -> None:
        known = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
        chosen = coreset(known, 20)
        between = torch.cdist(chosen, chosen) + 10 * torch.eye(20)
        assert torch.cdist(known, chosen).amin(1).max() <= between.min() + 1e-5


class TestDensity:
    def test_an_image_whose_whole_look_is_odd_lies_far(self) -> None:
        head, known = Density(3), _features(500, places=16)
        head.fit(known)
        assert head(known).square().mean() == pytest.approx(1.0, abs=0.25)
        flat = known * 0.3
        assert head(flat).mean() > 2 * head(known).mean()

    def test_few_images_make_no_false_directions(self) -> None:
        head = Density(30)
        generator = torch.Generator().manual_seed(0)
        head.fit(torch.randn(20, 16, 30, generator=generator))
        others = torch.randn(200, 16, 30, generator=generator)
        assert head(others).max() < 3


class TestLedoitWolf:
    def test_many_samples_are_left_as_they_are_and_few_are_drawn_in(self) -> None:
        true = torch.diag(torch.tensor([4.0, 1.0, 0.25]))
        generator = torch.Generator().manual_seed(0)
        many, few = (torch.randn(n, 3, generator=generator) @ true.sqrt() for n in (20000, 6))
        assert torch.allclose(ledoit_wolf(many), true, atol=0.15)
        sample = few.T @ few / len(few)
        drawn = ledoit_wolf(few)
        assert drawn.trace() == pytest.approx(sample.trace().item(), rel=1e-5)
        assert torch.linalg.eigvalsh(drawn).min() > torch.linalg.eigvalsh(sample).min()
