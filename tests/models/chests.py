"""Small pictures with a chest's layout: bright edges and middle, two dark lungs, own noise."""

import torch
from torch import Tensor

from models.memae import MemAE

SMALL = {"size_px": 16, "widths": (8, 8), "latent": 8, "slots": 12}
"""A MemAE that trains in a moment."""
SMALL_MAE = {
    "size_px": 16,
    "patch_px": 4,
    "width": 32,
    "depth": 2,
    "heads": 2,
    "decoder_width": 32,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "memory": 4,
    "scales": 2,
}
"""A MemMC-MAE that trains in a moment."""


def healthy(count: int, *, seed: int = 0, size_px: int = 16) -> Tensor:
    """Give voxels_NCHW in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    line = torch.linspace(-1, 1, size_px)
    y, x = torch.meshgrid(line, line, indexing="ij")
    moved = 0.1 * torch.randn(count, 1, 1, generator=generator)
    wide = 1 + 0.1 * torch.randn(count, 1, 1, generator=generator)
    lungs = sum(
        torch.exp(-(((x - s + moved) * 3 * wide) ** 2 + (y * 1.5) ** 2)) for s in (-0.5, 0.5)
    )
    noise = 0.02 * torch.randn(count, size_px, size_px, generator=generator)
    return (0.8 - 0.6 * torch.as_tensor(lungs) + noise).clamp(0, 1)[:, None]


def with_opacity(voxels_NCHW: Tensor) -> Tensor:
    """Fill the middle of one lung, as a consolidation does."""
    size_px = voxels_NCHW.shape[-1]
    side, top = size_px // 8, size_px // 3
    changed = voxels_NCHW.clone()
    changed[:, :, top : size_px - top, side : 3 * side] = 0.85
    return changed


def small_memae(seed: int = 0, **params: object) -> MemAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MemAE(**(SMALL | params))  # type: ignore[arg-type]
