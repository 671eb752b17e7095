"""Programs that we did not write show each kind of object, and what they show is what it says."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.servers import binary
from tests.triage.files import image, write
from tests.triage.outputs import received, studies
from triage import maps, outputs
from triage.finding import Assessment
from triage.outputs import scene
from triage.outputs.context import ReportContext

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A study of one image, assessed, and where its map is kept."""

    path: Path
    assessment: Assessment
    folder: Path

    def context(self, mode: str = "triage") -> ReportContext:
        return studies.context(mode, results=self.folder)

    def written(self, kind: str, mode: str = "triage") -> Path:
        path = self.folder / f"{mode}-{kind}.dcm"
        context = self.context(mode)
        output = outputs.load(kind)
        document = output.build(self.assessment, context)
        output.check(document, self.assessment, context)
        path.write_bytes(document.content)
        return path


def case(path: Path, folder: Path) -> Case:
    assessment = received.assessed([path], folder)
    assert assessment is not None
    return Case(path, assessment, folder)


def film(folder: Path, change: Callable[[Dataset], None]) -> Path:
    """Write a generated radiograph of 12 bits, 24 x 32, its header changed."""
    pixels = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 5
    made = image("DX", pixels)
    change(made)
    return write(made, folder / "film.dcm")


def grey(path: Path) -> Grey:
    """Read a PGM file of 8 bits, as DCMTK writes it."""
    content = path.read_bytes()
    found = re.match(rb"P5\s+(?:#.*\s+)?(\d+)\s+(\d+)\s+255\s", content)
    assert found is not None
    columns, rows = map(int, found.groups())
    return np.frombuffer(content[-rows * columns :], np.uint8).reshape(rows, columns)


def told(program: str, *words: str | Path) -> str:
    run = subprocess.run(
        [binary(program, "/usr/bin"), *words], capture_output=True, text=True, check=True
    )
    return run.stdout + run.stderr


def through(one: Case, mode: str = "triage") -> tuple[Grey, str]:
    """Let DCMTK show the image through its presentation state; gives pixels and what it tells."""
    state, out = one.written("presentation_state", mode), one.folder / "shown.pgm"
    words = told("dcmp2pgm", "-v", "-p", state, one.path, out)
    return grey(out), words


def by_window(values: npt.NDArray[np.float64], centre: float, width: float) -> Grey:
    """PS3.3 C.11.2.1.2.1, LINEAR, to 0 to 255; DCMTK cuts what is left of the comma."""
    shown = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255
    return np.clip(np.floor(shown), 0, 255).astype(np.uint8)


def step_of(values: npt.NDArray[np.float32]) -> float:
    """One of the even steps that a map is stored in, and what single precision loses."""
    return float(values.max()) / 65_535 * 0.51


def off(one: Grey, other: Grey) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


class TestAPresentationStateInDcmtk:
    def test_it_passes_the_checker(self, tmp_path: Path) -> None:
        for mode in ("triage", "research"):
            one = case(studies.bundled("CT_small.dcm"), tmp_path)
            assert "Test passed" in told("dcmpschk", "-v", one.written("presentation_state", mode))

    def test_it_shows_the_image_in_its_own_window(self, tmp_path: Path) -> None:
        path = studies.bundled("MR_small.dcm")
        shown, _ = through(case(path, tmp_path))
        wanted = by_window(pydicom.dcmread(path).pixel_array.astype(float), 600, 1600)
        assert off(shown, wanted) <= 1

    def test_it_shows_an_inverted_image_as_its_header_does(self, tmp_path: Path) -> None:
        def invert(made: Dataset) -> None:
            made.PhotometricInterpretation = "MONOCHROME1"
            made.WindowCenter, made.WindowWidth = 2048, 4096

        path = film(tmp_path, invert)
        shown, _ = through(case(path, tmp_path))
        told("dcm2pnm", "+Wi", "1", path, tmp_path / "alone.pgm")
        assert off(shown, grey(tmp_path / "alone.pgm")) <= 1
        assert shown[0, 0] > shown[-1, -1]

    def test_it_shows_stored_values_through_the_images_own_tables(self, tmp_path: Path) -> None:
        entries = np.linspace(0, 4095, 4096) ** 2 / 4095

        def look_up(made: Dataset) -> None:
            stored, shown = Dataset(), Dataset()
            stored.LUTDescriptor, stored.ModalityLUTType = [4096, 0, 12], "US"
            stored.LUTData = entries.astype("<u2").tobytes()
            shown.LUTDescriptor, shown.LUTData = (
                [4096, 0, 12],
                entries[::-1].astype("<u2").tobytes(),
            )
            for item in (stored, shown):
                item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
            made.ModalityLUTSequence, made.VOILUTSequence = [stored], [shown]
            for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
                made.pop(keyword, None)
            for keyword in ("WindowCenter", "WindowWidth"):
                made.pop(keyword, None)

        path = film(tmp_path, look_up)
        shown, _ = through(case(path, tmp_path))
        stored = pydicom.dcmread(path).pixel_array
        modality = entries.astype(int)[stored]
        wanted = entries[::-1].astype(int)[modality] * 255 / 4095
        assert np.abs(shown - wanted).max() <= 2
        assert len(np.unique(shown)) > 50

    def test_the_note_is_the_only_thing_drawn_in_triage_mode(self, tmp_path: Path) -> None:
        one = case(studies.bundled("CT_small.dcm"), tmp_path)
        _, words = through(one)
        assert "Number of text objects: 1" in words
        assert '"Triage: prioritised. AI, unverified, not for diagnosis."' in words
        assert "Number of graphic objects: 0" in words

    def test_it_draws_the_region_where_the_map_is_strange(self, tmp_path: Path) -> None:
        one = case(studies.bundled("CT_small.dcm"), tmp_path)
        _, words = through(one, "research")
        laid = scene.overlay(scene.scene(one.assessment), one.context("research"))
        from_ = one.context().reporting.region_from
        rows, columns = np.nonzero(laid.values[0] >= from_ * laid.values[0].max())
        corner = f"coordinates: {columns.min()}\\{rows.min()}, {columns.max() + 1}\\{rows.min()}, "
        assert "points=5 type=polyline" in words
        assert corner in words


