"""Draw frontal chest radiographs of nobody: principal components of healthy ones, sampled.

Source:   principal components with independent normal weights (Turk & Pentland 1991, JoCN 3(1)),
          as a probabilistic model Tipping & Bishop 1999, JRSS B 61(3).
Why:      a demonstration needs pictures that may be shown to anyone; each sample mixes hundreds
          of people, and no person's picture is stored.

The weights' folder holds MEAN, the mean image, and COMPONENTS as signed bytes with one scale each.

Shapes: N images, H W rows and columns, K components.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter
from torch import Tensor

WEIGHTS: Final = Path(str(files("models").joinpath("zoo"))) / "demo-radiographs/weights.safetensors"
MEAN, COMPONENTS, SCALES = "mean_HW", "components_KHW", "scales_K"
SPREAD: Final = 0.75
"""Share of each component's healthy standard deviation that is drawn: typical, not extreme."""
FURTHEST: Final = 2.0
"""No weight lies further out than this many of its standard deviations."""
DARKEST, BRIGHTEST = 120.0, 3900.0
"""Of the 12-bit range, 0 to 4095."""
GRAIN: Final = 14.0
"""Standard deviation of the film-like noise, in 12-bit grey levels."""
SHARPEN: Final = 0.6
OPACITY: Final = 0.9
"""How far the middle of a pasted opacity is drawn towards the brightness of the mediastinum."""

Image16 = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]


def learn(images_NHW: Tensor, count: int) -> dict[str, npt.NDArray[Any]]:
    """Give the tensors of the weights' file: mean and ``count`` components of healthy images.

    Each component is scaled by the standard deviation of its weight over the images.
    """
    flat_NF = images_NHW.flatten(1).double()
    mean_F = flat_NF.mean(0)
    _, singular_K, axes_KF = torch.linalg.svd(flat_NF - mean_F, full_matrices=False)
    deviation_K = singular_K[:count] / len(flat_NF) ** 0.5
    components_KF = axes_KF[:count] * deviation_K[:, None]
    scales_K = components_KF.abs().amax(1) / 127
    bytes_KF = (components_KF / scales_K[:, None]).round()
    size = tuple(images_NHW.shape[1:])
    return {
        MEAN: mean_F.reshape(size).to(torch.float16).numpy(),
        # safetensors writes memory as it lies, so it must lie in rows.
        COMPONENTS: bytes_KF.reshape(-1, *size).to(torch.int8).contiguous().numpy(),
        SCALES: scales_K.float().numpy(),
    }


def sample(seed: int, count: int, size_px: int, weights: Path = WEIGHTS) -> Image16:
    """Draw ``count`` healthy-looking radiographs, NHW, 12 bits in uint16, air dark.

    The same seed gives the same pictures, and the first ones do not depend on ``count``.
    """
    return np.stack(
        [_draw(np.random.default_rng([seed, index]), size_px, weights) for index in range(count)]
    )


def paste_opacity(image: Image16, seed: int) -> Image16:
    """Paste one soft, irregular consolidation into a lung field of a radiograph (HW)."""
    random = np.random.default_rng(seed)
    rows, columns = image.shape
    y_HW, x_HW = np.mgrid[0:rows, 0:columns] / np.array([rows, columns])[:, None, None]
    middle_x = 0.5 + random.choice([-1.0, 1.0]) * random.uniform(0.18, 0.22)
    middle_y = random.uniform(0.42, 0.58)
    wide, high = random.uniform(0.15, 0.17), random.uniform(0.21, 0.25)
    distance_HW = ((x_HW - middle_x) / wide) ** 2 + ((y_HW - middle_y) / high) ** 2
    ragged_HW = _clouds(random, image.shape, 20) + 0.5 * _clouds(random, image.shape, 50)
    cover_HW = np.clip(np.exp(-distance_HW) * (1.4 + 0.25 * ragged_HW), 0, 1)
    bright = np.quantile(image, 0.9)
    gap_HW = np.maximum(bright - image, 0)  # only ever brighter: bone keeps its white
    pasted_HW = image + OPACITY * cover_HW * gap_HW
    return np.asarray(pasted_HW.round(), dtype=np.uint16)


def _draw(random: np.random.Generator, size_px: int, weights: Path) -> Image16:
    mean_HW, components_KHW = _model(weights)
    weight_K = SPREAD * np.clip(random.standard_normal(len(components_KHW)), -FURTHEST, FURTHEST)
    small_HW = mean_HW + np.tensordot(weight_K.astype(np.float32), components_KHW, 1)
    size = (size_px, size_px)
    large = F.interpolate(torch.from_numpy(small_HW)[None, None], size, mode="bicubic")
    large_HW = large[0, 0].numpy().clip(0, 1)
    width = 1.5 * size_px / small_HW.shape[0]
    large_HW += SHARPEN * (large_HW - gaussian_filter(large_HW, width))
    grain_HW = _clouds(random, size, size_px / 0.8) * GRAIN
    grey_HW = DARKEST + large_HW.clip(0, 1) * (BRIGHTEST - DARKEST) + grain_HW
    return np.asarray(grey_HW.clip(0, 4095).round(), dtype=np.uint16)


def _clouds(
    random: np.random.Generator, size: tuple[int, ...], per_side: float
) -> npt.NDArray[np.float64]:
    """Give smooth noise (HW), mean 0 and deviation 1, of about ``per_side`` grains a side."""
    noise_HW = gaussian_filter(random.standard_normal(size), size[0] / per_side)
    deviation: npt.NDArray[np.float64] = (noise_HW - noise_HW.mean()) / noise_HW.std()
    return deviation


@cache
def _model(weights: Path) -> tuple[Floats, Floats]:
    """Give the mean image (HW) and the components (KHW), each one standard deviation long."""
    tensors = load_file(weights)
    scales_K11 = tensors[SCALES][:, None, None]
    return tensors[MEAN].astype(np.float32), tensors[COMPONENTS] * scales_K11
