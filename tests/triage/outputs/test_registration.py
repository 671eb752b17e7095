"""A lesion pasted into a study is found again at its own place, in the map's DICOM coordinates.

The map comes by the road of a study: files, decoding child, the recipe's transforms, and the
matrices that lead back; the detector is one that calls bright pixels strange.
"""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from highdicom.pm import ParametricMap
from highdicom.seg import segread

from tests.triage.files import image, stack, study_ref, write
from tests.triage.outputs import studies
from triage import maps, outputs
from triage.assemble import read
from triage.errors import Broken
from triage.finding import Assessment, Decision, Detection, Document, Outcome
from triage.outputs.context import ReportContext
from triage.preprocess.decoder import Decoder
from triage.preprocess.pipeline import preprocess
from triage.settings import Decode, Recipe
from triage.study import Series, Study

VOLUME = Recipe(
    name="v", kind="volume", window="fixed", window_range=(-200, 800), orientation="LPS",
    spacing_mm=(2.0, 2.0, 3.0), crop="foreground", size_px=(48, 48),
)  # fmt: skip
FILM = Recipe(name="f", kind="projection", window="percentiles", percentiles=(0, 100),
              crop="foreground", size_px=(64, 64))  # fmt: skip


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(Decode()) as one:
        yield one


def assessed(
    series: Series, study: Study, recipe: Recipe, decoder: Decoder, folder: Path
) -> Assessment:
    volume = preprocess(series, recipe, decoder)
    assert volume.origin is not None
    uids = [one.ref.sop_instance_uid for one in series.images]
    bright = (volume.voxels_NCHW[:, 0].numpy() - 0.8).clip(0)
    kept = maps.AnomalyMap(
        bright, volume.origin.to_source_N44.numpy(),
        tuple((uids[index], frame + 1) for index, frame in volume.origin.frames),
    )  # fmt: skip
    strangest = int(bright.max((1, 2)).argmax())
    detection = Detection(
        studies.DETECTOR, studies.CALIBRATION, series.series_instance_uid, tuple(uids),
        uids[volume.source_N[strangest]], 1.0, 0.01, maps.keep(kept, folder),
    )  # fmt: skip
    decision = Decision(
        Outcome.PRIORITISED, 2, "high", "Strange.", detection, thresholds=(("high", 0.05),)
    )
    return Assessment(study, (detection,), decision)


def built(kind: str, assessment: Assessment, context: ReportContext) -> Document:
    output = outputs.load(kind)
    document = output.build(assessment, context)
    output.check(document, assessment, context)
    return document


