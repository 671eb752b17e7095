"""Re-make the weights from which the demonstration's radiographs are drawn."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.numpy import save
from torch.nn import functional

from models import radiographs
from models.files import write_atomically
from triage.commands.measure import prepare
from triage.commands.training_plan import read_pictures
from triage.errors import ConfigError
from triage.settings import Recipe

SIZE_PX: Final = 128
COMPONENTS: Final = 80
LOOKED_AT: Final = 200
README: Final = """\
# demo-radiographs

The mean and {components} principal components of {images} healthy children's chest radiographs,
{size} by {size} pixels, from which `models/radiographs.py` draws pictures of nobody for the
demonstration. No training image is stored. Of {looked_at} drawn pictures, the correlation with
the most similar training image is {median:.3f} in the median and {highest:.3f} at most; between
a training image and the one most similar to it, it is {real:.3f} in the median.

Made by `triage.commands.demo_pictures.make(data, folder)`.

Images: Kermany, Zhang, Goldbaum 2018, Labeled OCT and Chest X-Ray Images, Mendeley Data
rscbjbr9sj, published as CC BY 4.0. Not for training, testing or diagnosis.
"""


def make(data: Path, folder: Path, subset: str = "zhanglab") -> str:
    """Learn from a subset's healthy training images and give the text of the weights' README.

    Writes weights.safetensors and README.md into ``folder``. ``data`` is a folder with split.csv.

    Raises:
        ConfigError: the folder holds no healthy training image of the subset.
    """
    chosen = tuple(
        picture
        for picture in read_pictures(data)
        if picture.subset == subset and picture.split == "train" and not picture.abnormal
    )
    if not chosen:
        msg = f"{data / 'split.csv'} lists no healthy training image of {subset}"
        raise ConfigError(msg)
    recipe = Recipe(name="demo", kind="projection", size_px=(SIZE_PX, SIZE_PX))
    images = prepare(chosen, recipe).voxels[:, 0]
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / radiographs.WEIGHTS.name
    write_atomically(weights, save(radiographs.learn(images, COMPONENTS)))
    drawn = torch.from_numpy(radiographs.sample(0, LOOKED_AT, SIZE_PX, weights).astype(np.float32))
    nearest, real = _likeness(drawn, images), _likeness(images, images, skip=1)
    text = README.format(
        components=COMPONENTS,
        images=len(images),
        size=SIZE_PX,
        looked_at=LOOKED_AT,
        median=float(nearest.median()),
        highest=float(nearest.max()),
        real=float(real.median()),
    )
    write_atomically(folder / "README.md", text.encode())
    return text


def _likeness(these: torch.Tensor, those: torch.Tensor, skip: int = 0) -> torch.Tensor:
    """Give the correlation of each image with the one of ``those`` most like it, after ``skip``."""
    left, right = (
        functional.normalize(images.flatten(1) - images.flatten(1).mean(1, keepdim=True), dim=1)
        for images in (these, those)
    )
    return (left @ right.T).topk(skip + 1, dim=1).values[:, skip]
