"""Ensemble: several detectors, asked together, each by how usual its own score is.

Source:   Fisher 1925, Statistical Methods for Research Workers, section 21.1 (sum of log p);
          Zaykin et al. 2002, doi 10.1002/gepi.0042 (truncated product); Vovk and Wang 2020,
          arXiv:1212.4966 (mean of p); Bates et al. 2023, arXiv:2104.08279 (conformal p-values).
Input:    voxels_NCHW, float32 in [0, 1] as the recipe scales it; C = 1, the members' size.
Score:    minus the log of the members' combined p, in nats, higher is stranger: ``mean``, of the
          mean of their p; ``fisher``, the mean of their -log p; ``truncated``, the same of those p
          only that are at or below ``tau``, the others counting a thousandth. The map is the mean
          of the members' maps, each over its own mean on healthy images.
Differs:  a member's p is taken against healthy images that trained nothing where there are any,
          and from their scores blurred by a logistic kernel of Silverman's width, so that images
          stranger than all of them still have an order, which a count of them would lose; beyond
          them its log falls evenly, so that members' excesses add up and the farthest out does
          not decide alone, as it would under a normal kernel. Members are not independent, so
          what comes out is a score and no p-value: the artifact's own calibration, on yet other
          healthy images, is the only one that decides.

Shapes: N slices, C channels, H W rows and columns, K members, R reference images.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from models.contract import Anomaly, BadParams, Batch, Detector, Loss, Player, Stage

REFERENCES: Final = 1024
"""Healthy scores that are kept of each member at most, as even quantiles of all."""
SLIGHT: Final = 1e-3
"""Weight of an unremarkable p in the truncated combination: it breaks ties, and no more."""
LOGISTIC: Final = 3**0.5 / math.pi
"""Scale of the logistic law whose standard deviation is 1."""
Combine = Literal["mean", "fisher", "truncated"]


def log_p(score_N: Tensor, healthy_R: Tensor) -> Tensor:
    """Give the log of the smoothed share of healthy scores at or above each score; float64.

    Far above all it falls evenly, as the logistic kernel does, and is never tied.
    """
    score_N, healthy_R = score_N.double(), healthy_R.double()
    quarter, three = healthy_R.quantile(healthy_R.new_tensor([0.25, 0.75]))
    spread = torch.minimum(healthy_R.std(correction=0), (three - quarter) / 1.34)
    spread = torch.where(spread > 0, spread, healthy_R.std(correction=0))
    width = (0.9 * spread * len(healthy_R) ** -0.2 * LOGISTIC).clamp_min(1e-9)
    above_NR = F.logsigmoid((healthy_R - score_N[:, None]) / width)
    found: Tensor = above_NR.logsumexp(1) - torch.tensor(float(len(healthy_R))).log()
    return found.clamp_max(0)


def combined(log_p_KN: Tensor, how: Combine, tau: float) -> Tensor:
    """Give one strangeness of the members' log p: minus a log, higher is stranger."""
    if how == "mean":
        return torch.tensor(float(len(log_p_KN))).log() - log_p_KN.logsumexp(0)
    if how == "fisher":
        return -log_p_KN.mean(0)
    counted_KN = torch.where(log_p_KN <= torch.tensor(tau).log(), 1.0, SLIGHT)
    return -(counted_KN * log_p_KN).mean(0)


