from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.checkpoint import WrongRun
from models.contract import Batch, Loss, Player, Stage
from models.curves import Epoch
from models.fit import Images, Labels, Plan, fit
from models.turns import set_modes, turns
from tests.models.chests import healthy
from tests.models.duel import Duel, duel

PLAN = Plan(epochs=4, batch_size=8, patience=4)
IMAGES = Images(healthy(24), healthy(8, seed=1))


class _Killed(Exception):
    pass


def _state(detector: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in detector.state_dict().items()}


def _changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def _states_after_each_epoch(detector: Duel, folder: Path) -> list[dict[str, Tensor]]:
    states = [_state(detector)]
    fit(detector, IMAGES, PLAN, folder, progress=lambda _: states.append(_state(detector)))
    return states


def test_stages_follow_one_another_each_with_its_share_of_epochs(tmp_path: Path) -> None:
    history = fit(duel(), IMAGES, PLAN, tmp_path)
    assert [epoch.stage for epoch in history] == ["rebuild"] * 4 + ["duel"] * 2
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert [epoch.place for epoch in history] == [1, 2, 3, 4, 1, 2]
    assert all(epoch.held_out_loss is not None for epoch in history[:4])
    assert all(epoch.held_out_loss is None for epoch in history[4:])
    assert set(history[0].parts) == {"squared", "rough"}
    assert set(history[4].parts) == {"critic/made", "critic/real", "decoder/made"}


def test_a_stage_moves_only_what_its_players_hold(tmp_path: Path) -> None:
    states = _states_after_each_epoch(duel(), tmp_path)
    for before, after in pairwise(states[:5]):
        assert _changed(before, after) == {"encoder", "decoder"}
    # Between the fourth and fifth lies the return to the kept weights of the first stage.
    assert _changed(states[5], states[6]) == {"critic", "decoder", "seen"}


def test_what_no_player_holds_is_in_evaluation_mode(tmp_path: Path) -> None:
    detector = duel()
    fit(detector, IMAGES, PLAN, tmp_path)
    assert detector.modes[0] == (True, True, False)
    assert detector.modes[-1] == (True, False, True)
    assert not any(module.training for module in detector.modules())


def test_players_take_their_turns_and_rates(tmp_path: Path) -> None:
    detector = duel()
    fit(detector, IMAGES, PLAN, tmp_path)
    assert int(detector.seen) == 2 * 3 * 2  # two epochs of three batches, two turns on each


def test_the_optimisers_are_those_that_the_players_name() -> None:
    detector = duel()
    critic, decoder = turns(detector.stages()[1], tuple(detector.parameters()), 1e-4)
    assert isinstance(critic.optimizer, torch.optim.RMSprop)
    assert isinstance(decoder.optimizer, torch.optim.Adam)
    assert decoder.optimizer.param_groups[0]["betas"] == (0.5, 0.9)
    critic.step(Batch(healthy(4)), rate=0.01, clip_norm=1.0)
    assert critic.optimizer.param_groups[0]["lr"] == 0.005


def test_gradients_are_freed_and_what_the_family_froze_stays_frozen(tmp_path: Path) -> None:
    detector = duel()
    fit(detector, IMAGES, PLAN, tmp_path)
    assert all(each.grad is None for each in detector.parameters())
    frozen = {name for name, each in detector.named_parameters() if not each.requires_grad}
    assert frozen == {"fixed.weight", "fixed.bias"}


@pytest.mark.parametrize("after", [1, 4, 5, 6])
def test_a_run_killed_in_any_stage_and_resumed_ends_like_one_that_was_not(
    tmp_path: Path, after: int
) -> None:
    def kill(epoch: Epoch) -> None:
        if epoch.number == after:
            raise _Killed

    whole, resumed = duel(), duel(seed=9)
    expected = fit(whole, IMAGES, PLAN, tmp_path / "whole")
    with pytest.raises(_Killed):
        fit(duel(), IMAGES, PLAN, tmp_path / "broken", progress=kill)
    assert fit(resumed, IMAGES, PLAN, tmp_path / "broken", resume=True) == expected
    assert _changed(_state(resumed), _state(whole)) == set()
    for name in ("curves-rebuild.csv", "curves-duel.csv", "curves-rebuild.svg", "curves-duel.svg"):
        ours, theirs = ((tmp_path / run / name).read_bytes() for run in ("whole", "broken"))
        assert ours == theirs


def test_a_loss_that_is_no_number_is_placed_and_comes_with_its_fix(tmp_path: Path) -> None:
    where = "stage 'duel', epoch 5, player 'critic', step 2 of the stage"
    fix = r"\(made\); lower plan\.learning_rate \(say to 0\.00033\)"
    with pytest.raises(WrongRun, match=f"{where}: .*no longer finite {fix}"):
        fit(duel(fall_over_at=4), IMAGES, PLAN, tmp_path)


def test_labels_reach_the_loss_with_their_images_and_are_never_shared(tmp_path: Path) -> None:
    voxels = torch.arange(24.0)[:, None, None, None].expand(24, 1, 16, 16) / 24
    organ_N = torch.arange(24)
    images = Images(voxels, healthy(8), train_labels=Labels(organ_N=organ_N))
    detector = duel()
    fit(detector, images, PLAN.model_copy(update={"jitter": 0.0, "epochs": 1}), tmp_path)
    trained = [batch for batch in detector.batches if batch.organ_N is not None]
    assert len(trained) == 3
    for batch in trained:
        assert batch.organ_N is not None
        assert batch.modality_N is None
        assert torch.equal((batch.voxels_NCHW[:, 0, 0, 0] * 24).round().long(), batch.organ_N)
        batch.organ_N.fill_(-1)
    assert torch.equal(organ_N, torch.arange(24))


def test_players_that_contradict_one_another_are_refused() -> None:
    def loss(batch: Batch) -> Loss:
        return Loss(batch.voxels_NCHW.mean(), {})

    detector = duel()
    moved = tuple(detector.parameters())
    twice = Stage(
        "x", (Player("a", (detector.critic,), loss), Player("b", (detector,), loss)), None
    )
    with pytest.raises(ValueError, match="'b' moves what another player moves"):
        turns(twice, moved, 0.0)
    with pytest.raises(ValueError, match="'a' moves no parameter"):
        turns(Stage("x", (Player("a", (detector.fixed,), loss),), None), moved[:1], 0.0)
    with pytest.raises(ValueError, match="adamw, adam, rmsprop"):
        turns(Stage("x", (Player("a", (detector,), loss, optimizer="sgd"),), None), moved, 0.0)


def test_a_module_around_a_player_s_learns_with_it() -> None:
    inner, frozen = nn.Dropout(), nn.Dropout()
    detector = duel()
    detector.around = nn.Sequential(nn.Sequential(nn.Linear(1, 1), inner), frozen)
    around = detector.around
    held = Player("a", (around[0],), lambda batch: Loss(batch.voxels_NCHW, {}))
    set_modes(detector, Stage("x", (held,), None))
    assert (around.training, inner.training, frozen.training) == (True, True, False)
    assert not detector.decoder.training
