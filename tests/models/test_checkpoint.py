from pathlib import Path

import pytest
import torch

from models.checkpoint import Run, WrongRun, copy, keep, restore
from models.contract import Batch
from models.curves import Epoch
from models.turns import remembered, remind
from tests.models.chests import healthy, small_memae

EPOCHS = [Epoch(1, 0.5, 0.4, 1e-3), Epoch(2, 0.4, 0.4, 1e-3)]


def test_weights_moments_and_history_come_back_to_the_bit(tmp_path: Path) -> None:
    detector, other = small_memae(), small_memae(seed=1)
    optimizer, blank = (torch.optim.AdamW(one.parameters()) for one in (detector, other))
    torch.autograd.backward(detector.loss(Batch(healthy(4))).total)
    optimizer.step()
    state = copy(detector.state_dict())
    moments = {"a/b": remembered(optimizer)}
    keep(tmp_path, {"seed": 1}, Run(state, state, EPOCHS, 7, 1, moments), detector)
    run = restore(tmp_path, {"seed": 1}, other)
    assert run is not None
    assert (run.step, run.stage, run.history) == (7, 1, EPOCHS)
    remind(blank, run.moments["a/b"])
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    theirs = blank.state_dict()["state"]
    for index, mine in optimizer.state_dict()["state"].items():
        assert torch.equal(mine["exp_avg_sq"], theirs[index]["exp_avg_sq"])
        assert mine["step"] == theirs[index]["step"]


def test_only_the_last_epoch_s_tensors_are_kept(tmp_path: Path) -> None:
    detector = small_memae()
    for epochs in (EPOCHS[:1], EPOCHS):
        keep(tmp_path, {}, Run({}, {}, epochs), detector)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint.json", "epoch-00002.safetensors"}


def test_the_best_epoch_is_the_earliest_of_equals() -> None:
    assert Run({}, {}, EPOCHS).best_epoch.number == 1


def test_an_empty_folder_holds_no_run_and_another_plan_is_refused(tmp_path: Path) -> None:
    detector = small_memae()
    assert restore(tmp_path, {"seed": 1}, detector) is None
    keep(tmp_path, {"seed": 1}, Run({}, {}, EPOCHS), detector)
    with pytest.raises(WrongRun, match="another plan"):
        restore(tmp_path, {"seed": 2}, detector)
