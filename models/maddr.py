"""MADDR: one network for several organs and modalities, over any family that has codes.

Source:   Zhang et al. 2023, MICCAI, doi 10.1007/978-3-031-43898-1_23: equations 1 to 4,
          section 2.4 (mixup; score unchanged), Table 2 (the terms one by one).
Input:    voxels_NCHW as the base takes them; in training also the organ and modality of each.
Score:    the base's, and its map. Beside it ``others["centre"]``, the distance of the code to the
          healthy codes' centre, and ``seen``, what organ and modality the image looks like.
Differs:  the classes of the focal loss are weighted by how rare they were so far, where the
          paper weighs all alike and so only scales the loss; the centre term is divided by its
          number of features, so that its weight means the same for every base, and pulls to a
          moving centre where a batch is too small to have a mean; mixup, on half of the batches,
          is off by default, since two bodies at once are no anatomy, and where several players
          take turns only the one that encodes sees the mixture; a list of one organ or modality
          leaves nothing to tell apart, so it has no head, no term and no place in ``seen``. The
          epoch that is kept is chosen by the base's own held-out loss. Where a family trains in
          stages, the terms act in those that make codes.

Shapes: N images, C channels, H W rows and columns, F features of a code, K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

import models
from models.checkpoint import WrongRun
from models.contract import Anomaly, BadParams, Batch, Coder, Detector, Loss, Player, Stage

WEIGHTED: Final = ("organ", "modality", "centre")
TERMS: Final = (*WEIGHTED, "mixup")
GAMMA: Final = 2.0
ENOUGH: Final = 8
"""Images whose own mean is a centre; fewer are pulled to the moving one."""
FOLLOW: Final = 0.1
"""Share of the moving centre that a batch replaces."""
MIXED: Final = 0.5
"""Share of the batches that are mixed."""
Constrained = Callable[[Batch], Loss]


def focal(logit_NK: Tensor, label_N: Tensor, weight_K: Tensor, gamma: float = GAMMA) -> Tensor:
    """Give the mean of -w (1 - p)^gamma log p, p being the probability of the label (eq. 2, 3)."""
    log_p_N = logit_NK.log_softmax(1).gather(1, label_N[:, None])[:, 0]
    return -(weight_K[label_N] * (1 - log_p_N.exp()) ** gamma * log_p_N).mean()


def spread(code_NF: Tensor) -> Tensor:
    """Give the mean squared distance of each code to the mean of the others, a feature (eq. 4).

    That mean differs from the mean of all by the factor n / (n - 1), so none has to be left out.
    """
    count = len(code_NF)
    distance_NF = (code_NF - code_NF.mean(0)) * (count / (count - 1))
    return distance_NF.square().mean()


class Head(nn.Module):
    """Tells classes apart by one linear layer, and counts how often it was shown each."""

    count_K: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.register_buffer("count_K", torch.zeros(classes, dtype=torch.int64))

    def forward(self, code_NF: Tensor) -> Tensor:
        """Give the logits (N, K)."""
        logit_NK: Tensor = self.linear(code_NF)
        return logit_NK

    def count(self, label_N: Tensor) -> None:
        """Remember which classes were shown."""
        self.count_K = self.count_K + label_N.bincount(minlength=len(self.count_K))

    def weights(self) -> Tensor:
        """Give the weight of each class, (K,): the rarer, the heavier.

        Over the images shown their mean is 1; each class counts one image more than it was shown,
        so that none is infinitely rare.
        """
        shown_K = self.count_K.float() + 1
        return shown_K.mean() / shown_K


@dataclass(frozen=True, slots=True)
class Mixture:
    """How two orders of one batch were laid over each other."""

    share: float
    """Of the batch in its own order."""
    other_N: Tensor
    """The second order."""


class MADDR(Detector):
    """A base detector whose codes also say organ and modality, and keep together otherwise.

    ``base`` is a family with codes and ``base_params`` are its own; ``organs`` and ``modalities``
    name the classes, in the order of the labels. ``organ_features`` and ``modality_features`` are
    the sizes of the code's first two parts, the rest is what the centre term pulls together; with
    ``split`` off every term acts on the whole code. ``terms`` are those of TERMS that are on,
    ``weights`` what each is multiplied by, 1 where it is not named.

    Raises:
        BadParams: a term is unknown, or the base has no codes or too short ones to split.
    """

    centre_F: Tensor
    batches: Tensor

    def __init__(  # noqa: PLR0913 - the constructor's keywords are the family's published knobs
        self,
        *,
        base: str,
        base_params: Mapping[str, Any],
        organs: Sequence[str],
        modalities: Sequence[str],
        organ_features: int = 10,
        modality_features: int = 10,
        split: bool = True,
        terms: Sequence[str] = ("organ", "modality", "centre"),
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(
            base=base,
            base_params=dict(base_params),
            organs=list(organs),
            modalities=list(modalities),
            organ_features=organ_features,
            modality_features=modality_features,
            split=split,
            terms=list(terms),
            weights=dict(weights or {}),
        )
        _refuse_strangers("terms", terms, TERMS)
        _refuse_strangers("weights", weights or (), WEIGHTED)
        self.base = _coder(base, base_params)
        self.terms = frozenset(terms)
        self.weight_of = dict.fromkeys(WEIGHTED, 1.0) | dict(weights or {})
        features = self.base.code_features
        parts = (organ_features, modality_features, features - organ_features - modality_features)
        if split and parts[-1] < 1:
            msg = f"base {base} has {features} features a code, too few to split off {parts[:2]}"
            raise BadParams(msg)
        self.parts = parts if split else (features, features, features)
        self.split = split
        classes = {"organ": len(organs), "modality": len(modalities)}
        self.heads = nn.ModuleDict(
            {
                name: Head(size, classes[name])
                for name, size in zip(classes, self.parts, strict=False)
                if name in terms and classes[name] > 1
            }
        )
        self.register_buffer("centre_F", torch.zeros(self.parts[-1]))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def stages(self) -> tuple[Stage, ...]:
        """Give the base's stages, with the terms and heads added to each player that encodes."""
        return tuple(
            replace(stage, players=tuple(map(self._constrained, stage.players)))
            for stage in self.base.stages()
        )

    def loss(self, batch: Batch) -> Loss:
        """Give the base's loss plus the weighted terms that are on (eq. 1).

        Raises:
            WrongRun: a term needs a label that the batch lacks.
        """
        return self._with_terms(self.base.loss, batch)

    def describe(self, voxels_NCHW: Tensor) -> Tensor:
        """Give the base's codes."""
        return self.base.describe(voxels_NCHW)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        """Score as the base does, and say what else the codes tell."""
        found = self.base.score(voxels_NCHW)
        organ_NF, modality_NF, own_NF = self._parted(self._codes(voxels_NCHW))
        shown = {"organ": organ_NF, "modality": modality_NF}
        return replace(
            found,
            others={**found.others, "centre": (own_NF - self.centre_F).norm(dim=1)},
            seen={name: head(shown[name]).softmax(1) for name, head in self.heads.items()},
        )

    def settle(self, batches: Iterable[Tensor]) -> None:
        """Let the base settle, and learn the centre from the codes of the same images."""
        total_F, count = torch.zeros_like(self.centre_F), 0

        def passing() -> Iterator[Tensor]:
            nonlocal total_F, count
            for voxels_NCHW in batches:
                with torch.no_grad():
                    total_F = total_F + self._parted(self._codes(voxels_NCHW))[-1].sum(0)
                count += len(voxels_NCHW)
                yield voxels_NCHW

        rest = passing()
        self.base.settle(rest)
        for _ in rest:  # a base that has nothing to learn leaves them all
            pass
        self.centre_F = total_F / max(count, 1)

    def gauge(self, batches: Iterable[Tensor]) -> None:
        """Let the base gauge."""
        self.base.gauge(batches)

    def _constrained(self, player: Player) -> Player:
        if not player.encodes:
            return player

        def loss(batch: Batch) -> Loss:
            return self._with_terms(player.loss, batch)

        return replace(player, modules=(*player.modules, self.heads), loss=loss)

    def _with_terms(self, base_loss: Constrained, batch: Batch) -> Loss:
        mixture = self._mixture(batch)
        found = base_loss(_mixed(batch, mixture) if mixture else batch)
        if found.latent_NF is None:
            msg = f"base {self.params['base']} gave no codes, so nothing can be asked of them"
            raise WrongRun(msg)
        parts = self._terms(found.latent_NF.float(), batch, mixture)
        total = found.total
        for name, part in parts.items():
            total = total + self.weight_of[name] * part
        return replace(found, total=total, parts={**found.parts, **parts})

    def _terms(self, code_NF: Tensor, batch: Batch, mixture: Mixture | None) -> dict[str, Tensor]:
        organ_NF, modality_NF, own_NF = self._parted(code_NF)
        asked = {
            "organ": (organ_NF, batch.organ_N),
            "modality": (modality_NF, batch.modality_N),
        }
        terms = {}
        for name, head in self.heads.items():
            shown_NF, label_N = asked[name]
            if label_N is None:
                msg = f"the images name no {name}; name it for every source, or take it from terms"
                raise WrongRun(msg)
            terms[name] = self._told_apart(head, shown_NF, label_N.to(shown_NF.device), mixture)
        if "centre" in self.terms:
            terms["centre"] = self._kept_together(own_NF)
        return terms

    def _told_apart(
        self, head: nn.Module, code_NF: Tensor, label_N: Tensor, mixture: Mixture | None
    ) -> Tensor:
        assert isinstance(head, Head)  # noqa: S101 - a ModuleDict forgets what it holds
        if self.training:
            head.count(label_N)
        logit_NK = head(code_NF)
        loss = focal(logit_NK, label_N, head.weights())
        if mixture is None:
            return loss
        other = focal(logit_NK, label_N[mixture.other_N.to(label_N.device)], head.weights())
        return mixture.share * loss + (1 - mixture.share) * other

    def _kept_together(self, code_NF: Tensor) -> Tensor:
        if self.training:
            mean_F = code_NF.detach().mean(0)
            follow = FOLLOW if self.batches else 1.0
            self.centre_F = torch.lerp(self.centre_F, mean_F, follow)
            self.batches = self.batches + 1
        if len(code_NF) >= ENOUGH:
            return spread(code_NF)
        return (code_NF - self.centre_F).square().mean()

    def _mixture(self, batch: Batch) -> Mixture | None:
        if "mixup" not in self.terms or not self.training or torch.rand(()) >= MIXED:
            return None
        # Beta(1, 1) is even. Drawn on the CPU, so that a run is the same on every device.
        return Mixture(torch.rand(()).item(), torch.randperm(len(batch.voxels_NCHW)))

    def _parted(self, code_NF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.split:
            return code_NF, code_NF, code_NF
        organ_NF, modality_NF, own_NF = torch.split(code_NF, list(self.parts), dim=1)
        return organ_NF, modality_NF, own_NF

    def _codes(self, voxels_NCHW: Tensor) -> Tensor:
        return self.base.encode(voxels_NCHW).float()


def _mixed(batch: Batch, mixture: Mixture) -> Batch:
    """Lay the images over each other; the labels stay those of the batch's own order."""
    other_N = mixture.other_N.to(batch.voxels_NCHW.device)
    return replace(
        batch, voxels_NCHW=torch.lerp(batch.voxels_NCHW[other_N], batch.voxels_NCHW, mixture.share)
    )


def _refuse_strangers(param: str, given: Iterable[str], known: Sequence[str]) -> None:
    if strangers := set(given) - set(known):
        msg = f"{param}: {', '.join(sorted(strangers))} is none of {', '.join(known)}"
        raise BadParams(msg)


def _coder(base: str, params: Mapping[str, Any]) -> Coder:
    family = models.load(base)
    if not issubclass(family, Coder):
        msg = f"base {base} has no codes to split; take one of the families that encode and decode"
        raise BadParams(msg)
    return family(**params)
