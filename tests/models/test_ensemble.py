import math

import pytest
import torch

from models.contract import BadParams, Batch
from models.ensemble import Ensemble, combined, log_p
from tests.models.chests import SMALL, healthy, with_opacity

MEMBERS = [
    {"family": "memae", "params": SMALL, "rate": 0.5},
    {"family": "paste-net", "params": {"size_px": 16, "widths": (8, 16)}, "share": 2.0},
]


def _small(**params: object) -> Ensemble:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Ensemble(**({"members": MEMBERS, "references": 32} | params))  # type: ignore[arg-type]


class TestLogP:
    def test_it_is_about_the_share_of_healthy_scores_at_or_above(self) -> None:
        healthy_R = torch.randn(1000, generator=torch.Generator().manual_seed(0))
        asked = torch.tensor([-1.0, 0.0, 1.0, 2.0])
        counted = torch.stack([(healthy_R >= one).float().mean() for one in asked])
        assert torch.allclose(log_p(asked, healthy_R).exp().float(), counted, atol=0.02)

    def test_stranger_than_all_is_still_ordered_and_finite(self) -> None:
        healthy_R = torch.linspace(0, 1, 50)
        found = log_p(torch.tensor([2.0, 3.0, 30.0, 1e4]), healthy_R)
        assert found.isfinite().all()
        assert (found.diff() < 0).all()

    def test_far_out_each_further_step_counts_the_same(self) -> None:
        found = log_p(torch.tensor([10.0, 12.0, 14.0]), torch.linspace(0, 1, 50))
        assert found.diff()[0] == pytest.approx(float(found.diff()[1]), rel=1e-6)

    def test_it_is_never_above_one_and_holds_where_all_healthy_are_equal(self) -> None:
        found = log_p(torch.tensor([-5.0, 0.5, 5.0]), torch.full((20,), 0.5))
        assert (found <= 0).all()
        assert found.isfinite().all()
        assert found[0] > found[1] > found[2]


class TestCombined:
    P = torch.tensor([[0.5, 0.01, 0.3], [0.5, 0.8, 0.3]]).log().double()

    def test_the_mean_is_of_the_p_themselves(self) -> None:
        wanted = [-math.log(0.5), -math.log(0.405), -math.log(0.3)]
        assert combined(self.P, "mean", 0.2).tolist() == pytest.approx(wanted)

    def test_fisher_s_is_of_their_logs(self) -> None:
        wanted = [math.log(2), -math.log(0.01 * 0.8) / 2, -math.log(0.3)]
        assert combined(self.P, "fisher", 0.2).tolist() == pytest.approx(wanted, rel=1e-5)

    def test_the_truncated_counts_the_remarkable_and_orders_the_rest(self) -> None:
        found = combined(self.P, "truncated", 0.2)
        assert found[1].item() == pytest.approx((-math.log(0.01) - 1e-3 * math.log(0.8)) / 2)
        assert found[2] > found[0]
        assert found[2] < 0.01 * found[1]


class TestEnsemble:
    def test_members_are_trained_each_in_stages_of_its_own(self) -> None:
        detector = _small()
        names = [stage.name for stage in detector.stages()]
        assert names == ["memae-train", "paste-net-find"]
        (memae,), (finder,) = (stage.players for stage in detector.stages())
        assert (memae.rate, finder.rate) == (0.5, 1.0)
        assert [stage.share for stage in detector.stages()] == [1.0, 2.0]
        held = {p for one in memae.modules for p in one.parameters()}
        assert held == set(detector.detectors[0].parameters())

    def test_its_further_scores_are_the_members_own(self) -> None:
        detector, voxels = _small(), healthy(4)
        found = detector.score(voxels).others
        assert set(found) == {"memae", "paste-net"}  # neither has further ones
        for name, member in zip(found, detector.detectors, strict=True):
            assert torch.equal(found[name], member.score(voxels).score_N)

    def test_a_member_s_further_scores_stand_behind_its_name(self) -> None:
        anchor = {
            "family": "anchor",
            "params": {
                "size_px": 16,
                "widths": (8, 8, 8),
                "slots": 8,
                "heads": ("padim", "density"),
            },
        }
        found = _small(members=[anchor, MEMBERS[1]]).score(healthy(2)).others
        assert set(found) == {"anchor", "anchor density", "paste-net"}

    def test_what_is_usual_comes_from_the_images_that_gauge(self) -> None:
        detector = _small()
        detector.settle([healthy(16)])
        detector.gauge([healthy(16, seed=1), healthy(16, seed=2)])
        said = torch.cat([detector.score(healthy(16, seed=s)).others["memae"] for s in (1, 2)])
        kept = detector.healthy_KR[0]
        assert kept.min() >= said.min()
        assert kept.max() <= said.max()
        assert float(kept.median()) == pytest.approx(float(said.median()), rel=0.1)

    def test_the_unit_of_a_member_s_score_does_not_matter(self) -> None:
        detector, voxels = _small(), torch.cat([healthy(6), with_opacity(healthy(6, seed=1))])
        detector.settle([healthy(32, seed=2)])
        before = detector.score(voxels)
        memae = detector.detectors[0]
        memae.healthy_HW = torch.full((16, 16), 1e-3)
        detector.gauge([healthy(32, seed=2)])
        after = detector.score(voxels)
        assert torch.allclose(before.score_N, after.score_N, rtol=1e-3)
        assert before.map_NHW is not None
        assert after.map_NHW is not None
        assert torch.allclose(before.map_NHW, after.map_NHW, rtol=1e-3)

    def test_two_of_one_family_have_numbers(self) -> None:
        detector = _small(members=[MEMBERS[0], MEMBERS[0]])
        assert detector.names == ("memae-1", "memae-2")
        assert set(detector.loss(Batch(healthy(4))).parts) == {"memae-1", "memae-2"}

    def test_a_fixed_seed_gives_the_golden_scores(self) -> None:
        detector = _small()
        detector.settle([healthy(32, seed=1)])
        found = detector.score(with_opacity(healthy(3))).score_N
        assert found.tolist() == pytest.approx(GOLDEN, rel=1e-3)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"members": MEMBERS[:1]}, "two members"),
        ({"members": [*MEMBERS, {"family": "memae", "weight": 2}]}, "not weight"),
        ({"members": [*MEMBERS, {"family": "ensemble", "params": {}}]}, "no ensemble itself"),
        ({"combine": "max"}, "mean, fisher or truncated"),
        ({"tau": 1.5}, "tau"),
        ({"references": 1}, "references"),
    ],
)
def test_parameters_that_make_no_ensemble_are_refused(params: dict[str, object], said: str) -> None:
    with pytest.raises(BadParams, match=said):
        _small(**params)


GOLDEN = [13.3086, 1.08356, 1.66445]
"""To be kept when nothing that scores is meant to change."""
