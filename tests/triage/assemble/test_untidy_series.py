"""Series as scanners leave them: twice over, with gaps, tilted, or with a scout among them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.triage.assemble.test_plan import HEAD, planned
from tests.triage.files import image, stack, study_ref, write
from triage.assemble import read
from triage.errors import NotEligible

VOLUME = np.zeros((6, 4, 4), np.int16)


def tidy(folder: Path) -> list[Path]:
    return stack(folder, VOLUME)


def twice_over(folder: Path) -> list[Path]:
    """Two acquisitions under one Series Instance UID: each place is there twice."""
    paths = stack(folder, VOLUME)
    for path in list(paths):
        again = dcmread(path)
        again.SOPInstanceUID = generate_uid()
        again.AcquisitionNumber = 2
        paths.append(write(again, folder / f"again-{path.name}"))
    return paths


def with_one_slice_twice(folder: Path) -> list[Path]:
    paths = stack(folder, VOLUME)
    again = dcmread(paths[2])
    again.SOPInstanceUID = generate_uid()
    return [*paths, write(again, folder / "again.dcm")]


def with_a_gap(folder: Path) -> list[Path]:
    paths = stack(folder, VOLUME)
    return paths[:2] + paths[3:]


def with_a_scout(folder: Path) -> list[Path]:
    scout = image(
        "CT", VOLUME[0], number=99, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
        PixelSpacing=[1.0, 1.0],
    )  # fmt: skip
    return [*stack(folder, VOLUME), write(scout, folder / "scout.dcm")]


def of_two_orientations(folder: Path) -> list[Path]:
    (folder / "other").mkdir()
    other = stack(folder / "other", VOLUME, orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    for number, path in enumerate(other):
        one = dcmread(path)
        one.SOPInstanceUID, one.InstanceNumber = generate_uid(), 100 + number
        write(one, path)
    return stack(folder, VOLUME) + other


def tilted(folder: Path) -> list[Path]:
    """A gantry tilt: the slices are parallel, and their origins run away from the normal."""
    paths = stack(folder, VOLUME)
    for number, path in enumerate(paths):
        one = dcmread(path)
        one.ImagePositionPatient = [0.0, 0.9 * number, 2.0 * number]
        write(one, path)
    return paths


def test_a_tidy_series_is_taken(tmp_path: Path) -> None:
    assert len(planned(read(study_ref(tidy(tmp_path))), HEAD)) == 1


@pytest.mark.parametrize(
    ("untidy", "said"),
    [
        (twice_over, "one position"),
        (with_one_slice_twice, "one position"),
        (with_a_gap, "slice gaps differ"),
        (with_a_scout, "LOCALIZER"),
        (of_two_orientations, "orientation"),
        (tilted, "tilt|normal|shift"),
    ],
)
def test_an_untidy_series_is_refused_with_its_reason_and_never_resampled_by_luck(
    untidy: Callable[[Path], list[Path]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(NotEligible, match=rf"(?i)^no-series.*({said})") as caught:
        planned(read(study_ref(untidy(tmp_path))), HEAD)
    assert caught.value.reason.code == "no-series"
