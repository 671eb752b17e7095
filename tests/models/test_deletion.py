"""The strangest region goes, and the score with it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.contract import Anomaly, Batch, Coder, Detector, Loss
from models.deletion import NoReconstruction, delete, elsewhere, strangest_region


class _Flat(Coder):
    """Holds that every picture is of its own median grey; its score is the greatest difference."""

    code_features = 1

    def __init__(self, **params: Any) -> None:  # noqa: ANN401 - a family's own
        super().__init__(**params)
        self.gain = torch.nn.Parameter(torch.ones(()))

    def loss(self, batch: Batch) -> Loss:
        return Loss(total=self.gain * batch.voxels_NCHW.mean(), parts={})

    def encode(self, voxels_NCHW: Tensor) -> Tensor:
        return voxels_NCHW.flatten(1).median(1).values[:, None]

    def decode(self, latent_NF: Tensor) -> Tensor:
        return latent_NF[:, :, None, None].expand(-1, 1, 16, 16)

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        away = (voxels_NCHW - self.decode(self.encode(voxels_NCHW))).abs()[:, 0]
        return Anomaly(score_N=self.gain * away.amax((1, 2)), map_NHW=away)


class _Blind(Detector):
    """Draws nothing back."""

    loss = _Flat.loss

    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        return Anomaly(score_N=voxels_NCHW.mean((1, 2, 3)), map_NHW=voxels_NCHW[:, 0])


def pictures() -> Tensor:
    """Give two flat pictures, each with a bright square of 3 by 3."""
    found = torch.full((2, 1, 16, 16), 0.4)
    found[0, 0, 2:5, 2:5] = 0.9
    found[1, 0, 10:13, 1:4] = 0.8
    return found


def test_without_its_strangest_region_a_picture_is_not_strange() -> None:
    shown = pictures()
    found = delete(_Flat(), shown, share=9 / 256)
    assert found.before_N.tolist() == pytest.approx([0.5, 0.4])
    assert found.after_N.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert found.elsewhere_N.tolist() == pytest.approx([0.5, 0.4])
    assert torch.equal(shown, pictures()), "the pictures themselves stay as they are"


def test_the_region_is_the_share_of_pixels_highest_on_the_map() -> None:
    map_NHW = torch.arange(200.0).reshape(1, 10, 20)
    region = strangest_region(map_NHW, 0.05)
    assert region.sum() == 10
    assert map_NHW[region].min() == 190


def test_elsewhere_is_as_large_and_never_the_region_itself() -> None:
    region = strangest_region(pictures()[:, 0], 9 / 256)
    other = elsewhere(region)
    assert other.sum() == region.sum() == 18
    assert not (other & region).any()


def test_a_detector_that_draws_nothing_back_cannot_be_asked() -> None:
    with pytest.raises(NoReconstruction, match="nothing to put in place"):
        delete(_Blind(), pictures())
