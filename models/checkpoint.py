"""A training run on disk: killed at any moment, it is carried on from its last whole epoch.

``checkpoint.json`` names the file of tensors and is renamed into place after it, so the two
never disagree. Tensors are safetensors: nothing on disk runs code when read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save
from torch import Tensor

from models import curves
from models.contract import Detector
from models.curves import Epoch
from models.files import write_atomically

POINTER: Final = "checkpoint.json"
FORM: Final = 2
"""Of the checkpoint's files; another form is not carried on."""
State = dict[str, Tensor]
Moments = dict[str, dict[int, State]]
"""By player, by the place of the parameter among the player's, by name."""


class WrongRun(ValueError):
    """The run cannot be carried on, or leads nowhere."""


@dataclass
class Run:
    """What must survive a kill, beside the detector's weights."""

    average: State
    """The moving average of the weights."""
    best: State
    """The average at the epoch whose weights the stage would keep if it ended now."""
    history: list[Epoch]
    step: int = 0
    """Batches seen in the stage."""
    stage: int = 0
    """Index of the stage that the weights belong to."""
    moments: Moments = field(default_factory=dict)
    """What the optimisers remember."""

    @property
    def best_epoch(self) -> Epoch:
        """Give the epoch of the last stage whose weights are kept; see ``models.curves.best``."""
        return curves.best(self.history)


def keep(folder: Path, identity: Mapping[str, Any], run: Run, detector: Detector) -> None:
    """Write the checkpoint of the epoch just ended and remove the one before."""
    states = {"weights": detector.state_dict(), "average": run.average, "best": run.best}
    tensors = {
        f"{kind}/{name}": value for kind, state in states.items() for name, value in state.items()
    }
    for player, remembered in run.moments.items():
        for index, moments in remembered.items():
            tensors |= {f"moments/{player}/{index}/{name}": v for name, v in moments.items()}
    file = f"epoch-{len(run.history):05d}.safetensors"
    write_atomically(folder / file, save(copy(tensors)))
    pointer = {
        "form": FORM,
        "tensors": file,
        "stage": run.stage,
        "step": run.step,
        "identity": identity,
        "history": [asdict(epoch) for epoch in run.history],
    }
    write_atomically(folder / POINTER, json.dumps(pointer, indent=1).encode())
    for old in folder.glob("epoch-*.safetensors"):
        if old.name != file:
            old.unlink()


def restore(folder: Path, identity: Mapping[str, Any], detector: Detector) -> Run | None:
    """Put the weights back and give the run, or None where the folder holds none.

    Raises:
        WrongRun: the checkpoint belongs to another plan, detector or images.
    """
    if not (folder / POINTER).is_file():
        return None
    pointer = json.loads((folder / POINTER).read_bytes())
    if pointer.get("form") != FORM:
        msg = f"{folder / POINTER} is of another release; train into another folder"
        raise WrongRun(msg)
    if changed := _changed(pointer["identity"], json.loads(json.dumps(identity))):
        msg = (
            f"the run in {folder} was begun with another plan ({', '.join(changed)}); "
            "put that back, or train into another folder"
        )
        raise WrongRun(msg)
    device = next(detector.parameters()).device
    states: dict[str, State] = {"weights": {}, "average": {}, "best": {}}
    found: Moments = {}
    for key, value in load_file(folder / pointer["tensors"]).items():
        kind, _, name = key.partition("/")
        if kind == "moments":
            # A player's name may hold slashes, a parameter's place and a moment's name none.
            player, place, moment = name.rsplit("/", 2)
            found.setdefault(player, {}).setdefault(int(place), {})[moment] = value
        else:
            states[kind][name] = value
    detector.load_state_dict(states["weights"])
    return Run(
        average={name: value.to(device) for name, value in states["average"].items()},
        best=states["best"],
        history=[Epoch(**epoch) for epoch in pointer["history"]],
        step=pointer["step"],
        stage=pointer["stage"],
        moments=found,
    )


def copy(state: State) -> State:
    """Give a state whose tensors share no memory with the given one's and lie in rows."""
    return {name: value.detach().clone().contiguous() for name, value in state.items()}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the keys, one level down, that differ."""
    named = []
    for key in sorted(before.keys() | now.keys()):
        one, other = before.get(key), now.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            named += [f"{key}.{inner}" for inner in _changed(one, other)]
        else:
            named.append(key)
    return named
