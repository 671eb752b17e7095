"""MemMC-MAE: rebuild three quarters of an image from the rest, from healthy patterns alone.

Source:   Tian et al. 2022, arXiv:2203.11725, sections 2.1 (eq. 1 to 3), 2.2 and 3; where it is
          silent or circular (eq. 3 needs what eq. 2 makes of it) Cornia et al. 2020,
          arXiv:1912.08226, whose two parts it takes over: shared weights for all levels, each
          level's gate from that level's own finding, division by the root of the levels.
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    mean over patches of 1 - MS-SSIM where they were hidden, in [0, 1], no unit, higher is
          stranger; the map is the same by pixel. The 5 % strangest patches' mean is ``top``.
Differs:  masks are fixed: sets of four that together show every patch once, drawn by
          ``mask_seed``, where the paper draws ten anew, so an image always has one score and
          every patch is hidden equally often; visible patches are taken from the input before
          images are compared, since nothing trains their reconstruction. The similarity is
          computed on whole images, as no 16-pixel patch holds five scales. Attention is a scaled
          dot product, not a cosine, whose projections have no bias; blocks normalise first, as a
          ViT's do; no class token, and no target normalised by patch. The residual connections
          "from earlier to later blocks" are read as a U-Net's: what entered a block of the first
          half is added to what enters its mirror block. Augmentation is the plan's, not random
          crops. The default size is for two CPU cores; the paper's, ViT-B, is ``VIT_B``.
Ablation: ``memory`` 0 and ``multi_level`` off is the plain masked autoencoder of its Table 2.

Shapes: N images, C channels, H W rows and columns, K masks, P patches, V visible patches,
X pixels of a patch, F features, L levels, B = N K.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.contract import Anomaly, Batch, Detector, Loss, Player, Stage
from models.ms_ssim import MSSSIM
from models.tokens import (
    SETS,
    complementary,
    drawn,
    filled,
    hidden,
    patch_count,
    picked,
    positions,
    to_images,
    to_patches,
    xavier,
)
from models.transformer import Block, Gates

BETAS: Final = (0.9, 0.95)
START: Final = 0.02
"""Spread of the weights that start small."""
TOP: Final = 0.05
"""Share of the patches that ``top`` looks at."""
VIT_B: Final[Mapping[str, Any]] = {
    "size_px": 224,
    "patch_px": 16,
    "width": 768,
    "depth": 12,
    "heads": 12,
    "decoder_width": 512,
    "decoder_depth": 8,
    "decoder_heads": 16,
    "scales": 5,
}
"""The paper's size; 170.5 million weights, 50.4 of them gates; 113.5 billion multiply-adds."""


