"""A small family of two stages and two players, as adversarial ones are, with its own noise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Anomaly, Batch, Detector, Loss, Player, Stage

SIDE_PX = 16


class Duel(Detector):
    """First an autoencoder learns, watched; then a critic and the decoder take turns, unwatched,
    while the encoder stands still."""

    seen: Tensor

    def __init__(self, *, fall_over_at: int = 0) -> None:
        super().__init__(fall_over_at=fall_over_at)
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(SIDE_PX**2, 8), nn.BatchNorm1d(8), nn.Dropout(0.2)
        )
        self.decoder = nn.Linear(8, SIDE_PX**2)
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(SIDE_PX**2, 1))
        self.fixed = nn.Linear(2, 2)
        self.fixed.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))
        self.batches: list[Batch] = []
        self.modes: list[tuple[bool, bool, bool]] = []

    def stages(self) -> tuple[Stage, ...]:
        both = Player("both", (self.encoder, self.decoder), self.loss, encodes=True)
        critic = Player(
            "critic", (self.critic,), self._critic, turns=2, optimizer="rmsprop", rate=0.5
        )
        decoder = Player(
            "decoder", (self.decoder,), self._decoder, every=2, optimizer="adam", betas=(0.5, 0.9)
        )
        return (
            Stage("rebuild", (both,), watch=lambda batch: self.loss(batch).total),
            Stage("duel", (critic, decoder), watch=None, share=0.5),
        )

    def rebuild(self, voxels_NCHW: Tensor) -> Tensor:
        flat: Tensor = self.decoder(self.encoder(voxels_NCHW))
        return flat.reshape(voxels_NCHW.shape)

    def loss(self, batch: Batch) -> Loss:
        self.batches.append(batch)
        self.modes.append((self.training, self.encoder.training, self.critic.training))
        squared = F.mse_loss(self.rebuild(batch.voxels_NCHW), batch.voxels_NCHW)
        rough = (self.rebuild(batch.voxels_NCHW) + 0.1 * torch.rand(1)).abs().mean()
        return Loss(squared + 0.01 * rough, {"squared": squared, "rough": rough})

    def _critic(self, batch: Batch) -> Loss:
        self.modes.append((self.training, self.encoder.training, self.critic.training))
        self.seen += 1
        real = self.critic(batch.voxels_NCHW).mean()
        made = self.critic(self.rebuild(batch.voxels_NCHW)).mean()
        if int(self.seen) == self.params["fall_over_at"]:
            made = made * torch.nan
        return Loss(made - real, {"made": made, "real": -real})

    def _decoder(self, batch: Batch) -> Loss:
        made = -self.critic(self.rebuild(batch.voxels_NCHW)).mean()
        return Loss(made, {"made": made})

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        return Anomaly((self.rebuild(voxels_NCHW) - voxels_NCHW).square().mean((1, 2, 3)), None)


def duel(seed: int = 0, fall_over_at: int = 0) -> Duel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Duel(fall_over_at=fall_over_at)