class Ensemble(Detector):
    """Members of any families, each trained as it would be alone, and what is usual for each.

    ``members`` are mappings of ``family``, ``params`` and perhaps ``share``, its epochs as a
    multiple of the plan's, and ``rate``, its learning rate likewise. The further raw scores are
    the members' own, by family; a second of one family gets a number, and a member's further
    ones stand behind its name.

    Raises:
        BadParams: there are fewer than two members, one's key is unknown, or ``combine`` or
            ``tau`` are.
    """

    healthy_KR: Tensor
    level_K: Tensor

    def __init__(
        self,
        *,
        members: Sequence[Mapping[str, Any]],
        combine: Combine = "fisher",
        tau: float = 0.2,
        references: int = 256,
    ) -> None:
        super().__init__(
            members=[dict(member) for member in members],
            combine=combine,
            tau=tau,
            references=references,
        )
        _refuse(members, combine, tau, references)
        built = [models.load(one["family"])(**one.get("params", {})) for one in members]
        self.members = nn.ModuleList(built)
        self.detectors = tuple(built)
        self.names = _names(members)
        for kept, detector in zip(self.params["members"], built, strict=True):
            kept["params"] = detector.params
        self.combine, self.tau = combine, tau
        self.register_buffer("healthy_KR", torch.zeros(len(built), references))
        self.register_buffer("level_K", torch.ones(len(built)))

    def stages(self) -> tuple[Stage, ...]:
        """Give the members' stages one after the other, each under its member's name."""
        found = []
        for name, detector, one in zip(
            self.names, self.detectors, self.params["members"], strict=True
        ):
            for stage in detector.stages():
                players = tuple(_renamed(player, name, one) for player in stage.players)
                share = stage.share * one.get("share", 1.0)
                full = f"{name}-{stage.name}"
                found.append(replace(stage, name=full, players=players, share=share))
        return tuple(found)

    def loss(self, batch: Batch) -> Loss:
        """Give the sum of the members' losses."""
        found = {
            name: detector.loss(batch).total
            for name, detector in zip(self.names, self.detectors, strict=True)
        }
        return Loss(total=torch.stack([*found.values()]).sum(), parts=found)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score each slice by what its members say together."""
        said = [detector.score(voxels_NCHW) for detector in self.detectors]
        pairs = zip(said, self.healthy_KR, strict=True)
        log_p_KN = torch.stack([log_p(one.score_N, healthy_R) for one, healthy_R in pairs])
        maps = [
            one.map_NHW / level
            for one, level in zip(said, self.level_K, strict=True)
            if one.map_NHW is not None
        ]
        return Anomaly(
            score_N=combined(log_p_KN, self.combine, self.tau).float(),
            map_NHW=torch.stack(maps).mean(0) if maps else None,
            others=self._others(said),
        )

    def describe(self, voxels_NCHW: Tensor) -> Tensor:
        """Give what the first member compares images by."""
        return self.detectors[0].describe(voxels_NCHW)

    def settle(self, batches: Iterable[Tensor]) -> None:
        """Let the members settle, and take what is usual from the same images."""
        known = list(batches)
        for detector in self.detectors:
            detector.settle(iter(known))
        self._compare(known)

    def gauge(self, batches: Iterable[Tensor]) -> None:
        """Let the members gauge, and take what is usual from images that trained nothing."""
        known = list(batches)
        for detector in self.detectors:
            detector.gauge(iter(known))
        self._compare(known)

    def _others(self, said: Sequence[Anomaly]) -> dict[str, Tensor]:
        found = {}
        for name, one in zip(self.names, said, strict=True):
            found[name] = one.score_N
            found |= {f"{name} {inner}": score_N for inner, score_N in one.others.items()}
        return found

    def _compare(self, known: Sequence[Tensor]) -> None:
        scores: list[Tensor] = []
        levels: list[Tensor] = []
        for detector in self.detectors:
            said = [detector.score(voxels_NCHW) for voxels_NCHW in known]
            scores.append(_even(torch.cat([one.score_N for one in said]), self.healthy_KR.shape[1]))
            maps = [one.map_NHW.mean() for one in said if one.map_NHW is not None]
            level = torch.stack(maps).mean() if maps else torch.ones(())
            levels.append(level.clamp_min(1e-9).to(self.level_K))
        self.healthy_KR = torch.stack(scores).clone()
        self.level_K = torch.stack(levels).clone()


def _even(score_N: Tensor, count: int) -> Tensor:
    """Give so many scores as even quantiles of the given ones."""
    shares = (torch.arange(count, dtype=torch.float64, device=score_N.device) + 0.5) / count
    return score_N.double().quantile(shares).float()


def _names(members: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    families = [member["family"] for member in members]
    return tuple(
        family if families.count(family) == 1 else f"{family}-{families[: place + 1].count(family)}"
        for place, family in enumerate(families)
    )


def _renamed(player: Player, name: str, one: Mapping[str, Any]) -> Player:
    rate = player.rate * one.get("rate", 1.0)
    return replace(player, name=f"{name}-{player.name}", rate=rate, encodes=False)


def _refuse(members: Sequence[Mapping[str, Any]], combine: str, tau: float, count: int) -> None:
    if len(members) < 2:
        msg = "an ensemble has two members or more; train a single one by its own family"
        raise BadParams(msg)
    for member in members:
        if strange := set(member) - {"family", "params", "share", "rate"}:
            msg = f"a member has family, params, share and rate, not {', '.join(sorted(strange))}"
            raise BadParams(msg)
        if member.get("family") == "ensemble" or "family" not in member:
            msg = "a member names its family, and is no ensemble itself"
            raise BadParams(msg)
    if combine not in ("mean", "fisher", "truncated") or not 0 < tau < 1:
        msg = f"combine is mean, fisher or truncated, and tau in (0, 1): not {combine!r}, {tau:g}"
        raise BadParams(msg)
    if not 1 < count <= REFERENCES:
        msg = f"references {count} must be 2 to {REFERENCES}"
        raise BadParams(msg)
