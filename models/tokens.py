"""Images as tokens: square patches, where each lies, and which of them are hidden.

Shapes: N images, P patches in rows from the top left, X pixels of a patch in rows, F features,
K masks, V visible patches of a mask.
"""

from typing import Final

import torch
from torch import Tensor, nn

from models.contract import BadParams

SETS: Final = 4
"""Masks that together show every patch once: each shows a quarter."""


def patch_count(size_px: int, patch_px: int) -> int:
    """Give P.

    Raises:
        BadParams: the image is no even number of patches wide.
    """
    if size_px % (2 * patch_px):
        msg = f"size_px {size_px} must be divisible by twice patch_px {patch_px}"
        raise BadParams(msg)
    return int(size_px // patch_px) ** 2


def to_patches(images_NKHW: Tensor, patch_px: int) -> Tensor:
    """Cut square images into patches, (N, K, P, X)."""
    count, sets, rows, columns = images_NKHW.shape
    down, right = rows // patch_px, columns // patch_px
    cut = images_NKHW.reshape(count, sets, down, patch_px, right, patch_px)
    return cut.transpose(3, 4).reshape(count, sets, down * right, patch_px**2)


def to_images(patches_NKPX: Tensor, patch_px: int) -> Tensor:
    """Put the patches of square images together again, (N, K, H, W)."""
    count, sets, patches, _ = patches_NKPX.shape
    side = round(patches**0.5)
    cut = patches_NKPX.reshape(count, sets, side, side, patch_px, patch_px)
    return cut.transpose(3, 4).reshape(count, sets, side * patch_px, side * patch_px)


def positions(patches: int, features: int) -> Tensor:
    """Give sines and cosines of each patch's row and column, (P, F).

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5, once for rows and once for columns.

    Raises:
        BadParams: the features are not divisible by 4.
    """
    if features % 4:
        msg = f"the widths must be divisible by 4, and {features} is not"
        raise BadParams(msg)
    side = round(patches**0.5)
    rate = 10_000 ** (-torch.arange(features // 4, dtype=torch.float64) / (features // 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * rate
    line = torch.cat([angle.sin(), angle.cos()], 1)
    rows, columns = line.repeat_interleave(side, 0), line.repeat(side, 1)
    return torch.cat([rows, columns], 1).float()


def complementary(patches: int, repeats: int, seed: int) -> Tensor:
    """Give visible patches (K, V) of masks, K being 4 for each repeat.

    The four of a repeat show each patch once, so over all each is hidden three times a repeat.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = [
        torch.randperm(patches, generator=generator, device="cpu").reshape(SETS, -1)
        for _ in range(repeats)
    ]
    return torch.cat(orders)


def drawn(images: int, patches: int) -> Tensor:
    """Draw visible patches (N, V) for each image from the global generator of the CPU.

    There, so that a run is the same on every device and a resumed one the same as any other.
    """
    return torch.rand(images, patches).argsort(1)[:, : patches // SETS]


def hidden(visible_BV: Tensor, patches: int) -> Tensor:
    """Give 1 for each hidden patch and 0 for each visible one, float32 (B, P)."""
    ones_BP = torch.ones(len(visible_BV), patches, device=visible_BV.device)
    return ones_BP.scatter(1, visible_BV, 0.0)


def picked(tokens_NPF: Tensor, visible_NKV: Tensor) -> Tensor:
    """Give the tokens of the visible patches only, (N, K, V, F)."""
    count, sets, seen = visible_NKV.shape
    index_NVF = visible_NKV.reshape(count, sets * seen, 1).expand(-1, -1, tokens_NPF.shape[-1])
    return tokens_NPF.gather(1, index_NVF).reshape(count, sets, seen, -1)


def filled(tokens_BVF: Tensor, visible_BV: Tensor, mask_F: Tensor, patches: int) -> Tensor:
    """Give all P tokens: the visible ones in their places and ``mask_F`` in the others."""
    features = tokens_BVF.shape[-1]
    empty_BPF = mask_F.to(tokens_BVF.dtype).expand(len(tokens_BVF), patches, features)
    return empty_BPF.scatter(1, visible_BV[:, :, None].expand(-1, -1, features), tokens_BVF)


def xavier(module: nn.Module) -> None:
    """Start the linear layers inside as ViTs do: Glorot's even weights, no bias."""
    for inner in module.modules():
        if isinstance(inner, nn.Linear):
            nn.init.xavier_uniform_(inner.weight)
            if inner.bias is not None:
                nn.init.zeros_(inner.bias)
