"""SimSID: features painted in from a memory of healthy ones, and a judge of what is drawn of them.

Source:   Xiang et al. 2023, arXiv:2111.13495 (SQUID) and 2024, arXiv:2403.08689 (SimSID), with
          their public code: topology, losses, weights. The levels of the memory are those of a
          student's report on SimSID (Swetha R 2025, Anna University, algorithm 4.5).
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, ``size_px`` square.
Score:    1 - sigmoid((D - mu) / sigma), D being the discriminator's logit of the drawn image;
          in [0, 1], higher is stranger. It never looks at the input again, so three further
          scores do: ``features``, the mean distance of features to those painted in their place;
          ``memory``, 1 - the mean cosine to the nearest slot; ``residual``, the mean absolute
          difference of the images. The map is the distance of features, place by place, brought
          to the input's size. ``reading`` names the one that decides.
Differs:  mu and sigma are learned in ``settle`` from healthy images, the training's own (the
          public code takes 201 of these). That is a display scale: rising with -D, it moves no
          rank, so a p-value from calibration normals, who are never among them, is the same
          with any mu and sigma, as long as the sigmoid does not saturate (17 sigma). The report
          prints the sign the other way round. GroupNorm and evaluation mode in scoring, where
          the public code judges by the test image's own moments; slots are found by cosine over
          ``temperature``, not by dot product; neighbours beyond the rim are left out instead of
          being zeros; places are learned vectors, not three bits; sides are doubled by repeating;
          the decoder's memories know their place in the image, not in the patch alone; the
          teacher gives no ground to the student unless ``stop_gradient`` is off; a fifth term,
          ``features``, pulls what is painted to what the encoder saw, which is what makes their
          distance mean something: its weight is 0 in the published loss. AdamW instead of Adam
          with a penalty; the stem is as wide as the first width. Published, at 128 pixels: widths
          64 to 512, ``latent`` 128, ``slots`` 200 of one level, ``decoder_slots`` 200.

Shapes: N slices, C channels, H W rows and columns, P patches, F features.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Anomaly, BadParams, Batch, Detector, Loss, Player, Stage
from models.parts import SLOPE, residual_down, side_px, to_vector
from models.patchwise import COARSE, Bottleneck, Decoder, Encoder, InPainting, Sight
from models.space_memory import Asking, HierarchicalMemory, Keeping, SpaceMemory, cut, stitch

BETAS: Final = (0.5, 0.999)
WEIGHTS: Final = {
    "reconstruction": 10.0,
    "teacher": 0.01,
    "distillation": 0.001,
    "adversarial": 0.005,
    "features": 0.1,
}
"""Of the generators' loss, by term."""
LEVELS: Final = 3
OF_MEMORY: Final = ("features", "memory")
"""The readings that need one."""
Reading = Literal["discriminator", "features", "memory", "residual"]
Between = Literal["inpainting", "memory", "plain"]
Generators = Literal["both", "student", "teacher"]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What becomes of a batch, patches one after the other along N."""

    image_NCHW: Tensor
    made: list[Tensor]
    """The maps of the generator's steps."""
    maps: list[Tensor]
    """The encoder's, the smallest last."""
    painted_NCHW: Tensor | None
    """What stands in the place of the last of them; None where nothing does."""
    alike_NP: Tensor | None
    """The cosine of each patch to its nearest slot."""


