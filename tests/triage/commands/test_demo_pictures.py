from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.radiographs import sample
from tests.models.chests import healthy
from triage.commands import demo_pictures
from triage.errors import ConfigError


def test_pictures_are_drawn_from_weights_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_pictures, "COMPONENTS", 5)
    monkeypatch.setattr(demo_pictures, "LOOKED_AT", 4)
    lines = ["path,subset,anomaly,split,patient"]
    for index, voxels in enumerate(healthy(12, size_px=64)):
        Image.fromarray((voxels[0].numpy() * 255).astype(np.uint8)).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png,zhanglab,0,train,{index}")
    (tmp_path / "split.csv").write_text("\n".join(lines))
    text = demo_pictures.make(tmp_path, tmp_path / "weights")
    assert "of 12 healthy" in text
    assert (tmp_path / "weights/README.md").read_text() == text
    pictures = sample(0, 2, 64, tmp_path / "weights/weights.safetensors")
    assert pictures.shape == (2, 64, 64)
    assert np.ptp(pictures) > 2000


def test_a_folder_without_the_subset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("path,subset,anomaly,split,patient\n1.png,a,0,train,1\n")
    with pytest.raises(ConfigError, match="zhanglab"):
        demo_pictures.make(tmp_path, tmp_path / "weights")
