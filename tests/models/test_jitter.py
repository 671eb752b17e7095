import torch

from models.jitter import jitter
from tests.models.chests import healthy


def _jittered(strength: float, seed: int = 0) -> torch.Tensor:
    return jitter(healthy(16, size_px=32), strength, torch.Generator().manual_seed(seed))


def test_no_strength_changes_nothing() -> None:
    assert torch.allclose(_jittered(0.0), healthy(16, size_px=32), atol=1e-5)


def test_full_strength_changes_every_picture_its_own_way_within_range() -> None:
    changed, before = _jittered(1.0), healthy(16, size_px=32)
    assert changed.shape == before.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert ((changed - before).abs().mean((1, 2, 3)) > 0.01).all()
    same = jitter(before[:1].expand(2, -1, -1, -1), 1.0, torch.Generator().manual_seed(0))
    assert not torch.equal(same[0], same[1])


def test_the_generator_alone_decides() -> None:
    assert torch.equal(_jittered(1.0), _jittered(1.0))
    assert not torch.equal(_jittered(1.0), _jittered(1.0, seed=1))


def test_a_picture_is_never_mirrored() -> None:
    half = torch.zeros(64, 1, 32, 32)
    half[..., :16] = 1.0
    changed = jitter(half, 1.0, torch.Generator().manual_seed(0))
    assert (changed[..., :8].mean((1, 2, 3)) > 0.8).all()
    assert (changed[..., -8:].mean((1, 2, 3)) < 0.2).all()