def body(shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """Give an ellipsoid of tissue in air."""
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.9
    return np.where(inside, 40, -1000).astype(np.int16)


def places_mm(made: ParametricMap, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Give where the mask's pixels are in the patient, by each frame's own geometry."""
    shared = made.SharedFunctionalGroupsSequence[0]
    turn = np.asarray(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.asarray(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    found = []
    for frame, group in zip(mask, made.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        found.append(
            origin
            + columns[:, None] * spacing[1] * turn[:3]
            + rows[:, None] * spacing[0] * turn[3:]
        )
    return np.concatenate(found)


@pytest.fixture(scope="module")
def made(
    decoder: Decoder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Document], list[Path]]:
    folder = tmp_path_factory.mktemp("ct")
    voxels = body((20, 96, 80))
    voxels[12:15, 60:70, 20:32] = 700
    (folder / "in").mkdir()
    paths = stack(
        folder / "in",
        voxels,
        gap_mm=3.0,
        PixelSpacing=[1.5, 1.25],
        FrameOfReferenceUID="1.2.826.0.1.3680043.8.498.3",
    )
    study = read(study_ref(paths))
    one = assessed(study.series[0], study, VOLUME, decoder, folder)
    context = studies.context("research", results=folder)
    kinds = ("parametric_map", "segmentation")
    return {kind: built(kind, one, context) for kind in kinds}, paths


def test_the_map_finds_it_in_patient_coordinates(
    made: tuple[dict[str, Document], list[Path]],
) -> None:
    documents, paths = made
    found = ParametricMap.from_file(BytesIO(documents["parametric_map"].content))
    values = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    centre = places_mm(found, values > values.max() / 2).mean(0)
    source = pydicom.dcmread(paths[0], stop_before_pixels=True)
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths[12:15]]
    middle = np.mean([one.ImagePositionPatient for one in slices], axis=0)
    turn = np.asarray(source.ImageOrientationPatient, float)
    wanted = middle + 25.5 * 1.25 * turn[:3] + 64.5 * 1.5 * turn[3:]
    assert np.abs(centre - wanted).max() < 1.0


def test_the_segment_lies_on_its_very_pixels(made: tuple[dict[str, Document], list[Path]]) -> None:
    documents, paths = made
    found = segread(BytesIO(documents["segmentation"].content))
    owners = [
        str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        for group in found.PerFrameFunctionalGroupsSequence
    ]
    uids = [str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths]
    inside = {uids.index(owner) for index, owner in enumerate(owners)
              if found.get_frame(index + 1).any()}  # fmt: skip
    assert {12, 13, 14} <= inside <= set(range(11, 16))
    mask = found.get_frame(owners.index(uids[13]) + 1).astype(bool)
    rows, columns = np.nonzero(mask)
    assert (
        np.abs([rows.min() - 60, rows.max() - 69, columns.min() - 20, columns.max() - 31]).max()
        <= 2  # a voxel of the detector's
    )


def test_frames_are_placed_as_their_sources_are(
    made: tuple[dict[str, Document], list[Path]],
) -> None:
    documents, paths = made
    found = pydicom.dcmread(BytesIO(documents["parametric_map"].content))
    headers = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, paths)}
    for group in found.PerFrameFunctionalGroupsSequence:
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        source = headers[str(reference.ReferencedSOPInstanceUID)]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert list(position) == list(source.ImagePositionPatient)
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert (found.Rows, found.Columns) == (source.Rows, source.Columns)


def test_a_lesion_in_a_radiograph_is_found_on_its_very_pixels(
    decoder: Decoder, tmp_path: Path
) -> None:
    pixels = (body((300, 260)) + 1000).astype(np.uint16)
    pixels[180:200, 60:90] = 4000
    path = write(image("DX", pixels), tmp_path / "dx.dcm")
    study = read(study_ref([path]))
    one = assessed(study.series[0], study, FILM, decoder, tmp_path)
    context = studies.context("research", results=tmp_path)
    found = segread(BytesIO(built("segmentation", one, context).content))
    rows, columns = np.nonzero(found.get_frame(1))
    # A voxel of the detector's is almost five pixels wide; the middle is exact all the same.
    assert np.abs([rows.mean() - 189.5, columns.mean() - 74.5]).max() <= 0.5
    edges = [rows.min() - 180, rows.max() - 199, columns.min() - 60, columns.max() - 89]
    assert np.abs(edges).max() <= 4
    note = pydicom.dcmread(BytesIO(built("presentation_state", one, context).content))
    drawn = note.GraphicAnnotationSequence[1].GraphicObjectSequence[0]
    corners = np.reshape(drawn.GraphicData, (-1, 2))
    assert (corners.min(0) == [columns.min(), rows.min()]).all()
    assert (corners.max(0) == [columns.max() + 1, rows.max() + 1]).all()


def test_a_map_of_other_pixels_does_not_pass_the_gate(decoder: Decoder, tmp_path: Path) -> None:
    pixels = (body((64, 64)) + 1000).astype(np.uint16)
    pixels[40:50, 10:20] = 4000
    study = read(study_ref([write(image("DX", pixels), tmp_path / "dx.dcm")]))
    one = assessed(study.series[0], study, FILM, decoder, tmp_path)
    context = studies.context("research", results=tmp_path)
    document = built("parametric_map", one, context)
    made = pydicom.dcmread(BytesIO(document.content))
    shifted = np.roll(np.frombuffer(made.PixelData, "<u2"), 1)
    made.PixelData = shifted.tobytes()
    buffer = BytesIO()
    made.save_as(buffer)
    with pytest.raises(Broken, match="pixels"):
        outputs.load("parametric_map").check(
            replace(document, content=buffer.getvalue()), one, context
        )
