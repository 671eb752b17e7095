"""Healthy references: the nearest are found, of other studies, in the image's own stratum."""

from pathlib import Path

import pytest
import torch

from models import artifact
from models.artifact import BadArtifact
from models.manifest import REFERENCES
from models.references import NEAREST, THUMB_PX, References, build, spread, thumb, unpack
from tests.models.cards import CALIBRATION, card
from tests.models.chests import healthy, small_memae

CHILD, ADULT = "DX/CHEST/child", "DX/CHEST/adult"


def some() -> References:
    """Two slices of each of four children, a feature apart, and one adult."""
    values = [0.0, 0.1, 1.0, 1.1, 2.0, 2.1, 3.0, 3.1, 50.0]
    features = [torch.tensor([value, 1.0]) for value in values]
    thumbs = [torch.full((4, 4), place, dtype=torch.uint8) for place in range(9)]
    studies = [0, 0, 1, 1, 2, 2, 3, 3, 4]
    return build(thumbs, features, studies, [CHILD] * 8 + [ADULT])


def test_the_nearest_are_of_different_studies_and_the_nearest_comes_first() -> None:
    found = some().nearest(torch.tensor([1.2, 1.0]), (CHILD, "DX/CHEST"))
    assert found is not None
    assert found.stratum == CHILD
    assert found.thumbs_KHW[:, 0, 0].tolist() == [3, 4, 1]
    assert found.distances_K.tolist() == sorted(found.distances_K.tolist())
    apart = 0.9 / (2**0.5 * float(some().scale_F[0]))
    assert found.usual == pytest.approx(apart, rel=1e-4)


def test_a_stratum_with_too_few_studies_gives_way_to_the_next() -> None:
    found = some().nearest(torch.tensor([50.0, 1.0]), (ADULT, "DX/CHEST"))
    assert found is not None
    assert found.stratum == "DX/CHEST"
    assert int(found.thumbs_KHW[0, 0, 0]) == 8
    assert some().nearest(torch.tensor([0.0, 1.0]), (ADULT, "CT/CHEST")) is None


def test_what_was_packed_is_unpacked() -> None:
    one, again = some(), unpack(some().pack())
    assert torch.equal(one.thumbs_NHW, again.thumbs_NHW)
    assert torch.allclose(one.features_NF, again.features_NF, atol=1e-3)
    assert again.strata == one.strata


def test_thumbnails_are_small_and_never_enlarged() -> None:
    assert thumb(torch.ones(1, 256, 128)).shape == (THUMB_PX, THUMB_PX // 2)
    assert set(thumb(torch.full((1, 8, 8), 0.5)).flatten().tolist()) == {128}
    assert (spread(1), spread(2), spread(300)) == ((0,), (0, 1), (50, 150, 250))


def test_an_artifact_carries_them_and_refuses_others(tmp_path: Path) -> None:
    detector = small_memae()
    described = card(params=detector.params)
    folder = tmp_path / "a"

    def save(references: bytes | None) -> None:
        artifact.save(folder, detector, described, CALIBRATION, "A card.\n", references)

    voxels_NCHW = healthy(4)
    features = detector.describe(voxels_NCHW)
    kept = build([thumb(one) for one in voxels_NCHW], list(features), range(4), [CHILD] * 4)
    save(kept.pack())
    loaded = artifact.load(folder)
    assert loaded.references is not None
    found = loaded.references.nearest(loaded.detector.describe(voxels_NCHW)[2], (CHILD,))
    assert found is not None
    assert torch.equal(found.thumbs_KHW[0], thumb(voxels_NCHW[2]))
    assert len(found.distances_K) == NEAREST
    save(b"nonsense")
    with pytest.raises(BadArtifact, match=REFERENCES):
        artifact.load(folder)
    save(None)
    assert not (folder / REFERENCES).exists()
    assert artifact.load(folder).references is None
    (folder / REFERENCES).write_bytes(kept.pack())
    with pytest.raises(BadArtifact, match=REFERENCES):
        artifact.load(folder)


def test_no_reference_is_no_calibration() -> None:
    with pytest.raises(ValueError, match="no healthy image"):
        build([], [], [], [])
