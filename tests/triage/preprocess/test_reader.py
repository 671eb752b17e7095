"""MONAI's own loader over our reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.data.meta_tensor import MetaTensor
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.spatial.array import Orientation

from tests.triage.files import image, shared, stack, write
from triage.preprocess.decoder import Decoder
from triage.preprocess.reader import SeriesReader

LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def loaded_by(decoder: Decoder, files: object, *, channel: bool = False) -> MetaTensor:
    reader: Any = SeriesReader(decoder)
    loaded = LoadImaged("image", reader=reader, ensure_channel_first=channel)({"image": files})
    found = loaded["image"]
    assert isinstance(found, MetaTensor)
    return found


def test_a_folder_becomes_a_volume_with_its_affine(decoder: Decoder, tmp_path: Path) -> None:
    volume = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    stack(tmp_path, volume, gap_mm=2.5, PixelSpacing=[0.5, 0.7])
    loaded = loaded_by(decoder, str(tmp_path), channel=True)
    assert loaded.shape == (1, 5, 4, 3)
    assert np.array_equal(loaded[0].numpy(), volume.transpose(2, 1, 0))
    expected = np.diag([-0.7, -0.5, 2.5, 1.0])
    assert loaded.affine.numpy() == pytest.approx(expected)


def test_files_in_any_order_give_the_same_volume(decoder: Decoder, tmp_path: Path) -> None:
    paths = stack(tmp_path, np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    one = loaded_by(decoder, paths)
    other = loaded_by(decoder, [paths[1], paths[2], paths[0]])
    assert np.array_equal(one.numpy(), other.numpy())
    assert np.array_equal(one.affine.numpy(), other.affine.numpy())


def test_a_radiograph_is_two_dimensional(decoder: Decoder, tmp_path: Path) -> None:
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    path = write(image("DX", pixels), tmp_path / "x.dcm")
    assert np.array_equal(loaded_by(decoder, path).numpy(), pixels.T)


def test_monai_turns_a_real_sagittal_series_to_axial(decoder: Decoder) -> None:
    paths = shared("dicom/series/mr-t1-siemens-35/*")
    loaded = loaded_by(decoder, paths, channel=True)
    turned = Orientation(axcodes="LPS", labels=LABELS)(loaded)
    assert isinstance(turned, MetaTensor)
    assert turned.shape == (1, 35, 256, 256)
    spacing_mm = np.linalg.norm(turned.affine.numpy()[:3, :3], axis=0)
    assert spacing_mm == pytest.approx([4.8, 1.015625, 1.015625], rel=1e-4)
    assert (np.diag(turned.affine.numpy())[:3] * [-1, -1, 1] > 0).all()
