"""A training run on disk: killed at any moment, it is carried on from its last whole epoch.

``checkpoint.json`` names the file of tensors and is renamed into place after it, so the two
never disagree. Tensors are safetensors: nothing on disk runs code when read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save
from torch import Tensor
from torch.optim import Optimizer

from models.contract import Detector
from models.curves import Epoch
from models.files import write_atomically

POINTER: Final = "checkpoint.json"
State = dict[str, Tensor]


class WrongRun(ValueError):
    """The run cannot be carried on, or leads nowhere."""


@dataclass
class Run:
    """What must survive a kill, beside the detector's weights and the optimizer's moments."""

    average: State
    """The moving average of the weights."""
    best: State
    """The average at the epoch with the lowest held-out loss."""
    history: list[Epoch]
    step: int = 0

    @property
    def best_epoch(self) -> Epoch:
        """Give the epoch with the lowest held-out loss, the earliest of equals."""
        return min(self.history, key=lambda epoch: epoch.held_out_loss)


def keep(
    folder: Path, plan: Mapping[str, Any], run: Run, detector: Detector, optimizer: Optimizer
) -> None:
    """Write the checkpoint of the epoch just ended and remove the one before."""
    states = {"weights": detector.state_dict(), "average": run.average, "best": run.best}
    tensors = {
        f"{kind}/{name}": value for kind, state in states.items() for name, value in state.items()
    }
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moments/{index}/{name}": value for name, value in moments.items()}
    file = f"epoch-{len(run.history):05d}.safetensors"
    write_atomically(folder / file, save(copy(tensors)))
    pointer = {
        "tensors": file,
        "step": run.step,
        "plan": plan,
        "history": [asdict(epoch) for epoch in run.history],
    }
    write_atomically(folder / POINTER, json.dumps(pointer, indent=1).encode())
    for old in folder.glob("epoch-*.safetensors"):
        if old.name != file:
            old.unlink()


def restore(
    folder: Path, plan: Mapping[str, Any], detector: Detector, optimizer: Optimizer
) -> Run | None:
    """Put weights and moments back and give the run, or None where the folder holds none.

    Raises:
        WrongRun: the checkpoint belongs to another plan.
    """
    if not (folder / POINTER).is_file():
        return None
    pointer = json.loads((folder / POINTER).read_bytes())
    if pointer["plan"] != plan:
        msg = f"the run in {folder} was begun with another plan; train into another folder"
        raise WrongRun(msg)
    states: dict[str, State] = {"weights": {}, "average": {}, "best": {}}
    moments: dict[int, State] = {}
    for key, value in load_file(folder / pointer["tensors"]).items():
        kind, _, name = key.partition("/")
        if kind == "moments":
            index, _, name = name.partition("/")
            moments.setdefault(int(index), {})[name] = value
        else:
            states[kind][name] = value
    detector.load_state_dict(states["weights"])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    device = next(detector.parameters()).device
    average = {name: value.to(device) for name, value in states["average"].items()}
    history = [Epoch(**epoch) for epoch in pointer["history"]]
    return Run(average=average, best=states["best"], history=history, step=pointer["step"])


def copy(state: State) -> State:
    """Give a state whose tensors share no memory with the given one's and lie in rows."""
    return {name: value.detach().clone().contiguous() for name, value in state.items()}
