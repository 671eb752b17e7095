import pytest

from models.peak import Subject, peak


def test_a_large_memory_and_a_large_batch_are_seen() -> None:
    params = {"size_px": 16, "widths": (8, 8), "memory": "vector", "latent": 64, "slots": 200_000}
    found = peak(Subject(size_px=16, batch=64, family="memae", params=params))
    weights_mb = 4 * 64 * 200_000 / 1e6
    addresses_mb = 4 * 64 * 200_000 / 1e6  # a weight a slot, for each of 64 images
    assert weights_mb < found.one < 20 * weights_mb
    assert found.batch > found.one + addresses_mb / 2


def test_what_cannot_be_built_is_told_by_its_reason() -> None:
    with pytest.raises(OSError, match=r"models.peak ended with .*oracle"):
        peak(Subject(size_px=16, batch=1, family="oracle"))