class SimSID(Detector):
    """Encoder, memory, in-painting, the two generators and the discriminator.

    ``size_px`` is divided into ``grid`` by ``grid`` patches, whose sides are divisible by 2 to
    the number of ``widths``, each of these by 8; ``latent`` is the channels that the memory
    sees of the last. ``slots`` are those of each level of the memory, one to three levels;
    ``decoder_slots`` those of each quarter patch in the student's two memories, 0 for none;
    ``keeping``, ``kept``, ``temperature`` and ``gumbel`` are of all of them. In training a share
    1 - ``shortcut`` of the places keeps the encoder's features.

    The ablations: ``bottleneck`` in-painted, answered by the memory alone, or plain; ``slots`` of
    fewer levels; ``generators`` of which ``student`` has no teacher and ``teacher`` is an
    autoencoder with a discriminator; ``sight`` of the in-painting; a weight of 0.

    Raises:
        BadParams: the sizes do not divide, or ``reading`` is a score that this choice lacks.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        size_px: int = 64,
        widths: Sequence[int] = (16, 32, 64),
        grid: int = 2,
        latent: int = 16,
        slots: Sequence[int] = (200, 50, 20),
        decoder_slots: int = 50,
        keeping: Keeping = "learned",
        kept: int = 5,
        temperature: float = 0.1,
        gumbel: float = 0.0,
        bottleneck: Between = "inpainting",
        sight: Sight = "own",
        heads: int = 8,
        shortcut: float = 0.95,
        generators: Generators = "both",
        stop_gradient: bool = True,
        weights: Mapping[str, float] | None = None,
        generator_every: int = 2,
        reading: Reading = "discriminator",
    ) -> None:
        super().__init__(
            size_px=size_px,
            widths=list(widths),
            grid=grid,
            latent=latent,
            slots=list(slots),
            decoder_slots=decoder_slots,
            keeping=keeping,
            kept=kept,
            temperature=temperature,
            gumbel=gumbel,
            bottleneck=bottleneck,
            sight=sight,
            heads=heads,
            shortcut=shortcut,
            generators=generators,
            stop_gradient=stop_gradient,
            weights=dict(weights or {}),
            generator_every=generator_every,
            reading=reading,
        )
        plain = bottleneck == "plain" or generators == "teacher"
        side = _patch_px(size_px, widths, grid)
        features = latent * side**2
        _refuse_unfit(features, heads, len(slots), weights or {})
        if plain and reading in OF_MEMORY:
            msg = f"reading {reading} is of a memory, and this choice has none"
            raise BadParams(msg)
        self.grid, self.shortcut, self.reading = grid, shortcut, reading
        self.stop_gradient, self.generator_every = stop_gradient, generator_every
        self.weight_of = WEIGHTS | dict(weights or {})
        asking = Asking(keeping, kept, temperature, gumbel)
        self.encoder = Encoder(widths)
        self.bottleneck: Bottleneck | None = None
        if not plain:
            self.bottleneck = Bottleneck(
                (widths[-1], latent),
                side,
                HierarchicalMemory(grid, slots, features, asking),
                InPainting(grid, features, heads, sight) if bottleneck == "inpainting" else None,
            )
        memories = [
            SpaceMemory(4 * grid**2, decoder_slots, width * (side * 2**place) ** 2, asking)
            for place, width in enumerate((*reversed(widths), widths[0])[1 : COARSE + 1])
            if decoder_slots
        ]
        self.student = None if generators == "teacher" else Decoder(widths, grid, memories)
        self.teacher = None if generators == "student" else Decoder(widths, grid, ())
        self.discriminator = nn.Sequential(
            residual_down(widths),
            nn.LeakyReLU(SLOPE),
            to_vector(widths[-1], side_px(size_px, widths), 1),
        )
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def stages(self) -> tuple[Stage, ...]:
        """Give one stage: the discriminator on every batch, the generators on every second."""
        judging = (self.discriminator,)
        drawing = tuple(each for name, each in self.named_children() if name != "discriminator")
        discriminator = Player("discriminator", judging, self.discriminator_loss, betas=BETAS)
        generator = Player("generator", drawing, self.loss, every=self.generator_every, betas=BETAS)
        return (Stage("train", (discriminator, generator), watch=self._watch),)

    def loss(self, batch: Batch) -> Loss:
        """Give what the generators want; in training the queues take in what they were asked."""
        real_NCHW = 2 * batch.voxels_NCHW - 1
        drawn = self._drawn(real_NCHW)
        parts = self._wanted(real_NCHW, drawn)
        verdict_N1 = self.discriminator(drawn.image_NCHW)
        parts["adversarial"] = F.binary_cross_entropy_with_logits(
            verdict_N1, torch.ones_like(verdict_N1)
        )
        if self.training:
            for module in self.modules():
                if isinstance(module, SpaceMemory):
                    module.remember()
        return Loss(total=self._weighted(parts), parts=parts)

    def discriminator_loss(self, batch: Batch) -> Loss:
        """Give what the discriminator wants: real images told from drawn ones."""
        real_NCHW = 2 * batch.voxels_NCHW - 1
        with torch.no_grad():
            fake_NCHW = self._drawn(real_NCHW).image_NCHW
        real_N1, fake_N1 = self.discriminator(torch.cat([real_NCHW, fake_NCHW])).chunk(2)
        parts = {
            "real": F.binary_cross_entropy_with_logits(real_N1, torch.ones_like(real_N1)),
            "drawn": F.binary_cross_entropy_with_logits(fake_N1, torch.zeros_like(fake_N1)),
        }
        total = self.weight_of["adversarial"] * (parts["real"] + parts["drawn"])
        return Loss(total=total, parts=parts)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice in evaluation mode, whatever mode the detector is in."""
        real_NCHW = 2 * voxels_NCHW - 1
        with _resting(self):
            drawn = self._drawn(real_NCHW)
            logit_N = self.discriminator(drawn.image_NCHW)[:, 0]
        residual_NHW = (drawn.image_NCHW - real_NCHW).abs()[:, 0] / 2
        map_NHW = residual_NHW
        scores = {
            "discriminator": self._strange(logit_N),
            "residual": residual_NHW.mean((1, 2)),
        }
        if drawn.painted_NCHW is not None and drawn.alike_NP is not None:
            away_NCHW = (drawn.maps[-1] - drawn.painted_NCHW).norm(dim=1, keepdim=True)
            away_NCHW = stitch(away_NCHW, self.grid)
            size = voxels_NCHW.shape[-2:]
            map_NHW = F.interpolate(away_NCHW, size, mode="bilinear", align_corners=False)[:, 0]
            scores["features"] = away_NCHW.mean((1, 2, 3))
            scores["memory"] = 1 - drawn.alike_NP.mean(1)
        return Anomaly(score_N=scores.pop(self.reading), map_NHW=map_NHW, others=scores)

    @torch.no_grad()
    def settle(self, batches: Iterable[Tensor]) -> None:
        """Learn mean and deviation of the discriminator's logit of healthy images, once drawn."""
        with _resting(self):
            logits = [
                self.discriminator(self._drawn(2 * voxels_NCHW - 1).image_NCHW)[:, 0]
                for voxels_NCHW in batches
            ]
        if logits:
            logit_N = torch.cat(logits)
            self.mean = logit_N.mean()
            self.deviation = logit_N.std(correction=0).clamp_min(1e-6)

    def _strange(self, logit_N: Tensor) -> Tensor:
        """Give 1 - sigmoid of the standardised logit, exact where it is small."""
        return torch.sigmoid((self.mean - logit_N) / self.deviation)

    def _drawn(self, real_NCHW: Tensor) -> _Drawn:
        maps = self.encoder(cut(real_NCHW, self.grid))
        code_NCHW, painted_NCHW, alike_NP = maps[-1], None, None
        if self.bottleneck is not None:
            painted_NCHW, alike_NP = self.bottleneck(code_NCHW)
            code_NCHW = self._masked(code_NCHW, painted_NCHW)
        generator = self.student or self.teacher
        assert generator is not None  # noqa: S101 - one of them is left in every choice
        image_NCHW, made = generator(code_NCHW, maps)
        return _Drawn(image_NCHW, made, maps, painted_NCHW, alike_NP)

    def _masked(self, map_NCHW: Tensor, painted_NCHW: Tensor) -> Tensor:
        """Let a few places keep the encoder's features, in training alone."""
        if not self.training:
            return painted_NCHW
        # Drawn on the CPU, so that every device sees the same places.
        drawn = torch.rand(len(map_NCHW), 1, *map_NCHW.shape[-2:]).to(map_NCHW.device)
        return torch.where(drawn < self.shortcut, painted_NCHW, map_NCHW.to(painted_NCHW.dtype))

    def _wanted(self, real_NCHW: Tensor, drawn: _Drawn) -> dict[str, Tensor]:
        """Give the terms that ask no discriminator."""
        parts = {"reconstruction": F.mse_loss(drawn.image_NCHW, real_NCHW)}
        if drawn.painted_NCHW is not None:
            parts["features"] = F.mse_loss(drawn.painted_NCHW, drawn.maps[-1].detach())
        if self.teacher is not None and self.student is not None:
            # The teacher is shown what the encoder sees, but does not move it.
            shown = [each.detach() for each in drawn.maps]
            image_NCHW, taught = self.teacher(shown[-1], shown)
            if self.stop_gradient:
                taught = [each.detach() for each in taught]
            gaps = [F.mse_loss(a, b) for a, b in zip(drawn.made, taught, strict=True)]
            parts["teacher"] = F.mse_loss(image_NCHW, real_NCHW)
            parts["distillation"] = torch.stack(gaps).sum()
        return parts

    def _weighted(self, parts: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.weight_of[name] * part for name, part in parts.items()]).sum()

    def _watch(self, batch: Batch) -> Tensor:
        """Give the generators' loss without the term whose measure moves."""
        real_NCHW = 2 * batch.voxels_NCHW - 1
        return self._weighted(self._wanted(real_NCHW, self._drawn(real_NCHW)))


@contextmanager
def _resting(detector: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode for a while."""
    modes = {module: module.training for module in detector.modules()}
    detector.eval()
    try:
        yield
    finally:
        for module, learning in modes.items():
            module.training = learning


def _patch_px(size_px: int, widths: Sequence[int], grid: int) -> int:
    """Give the sides of a patch's last map."""
    if grid < COARSE or grid % 2 or size_px % grid or len(widths) < COARSE:
        msg = (
            f"grid {grid} must be even and divide size_px {size_px}, and of widths there are "
            f"{len(widths)}: take {COARSE} or more"
        )
        raise BadParams(msg)
    side_px(size_px, widths)
    return side_px(size_px // grid, widths)


def _refuse_unfit(features: int, heads: int, levels: int, weights: Mapping[str, float]) -> None:
    if features % heads or not 1 <= levels <= LEVELS:
        msg = (
            f"the {features} features of a patch must be divisible by heads {heads}, and slots "
            f"name one to {LEVELS} levels, not {levels}"
        )
        raise BadParams(msg)
    if strangers := weights.keys() - WEIGHTS.keys():
        msg = f"weights: {', '.join(sorted(strangers))} is none of {', '.join(WEIGHTS)}"
        raise BadParams(msg)
