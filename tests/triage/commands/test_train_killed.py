"""A training killed without warning, and carried on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from models.checkpoint import POINTER
from tests.models.chests import healthy
from tests.triage.commands.cli import triage

EPOCHS = 16
PATIENCE_S = 120.0
TRAINING = {
    "name": "killed", "version": "1", "family": "ganomaly", "recipe": "chest-radiograph",
    "params": {"widths": [8, 8, 8, 8], "latent": 8},
    "data": {
        "pooled": "DX/CHEST", "held_out": 0.2, "calibration": 0.2,
        "subsets": {"a": {"stratum": "DX/CHEST", "licence": "made", "train": ["train"]}},
    },
    "plan": {"epochs": EPOCHS, "batch_size": 8, "patience": EPOCHS},
    "intended_use": "Tests.", "limitations": [],
}  # fmt: skip


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A training file and a small folder; gives the command's arguments."""
    lines = ["path,anomaly,split,patient"]
    for number, picture in enumerate(healthy(20, size_px=64)):
        Image.fromarray((picture[0].numpy() * 255).astype(np.uint8)).save(
            tmp_path / f"{number}.png"
        )
        lines.append(f"{number}.png,0,train,p{number}")
    (tmp_path / "split.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(TRAINING))
    return ["train", str(tmp_path / "x.yaml"), "--data", str(tmp_path), "--device", "cpu", "--json"]


def _epochs(run: Path) -> int:
    try:
        return len(json.loads((run / "killed-1" / POINTER).read_bytes())["history"])
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_a_training_killed_in_the_middle_and_resumed_ends_in_the_same_artifact(
    words: list[str], tmp_path: Path
) -> None:
    state = {"TRIAGE_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "triage", *words, "--runs", str(tmp_path / "killed")]
    # As many threads as here: another order of summing would end in other last bits.
    child = subprocess.Popen(
        command,
        env={**os.environ, **state, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_S
    while _epochs(tmp_path / "killed") < 3 and time.monotonic() < deadline:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert 3 <= _epochs(tmp_path / "killed") < EPOCHS
    assert not (tmp_path / "killed" / "killed-1" / "artifact").exists()
    resumed = triage(*words, "--runs", tmp_path / "killed", "--resume", **state)
    whole = triage(*words, "--runs", tmp_path / "whole", **state)
    assert (resumed.code, whole.code) == (0, 0), (resumed.err, whole.err)
    names = {path.name for path in (tmp_path / "whole" / "killed-1" / "artifact").iterdir()}
    assert len(names) == 5
    for name in names:
        ours, theirs = (
            (tmp_path / run / "killed-1" / "artifact" / name).read_bytes()
            for run in ("killed", "whole")
        )
        assert ours == theirs, name
