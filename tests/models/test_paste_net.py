import pytest
import torch

from models.contract import BadParams, Batch
from models.paste_net import PasteNet, disguise
from tests.models.chests import healthy, with_opacity


def _small(**params: object) -> PasteNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PasteNet(**({"size_px": 16, "widths": (8, 16)} | params))  # type: ignore[arg-type]


class TestDisguise:
    def test_it_changes_tone_and_sharpness_but_not_what_lies_where(self) -> None:
        voxels = healthy(16, size_px=32)
        changed = disguise(voxels, torch.Generator().manual_seed(0))
        assert ((changed >= 0) & (changed <= 1)).all()
        assert ((changed.mean((1, 2, 3)) - voxels.mean((1, 2, 3))).abs() > 0.01).any()
        for before, after in zip(voxels, changed, strict=True):
            both = torch.stack([before.flatten(), after.flatten()])
            assert torch.corrcoef(both)[0, 1] > 0.9


class TestSettle:
    def test_healthy_images_then_read_as_usual_at_every_place(self) -> None:
        detector, voxels = _small(), healthy(64)
        detector.settle(torch.split(voxels, 16))
        standard = (detector.net(voxels)[:, 0] - detector.mean_HW) / detector.deviation_HW
        assert standard.mean().abs() < 0.05
        assert standard.std() < 1.5

    def test_gauging_takes_the_place_of_what_the_training_images_taught(self) -> None:
        detector = _small()
        detector.settle([healthy(16)])
        before = detector.mean_HW.clone()
        detector.gauge([with_opacity(healthy(16, seed=1))])
        assert not torch.equal(detector.mean_HW, before)


class TestScore:
    def test_it_is_the_mean_of_the_top_places_inside_the_margin(self) -> None:
        detector = _small(top=0.5, margin=0.25)
        voxels = healthy(2)
        with torch.no_grad():
            inner = detector.net(voxels)[:, 0, 2:6, 2:6].flatten(1)
        wanted = inner.sort(dim=1, descending=True).values[:, :8].mean(1)
        assert torch.allclose(detector.score(voxels).score_N, wanted, atol=1e-6)

    def test_a_fixed_seed_gives_the_golden_scores(self) -> None:
        assert _small().score(healthy(3)).score_N.tolist() == pytest.approx(GOLDEN, rel=1e-4)


class TestLoss:
    def test_what_is_watched_are_the_same_lesions_each_time(self) -> None:
        detector = _small()
        (stage,) = detector.stages()
        assert stage.watch is not None
        batch = Batch(healthy(8))
        assert stage.watch(batch) == stage.watch(batch)

    def test_what_is_learnt_from_are_new_lesions_each_time(self) -> None:
        detector, batch = _small(), Batch(healthy(8))
        assert detector.loss(batch).total != detector.loss(batch).total


@pytest.mark.parametrize(
    "params",
    [{"widths": (8,)}, {"widths": (8, 12)}, {"size_px": 18}, {"top": 0.0}, {"margin": 0.5}],
)
def test_parameters_that_make_no_network_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(BadParams):
        _small(**params)


GOLDEN = [0.347732, 0.356928, 0.404217]
"""To be kept when nothing that scores is meant to change."""
