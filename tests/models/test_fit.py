import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.checkpoint import POINTER, WrongRun
from models.contract import Batch
from models.curves import Epoch
from models.fit import Images, Plan, fit
from models.memae import MemAE
from tests.models.chests import healthy, small_memae

PLAN = Plan(epochs=6, batch_size=8, patience=6)
IMAGES = Images(healthy(24), healthy(8, seed=1))


class _Killed(Exception):
    pass


def _state(detector: MemAE) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in detector.state_dict().items()}


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_held_out_loss_falls(tmp_path: Path) -> None:
    history = fit(small_memae(), IMAGES, PLAN, tmp_path)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    losses = [epoch.held_out_loss or 0.0 for epoch in history]
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_seed_gives_the_same_weights_and_curves(tmp_path: Path) -> None:
    first, second = small_memae(), small_memae()
    fit(first, IMAGES, PLAN, tmp_path / "a")
    torch.rand(5)  # whatever else drew random numbers does not matter
    fit(second, IMAGES, PLAN, tmp_path / "b")
    assert _equal(_state(first), _state(second))
    for name in ("curves-train.csv", "curves-train.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first, second = small_memae(), small_memae()
    fit(first, IMAGES, PLAN, tmp_path / "a")
    fit(second, IMAGES, PLAN.model_copy(update={"seed": 1}), tmp_path / "b")
    assert not _equal(_state(first), _state(second))


@pytest.mark.parametrize("after", [1, 4])
def test_a_run_killed_and_resumed_ends_like_one_that_was_not(tmp_path: Path, after: int) -> None:
    def kill(epoch: Epoch) -> None:
        if epoch.number == after:
            raise _Killed

    whole, broken, resumed = small_memae(), small_memae(), small_memae(seed=99)
    expected = fit(whole, IMAGES, PLAN, tmp_path / "whole")
    with pytest.raises(_Killed):
        fit(broken, IMAGES, PLAN, tmp_path / "broken", progress=kill)
    found = fit(resumed, IMAGES, PLAN, tmp_path / "broken", resume=True)
    assert found == expected
    assert _equal(_state(resumed), _state(whole))


def test_a_kill_between_tensors_and_pointer_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    whole, resumed = small_memae(), small_memae()
    expected = fit(whole, IMAGES, PLAN, tmp_path / "whole")
    fit(small_memae(), IMAGES, PLAN, tmp_path / "run")
    (tmp_path / "run" / "epoch-00007.safetensors").write_bytes(b"half")
    (tmp_path / "run" / ".epoch-00008.safetensors.part").write_bytes(b"half")
    assert fit(resumed, IMAGES, PLAN, tmp_path / "run", resume=True) == expected
    assert _equal(_state(resumed), _state(whole))


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    trained = small_memae()
    fit(trained, IMAGES, PLAN, tmp_path)
    again = small_memae(seed=5)
    seen: list[Epoch] = []
    fit(again, IMAGES, PLAN, tmp_path, resume=True, progress=seen.append)
    assert seen == []
    assert _equal(_state(again), _state(trained))


def test_a_run_of_another_plan_is_not_carried_on(tmp_path: Path) -> None:
    fit(small_memae(), IMAGES, PLAN, tmp_path)
    other = PLAN.model_copy(update={"learning_rate": 0.1})
    with pytest.raises(WrongRun, match=r"another plan \(plan\.learning_rate\)"):
        fit(small_memae(), IMAGES, other, tmp_path, resume=True)


def test_a_run_of_other_images_or_another_detector_is_not_carried_on(tmp_path: Path) -> None:
    fit(small_memae(), IMAGES, PLAN, tmp_path)
    with pytest.raises(WrongRun, match=r"\(images\)"):
        fit(small_memae(), Images(healthy(24), healthy(8)), PLAN, tmp_path, resume=True)
    with pytest.raises(WrongRun, match=r"\(params\.slots\)"):
        fit(small_memae(slots=13), IMAGES, PLAN, tmp_path, resume=True)


def test_a_checkpoint_of_another_release_is_not_carried_on(tmp_path: Path) -> None:
    fit(small_memae(), IMAGES, PLAN, tmp_path)
    pointer = json.loads((tmp_path / POINTER).read_text())
    (tmp_path / POINTER).write_text(json.dumps(pointer | {"form": 1}))
    with pytest.raises(WrongRun, match="another release"):
        fit(small_memae(), IMAGES, PLAN, tmp_path, resume=True)


def test_it_stops_when_the_held_out_loss_stays_up_and_keeps_the_best(tmp_path: Path) -> None:
    plan = Plan(epochs=40, batch_size=8, learning_rate=0.05, patience=2, average=0, jitter=0)
    detector = small_memae()
    history = fit(detector, Images(healthy(8), 1 - healthy(8, seed=1)), plan, tmp_path)
    best = min(history, key=lambda epoch: epoch.held_out_loss or 0.0)
    assert len(history) < 40
    assert history[-1].number == best.number + 2
    with torch.no_grad():
        kept = float(detector.loss(Batch(1 - healthy(8, seed=1))).total)
    assert kept == pytest.approx(best.held_out_loss, rel=1e-5)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(WrongRun, match="no longer finite"):
        fit(small_memae(), Images(healthy(8) * torch.nan, healthy(8)), PLAN, tmp_path)


def test_the_run_folder_holds_no_pickle_and_its_curves_agree(tmp_path: Path) -> None:
    history = fit(small_memae(), IMAGES, PLAN, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "epoch-00006.safetensors", POINTER, "curves-train.csv", "curves-train.svg"
    }  # fmt: skip
    assert json.loads((tmp_path / POINTER).read_text())["tensors"] == "epoch-00006.safetensors"
    with (tmp_path / "curves-train.csv").open(newline="") as file:
        losses = [float(line["loss"]) for line in csv.DictReader(file)]
    assert losses == [epoch.loss for epoch in history]
    assert set(history[0].parts) == {"reconstruction", "entropy"}
    assert b"<svg" in (tmp_path / "curves-train.svg").read_bytes()


@pytest.mark.gpu
def test_it_trains_on_a_cuda_device(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    detector = small_memae().to("cuda")
    history = fit(detector, IMAGES, PLAN, tmp_path)
    assert (history[-1].held_out_loss or 0.0) < (history[0].held_out_loss or 0.0)
