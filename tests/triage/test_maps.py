"""Anomaly maps: kept as they are, found again, and laid where they came from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from triage import maps
from triage.errors import Broken


def one(frames: int = 2, side: int = 4, scale: float = 3.0) -> maps.AnomalyMap:
    matrix = np.diag([1.0, scale, scale, 1.0])
    matrix[1:3, 3] = (scale - 1) / 2
    values = np.random.default_rng(0).random((frames, side, side), dtype=np.float32)
    return maps.AnomalyMap(values, matrix[None], tuple((f"1.2.{n}", 1) for n in range(frames)))


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    alike = maps.Alike(
        np.ones((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8),
        np.asarray([1, 2, 3], np.float32), 0.5,
    )  # fmt: skip
    kept = replace(one(), healthy=np.asarray([0.5, 0.75], np.float32), alike=alike)
    sha256 = maps.keep(kept, tmp_path)
    assert maps.keep(kept, tmp_path) == sha256
    found = maps.read(tmp_path, sha256)
    assert (found.values == kept.values).all()
    assert (found.to_source == kept.to_source).all()
    assert found.frames == kept.frames
    assert (found.healthy == kept.healthy).all()
    assert found.alike is not None
    assert (found.alike.own == 1).all()
    assert (found.alike.thumbs.shape, found.alike.usual) == ((3, 4, 4), 0.5)
    assert list(found.alike.distances) == [1, 2, 3]
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".map"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"other")])
def test_a_map_that_is_gone_or_changed_is_said_to_be(damage: object, tmp_path: Path) -> None:
    sha256 = maps.keep(one(), tmp_path)
    damage(maps.path_of(tmp_path, sha256))  # type: ignore[operator]
    with pytest.raises(Broken) as caught:
        maps.read(tmp_path, sha256)
    assert caught.value.reason.code == "corrupt"


def test_a_voxel_lies_over_the_middle_of_its_pixels() -> None:
    kept = one()
    laid = kept.on_source(1, 12, 12)
    assert laid.shape == (12, 12)
    np.testing.assert_allclose(laid[1::3, 1::3], kept.values[1], rtol=1e-5)


def test_where_the_detector_did_not_look_there_is_nothing() -> None:
    laid = one().on_source(0, 20, 14)
    assert (laid[12:] == 0).all()
    assert (laid[:, 12:] == 0).all()
    assert (laid[:12, :12] > 0).all()


def test_every_other_pixel_is_the_same_as_all_of_them() -> None:
    kept = one()
    np.testing.assert_allclose(
        kept.on_source(0, 12, 12, step=5), kept.on_source(0, 12, 12)[::5, ::5]
    )


def test_films_have_a_matrix_each() -> None:
    first = one(frames=2)
    shifted = first.to_source[0].copy()
    shifted[1:3, 3] += 6
    both = maps.AnomalyMap(first.values, np.stack([first.to_source[0], shifted]), first.frames)
    np.testing.assert_allclose(both.on_source(0, 12, 12), first.on_source(0, 12, 12))
    np.testing.assert_allclose(
        both.on_source(1, 18, 18)[6:, 6:], first.on_source(1, 12, 12), rtol=1e-5
    )
