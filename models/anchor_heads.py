"""How far an image's features lie from those of healthy images: three measures, none of gradient.

Each is fitted once, in closed form or by a greedy choice, to the features of healthy images, and
keeps what it learnt in buffers.

Shapes: N images, P places of the map in rows, F features, M kept features.
"""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OWN: Final = 0.1
"""Share of a covariance that is taken from its diagonal alone."""
FLOOR: Final = 1e-2
"""Added to every variance; features are standardised, so their usual variance is 1."""
CANDIDATES: Final = 16384
"""Features among which the greedy choice is made."""


class Padim(nn.Module):
    """A Gaussian a place: the Mahalanobis distance there (Defard et al. 2020, arXiv:2011.08785).

    Mean and covariance take in the eight places around, since healthy anatomy does not stand
    still; all features are kept, where the paper draws some.
    """

    mean_PF: Tensor
    whiten_PFF: Tensor

    def __init__(self, places: int, features: int) -> None:
        super().__init__()
        self.register_buffer("mean_PF", torch.zeros(places, features))
        self.register_buffer("whiten_PFF", torch.eye(features).repeat(places, 1, 1))

    def fit(self, features_NPF: Tensor) -> None:
        """Learn the moments of healthy images' features."""
        count = len(features_NPF)
        square_PFF = torch.einsum("npf,npg->pfg", features_NPF, features_NPF) / count
        mean_PF = _around(features_NPF.mean(0))
        whole_PFF = _around(square_PFF.flatten(1)).view_as(square_PFF)
        spread_PFF = whole_PFF - mean_PF[:, :, None] * mean_PF[:, None, :]
        own_PF = spread_PFF.diagonal(dim1=1, dim2=2)
        spread_PFF = (1 - OWN) * spread_PFF + torch.diag_embed(OWN * own_PF + FLOOR)
        self.mean_PF, self.whiten_PFF = mean_PF, _whitening(spread_PFF)

    def forward(self, features_NPF: Tensor) -> Tensor:
        """Give the distance at each place (N, P), about 1 for healthy images."""
        off_NPF = features_NPF - self.mean_PF
        white_NPF = torch.einsum("npf,pfg->npg", off_NPF, self.whiten_PFF)
        found_NP: Tensor = white_NPF.square().mean(2).sqrt()
        return found_NP


class Nearest(nn.Module):
    """Distance to the nearest kept feature (PatchCore, Roth et al. 2022, arXiv:2106.08265).

    What is kept is the greedy coreset: again and again the feature farthest from all kept ones.
    Each feature is told its place, times ``weight``: anatomy is strange in the wrong place.
    """

    bank_MF: Tensor

    def __init__(self, places: int, features: int, slots: int, weight: float) -> None:
        super().__init__()
        side = math.isqrt(places)
        line = torch.linspace(-1, 1, side)
        grid_PF = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(places, 2)
        self.register_buffer("place_PF", weight * features**0.5 * grid_PF)
        self.register_buffer("bank_MF", torch.zeros(slots, features + 2))

    def fit(self, features_NPF: Tensor) -> None:
        """Choose what is kept; where there is too little, the first is kept again."""
        known_AF = self._placed(features_NPF).flatten(0, 1)
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(known_AF), generator=generator)[:CANDIDATES]
        self.bank_MF = coreset(known_AF[order.to(known_AF.device)], len(self.bank_MF))

    def forward(self, features_NPF: Tensor) -> Tensor:
        """Give the distance at each place (N, P), over the root of the number of features."""
        asked_NPF = self._placed(features_NPF)
        nearest_NP = torch.stack([torch.cdist(one, self.bank_MF).amin(1) for one in asked_NPF])
        found_NP: Tensor = nearest_NP / features_NPF.shape[-1] ** 0.5
        return found_NP

    def _placed(self, features_NPF: Tensor) -> Tensor:
        place_PF = self.get_buffer("place_PF").to(features_NPF)
        return torch.cat([features_NPF, place_PF.expand(len(features_NPF), -1, -1)], 2)


class Density(nn.Module):
    """One Gaussian over whole images: how usual the look of all of it is.

    Its description of an image is each feature's mean and deviation over the places (after Rippel
    et al. 2020, arXiv:2005.14140, who take the mean); the covariance is shrunk by Ledoit and Wolf
    2004, doi 10.1016/S0047-259X(03)00096-4, so that few images make no false directions.
    """

    mean_F: Tensor
    whiten_FF: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(2 * features))
        self.register_buffer("whiten_FF", torch.eye(2 * features))

    def fit(self, features_NPF: Tensor) -> None:
        """Learn the moments of healthy images' descriptions."""
        described_NF = _described(features_NPF)
        self.mean_F = described_NF.mean(0)
        shrunk_FF = ledoit_wolf(described_NF - self.mean_F)
        floor_FF = FLOOR * shrunk_FF.diagonal().mean() * torch.eye(len(shrunk_FF)).to(shrunk_FF)
        self.whiten_FF = _whitening((shrunk_FF + floor_FF)[None])[0]

    def forward(self, features_NPF: Tensor) -> Tensor:
        """Give the Mahalanobis distance of each image (N), about 1 for healthy ones."""
        white_NF = (_described(features_NPF) - self.mean_F) @ self.whiten_FF
        found_N: Tensor = white_NF.square().mean(1).sqrt()
        return found_N


def coreset(known_AF: Tensor, slots: int) -> Tensor:
    """Give so many of the features that none is far from all of them, chosen greedily.

    The first of them is the one farthest from the mean.
    """
    gap_A = (known_AF - known_AF.mean(0)).square().sum(1)
    chosen = [int(gap_A.argmax())]
    gap_A = torch.full_like(gap_A, torch.inf)
    while len(chosen) < min(slots, len(known_AF)):
        gap_A = torch.minimum(gap_A, (known_AF - known_AF[chosen[-1]]).square().sum(1))
        chosen.append(int(gap_A.argmax()))
    chosen += chosen[:1] * (slots - len(chosen))
    return known_AF[chosen].clone()


def ledoit_wolf(centred_NF: Tensor) -> Tensor:
    """Give the covariance drawn towards its mean variance, as far as its own noise demands."""
    count, features = centred_NF.shape
    sample_FF = centred_NF.T @ centred_NF / count
    level = sample_FF.diagonal().mean()
    target_FF = level * torch.eye(features).to(sample_FF)
    apart = (sample_FF - target_FF).square().sum()
    lengths_N = centred_NF.square().sum(1)
    noise = (lengths_N.square().mean() - sample_FF.square().sum()) / count
    share = (noise / apart.clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(sample_FF, target_FF, share)


def _described(features_NPF: Tensor) -> Tensor:
    return torch.cat([features_NPF.mean(1), features_NPF.std(1, correction=0)], 1)


def _whitening(spread_PFF: Tensor) -> Tensor:
    """Give W with W W^T the inverse of each covariance; in float64, for few images bend it."""
    lower_PFF = torch.linalg.cholesky(spread_PFF.double())
    unit_PFF = torch.eye(lower_PFF.shape[-1], dtype=torch.float64).to(lower_PFF.device)
    inverse_PFF: Tensor = torch.linalg.solve_triangular(lower_PFF, unit_PFF, upper=False)
    return inverse_PFF.transpose(1, 2).to(spread_PFF).contiguous()


def _around(values_PF: Tensor) -> Tensor:
    """Give at each place the mean over it and its neighbours."""
    side = math.isqrt(len(values_PF))
    map_1FHW = values_PF.T.reshape(1, -1, side, side)
    padded = F.pad(map_1FHW, (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1)[0].flatten(1).T.contiguous()