class MemMCMAE(Detector):
    """Masked autoencoder with memories in its encoder and every level seen by its decoder.

    ``size_px`` is divisible by twice ``patch_px`` and by 2 once a scale after the first; widths
    are divisible by 4 and by their heads. ``memory`` is the slots of each encoder layer, 0 for
    none; ``multi_level`` lets the decoder attend to every encoder layer, through ``gates`` for
    each "feature" or one for each "level"; ``skips`` are the long residual connections.
    ``scales`` are those of MS-SSIM. Scoring takes four masks, ``repeats`` times.
    """

    visible_KV: Tensor
    place_PF: Tensor
    decoder_place_PF: Tensor

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        size_px: int = 64,
        patch_px: int = 8,
        width: int = 192,
        depth: int = 4,
        heads: int = 6,
        decoder_width: int = 128,
        decoder_depth: int = 2,
        decoder_heads: int = 4,
        memory: int = 40,
        multi_level: bool = True,
        gates: Gates = "feature",
        skips: bool = True,
        scales: int = 3,
        repeats: int = 1,
        mask_seed: int = 0,
    ) -> None:
        super().__init__(
            size_px=size_px,
            patch_px=patch_px,
            width=width,
            depth=depth,
            heads=heads,
            decoder_width=decoder_width,
            decoder_depth=decoder_depth,
            decoder_heads=decoder_heads,
            memory=memory,
            multi_level=multi_level,
            gates=gates,
            skips=skips,
            scales=scales,
            repeats=repeats,
            mask_seed=mask_seed,
        )
        self.patch_px = patch_px
        self.patches = patch_count(size_px, patch_px)
        self.top = ceil(TOP * self.patches)
        self.skips = skips
        self.likeness = MSSSIM(size_px, scales)
        self.embed = nn.Linear(patch_px**2, width)
        self.encoder = nn.ModuleList(Block(width, heads, memory=memory) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, decoder_width)
        self.mask_F = nn.Parameter(START * torch.randn(decoder_width))
        levels = depth if multi_level else 0
        self.decoder = nn.ModuleList(
            Block(decoder_width, decoder_heads, levels=levels, gates=gates)
            for _ in range(decoder_depth)
        )
        last = nn.Linear(decoder_width, patch_px**2)
        self.draw = nn.Sequential(nn.LayerNorm(decoder_width), last)
        xavier(self)
        nn.init.normal_(last.weight, std=START)  # begins with grey, not with noise
        for name, features in (("place_PF", width), ("decoder_place_PF", decoder_width)):
            self.register_buffer(name, positions(self.patches, features), persistent=False)
        self.register_buffer("visible_KV", complementary(self.patches, repeats, mask_seed))

    def stages(self) -> tuple[Stage, ...]:
        """Give one stage of one player, watched with the first four of the fixed masks."""
        player = Player("all", (self,), self.loss, betas=BETAS)
        return (Stage("train", (player,), watch=self._watch),)

    def loss(self, batch: Batch) -> Loss:
        """Give the mean squared error of the hidden patches, each image with a mask of its own."""
        voxels_NCHW = batch.voxels_NCHW
        visible_NV = drawn(len(voxels_NCHW), self.patches).to(voxels_NCHW.device)
        error = self._error(voxels_NCHW, visible_NV[:, None])
        return Loss(total=error, parts={"reconstruction": error})

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by how unlike it is to what its parts foretell of each other."""
        map_NHW = self.strangeness(voxels_NCHW, self.visible_KV)
        patch_NP = to_patches(map_NHW[:, None], self.patch_px)[:, 0].mean(2)
        return Anomaly(
            score_N=patch_NP.mean(1),
            map_NHW=map_NHW,
            others={"top": patch_NP.topk(self.top, 1).values.mean(1)},
        )

    def strangeness(self, voxels_NCHW: Tensor, visible_KV: Tensor) -> Tensor:
        """Give 1 - MS-SSIM by pixel, (N, H, W), the mean of those masks that hide it.

        All masks go through the network as one batch. A pixel that none hides has 0.
        """
        visible_NKV = visible_KV.expand(len(voxels_NCHW), -1, -1)
        rebuilt_NKHW = self.rebuild(voxels_NCHW, visible_NKV).clamp(0, 1)
        hidden_KPX = hidden(visible_KV, self.patches)[..., None].expand(-1, -1, self.patch_px**2)
        hidden_KHW = to_images(hidden_KPX[None], self.patch_px)[0]
        shown_NKHW = torch.where(hidden_KHW > 0, rebuilt_NKHW, voxels_NCHW)
        strange_NKHW = (1 - self.likeness(voxels_NCHW, shown_NKHW)).clamp_min(0)
        map_NHW: Tensor = (strange_NKHW * hidden_KHW).sum(1) / hidden_KHW.sum(0).clamp_min(1)
        return map_NHW

    def rebuild(self, voxels_NCHW: Tensor, visible_NKV: Tensor) -> Tensor:
        """Give what each mask's visible patches foretell of the image, float32 (N, K, H, W)."""
        visible_BV = visible_NKV.flatten(0, 1)
        levels = self.encode(voxels_NCHW, visible_NKV)
        levels_LBVF = self.narrow(self.norm(torch.stack(levels)))
        tokens_BPF = filled(levels_LBVF[-1], visible_BV, self.mask_F, self.patches)
        tokens_BPF = tokens_BPF + self.decoder_place_PF
        drawn_BPX = self.draw(self._through(self.decoder, tokens_BPF, levels_LBVF)[-1])
        drawn_NKPX = drawn_BPX.float().reshape(*visible_NKV.shape[:2], self.patches, -1)
        return (to_images(drawn_NKPX, self.patch_px) + 1) / 2

    def encode(self, voxels_NCHW: Tensor, visible_NKV: Tensor) -> list[Tensor]:
        """Give every encoder layer's tokens, (B, V, F), of the visible patches.

        Patches are embedded once for all masks; no layer ever sees a hidden one.
        """
        patches_NPX = to_patches(2 * voxels_NCHW - 1, self.patch_px)[:, 0]
        tokens_NPF = self.embed(patches_NPX) + self.place_PF
        return self._through(self.encoder, picked(tokens_NPF, visible_NKV).flatten(0, 1))

    def _through(
        self, blocks: nn.ModuleList, tokens: Tensor, levels_LBVF: Tensor | None = None
    ) -> list[Tensor]:
        entered: list[Tensor] = []
        left: list[Tensor] = []
        for place, block in enumerate(blocks):
            mirror = len(blocks) - 1 - place
            if self.skips and mirror < place:
                tokens = tokens + entered[mirror]
            entered.append(tokens)
            tokens = block(tokens, levels_LBVF)
            left.append(tokens)
        return left

    def _error(self, voxels_NCHW: Tensor, visible_NKV: Tensor) -> Tensor:
        rebuilt_NKHW = self.rebuild(voxels_NCHW, visible_NKV)
        wrong_NKHW = (rebuilt_NKHW - voxels_NCHW).square()
        wrong_BP = to_patches(wrong_NKHW, self.patch_px).mean(3).flatten(0, 1)
        hidden_BP = hidden(visible_NKV.flatten(0, 1), self.patches)
        return (wrong_BP * hidden_BP).sum() / hidden_BP.sum()

    def _watch(self, batch: Batch) -> Tensor:
        visible_KV = self.visible_KV[:SETS]
        return self._error(batch.voxels_NCHW, visible_KV.expand(len(batch.voxels_NCHW), -1, -1))