class TestAParametricMap:
    def test_highdicom_gives_each_pixel_its_real_world_value_and_place(
        self, tmp_path: Path
    ) -> None:
        one = case(studies.bundled("CT_small.dcm"), tmp_path)
        read = highdicom.imread(one.written("parametric_map", "research"))
        shown = read.get_volume(apply_real_world_transform=True)
        kept = maps.read(tmp_path, one.assessment.detections[0].map_sha256)
        wanted = kept.on_source(0, 128, 128)
        assert np.abs(shown.array[0] - wanted).max() <= step_of(wanted)
        source = highdicom.imread(one.path).get_volume()
        assert np.allclose(shown.affine[:, 3], source.affine[:, 3])
        assert np.allclose(shown.affine[:, 1:3], source.affine[:, 1:3])

    def test_its_own_window_shows_its_lowest_dark_and_its_highest_bright(
        self, tmp_path: Path
    ) -> None:
        one = case(studies.bundled("CT_small.dcm"), tmp_path)
        read = highdicom.imread(one.written("parametric_map", "research"))
        values = read.get_volume(apply_real_world_transform=True).array
        shown = read.get_volume(
            apply_real_world_transform=False, apply_voi_transform=True, voi_output_range=(0, 255)
        )
        assert np.allclose(shown.array, 255 * values / values.max(), atol=1)

    def test_dcmtk_draws_it_in_its_window(self, tmp_path: Path) -> None:
        one = case(studies.bundled("CT_small.dcm"), tmp_path)
        path, out = one.written("parametric_map", "research"), tmp_path / "map.pgm"
        told("dcm2pnm", path, out)  # its window is all that 16 bits hold
        kept = maps.read(tmp_path, one.assessment.detections[0].map_sha256)
        values = kept.on_source(0, 128, 128)
        assert np.abs(grey(out) - 255.0 * values / values.max()).max() <= 1.5


class TestPixelsInDcmtk:
    def test_the_page_is_shown_pixel_for_pixel(self, tmp_path: Path) -> None:
        one = case(studies.bundled("CT_small.dcm"), tmp_path)
        path, out = one.written("secondary_capture"), tmp_path / "page.pgm"
        told("dcm2pnm", path, out)
        assert np.array_equal(grey(out), pydicom.dcmread(path).pixel_array)

    def test_the_segment_is_shown_where_it_is(self, tmp_path: Path) -> None:
        one = case(studies.bundled("CT_small.dcm"), tmp_path)
        path, out = one.written("segmentation", "research"), tmp_path / "segment.pgm"
        told("dcm2pnm", path, out)
        marked = pydicom.dcmread(BytesIO(path.read_bytes())).pixel_array
        assert np.array_equal(grey(out) > 0, marked.reshape(128, 128) > 0)


@pytest.mark.parametrize("kind", ["structured_report", "key_objects"])
def test_dcmtk_turns_documents_into_pages(kind: str, tmp_path: Path) -> None:
    one = case(studies.bundled("CT_small.dcm"), tmp_path)
    page = tmp_path / "page.html"
    told("dsr2html", "+Ri", one.written(kind), page)
    words = page.read_text(errors="replace")
    titles = {"structured_report": "Imaging Measurement Report", "key_objects": "Of Interest"}
    assert titles[kind] in words
    assert "CT image" in words
