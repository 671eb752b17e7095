import pytest
import torch

from models.contract import Anomaly, Detector
from models.mama_net import MAMANet
from models.memmc_mae import MemMCMAE
from models.quick import quick
from models.simsid import SimSID
from tests.models.chests import SMALL_MAE, healthy, with_opacity


def _small(family: type[Detector]) -> Detector:
    torch.manual_seed(0)
    params: dict[type[Detector], dict[str, object]] = {
        MemMCMAE: dict(SMALL_MAE),
        MAMANet: {"size_px": 16, "widths": (8, 8, 8), "slots": 16},
        SimSID: {"size_px": 16, "widths": (8, 8), "latent": 4, "slots": (6,), "decoder_slots": 4},
    }
    return family(**params[family]).eval()


def _images() -> torch.Tensor:
    return torch.cat([healthy(4), with_opacity(healthy(4))])


def _close(found: Anomaly, expected: Anomaly, share: float) -> None:
    assert found.score_N.dtype == torch.float32
    assert torch.allclose(found.score_N, expected.score_N, rtol=share)
    assert found.map_NHW is not None
    assert expected.map_NHW is not None
    assert found.map_NHW.shape == expected.map_NHW.shape


@pytest.mark.parametrize("family", [MemMCMAE, MAMANet, SimSID])
def test_half_precision_changes_a_score_by_little(
    family: type[Detector],
) -> None:
    detector, images = _small(family), _images()
    found, expected = quick(detector, half=True)(images), detector.score(images)
    _close(found, expected, 0.03)
    assert not torch.equal(found.score_N, expected.score_N)  # it was half indeed


def test_without_a_switch_it_is_the_detectors_own_to_the_bit() -> None:
    detector, images = _small(MemMCMAE), _images()
    assert torch.equal(quick(detector)(images).score_N, detector.score(images).score_N)


@pytest.mark.slow
def test_what_a_compiler_is_given_scores_the_same() -> None:
    detector, images = _small(MemMCMAE), _images()
    traced = quick(detector, compiled=True, backend="aot_eager")
    _close(traced(images), detector.score(images), 1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("half", [False, True])
def test_compiled_on_a_gpu_it_scores_the_same(half: bool) -> None:
    detector, images = _small(MemMCMAE), _images()
    expected = detector.score(images)
    found = quick(detector.cuda(), half=half, compiled=True)(images.cuda())
    assert torch.allclose(found.score_N.cpu(), expected.score_N, rtol=0.03 if half else 1e-3)
