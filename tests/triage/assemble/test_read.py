"""Files to a Study: checked, identified, grouped, in geometric order."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.triage.files import AXIAL, image, shared, stack, study_ref, write
from triage.assemble import read
from triage.errors import Broken, Held

VOLUME = np.arange(5 * 4 * 4, dtype=np.int16).reshape(5, 4, 4)


class TestContent:
    def test_one_flipped_bit_makes_the_study_corrupt(self, tmp_path: Path) -> None:
        ref = study_ref(stack(tmp_path, VOLUME))
        path = ref.instances[3].path
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(Broken, match="corrupt"):
            read(ref)

    def test_a_file_that_is_gone_makes_the_study_corrupt(self, tmp_path: Path) -> None:
        ref = study_ref(stack(tmp_path, VOLUME))
        ref.instances[0].path.unlink()
        with pytest.raises(Broken, match="corrupt"):
            read(ref)


class TestIdentity:
    def test_two_patients_in_one_study_are_a_conflict(self, tmp_path: Path) -> None:
        one = write(image("DX", VOLUME[0]), tmp_path / "a")
        other = write(image("DX", VOLUME[0], number=2, PatientID="TEST-2"), tmp_path / "b")
        with pytest.raises(Held, match="identity-conflict"):
            read(study_ref([one, other]))

    def test_one_id_from_two_issuers_is_a_conflict(self, tmp_path: Path) -> None:
        paths = [
            write(
                image("DX", VOLUME[0], number=n, IssuerOfPatientID=f"HOSPITAL-{n}"),
                tmp_path / f"{n}",
            )
            for n in (1, 2)
        ]
        with pytest.raises(Held, match="identity-conflict"):
            read(study_ref(paths))

    def test_an_issuer_that_only_some_state_is_no_conflict(self, tmp_path: Path) -> None:
        stated = image("DX", VOLUME[0], number=2, IssuerOfPatientID="HOSPITAL")
        paths = [write(image("DX", VOLUME[0]), tmp_path / "a"), write(stated, tmp_path / "b")]
        assert read(study_ref(paths)).patient.issuer_of_patient_id == "HOSPITAL"

    @pytest.mark.parametrize("missing", [None, "", "  "])
    def test_without_a_patient_id_the_study_is_held(
        self, tmp_path: Path, missing: str | None
    ) -> None:
        path = write(image("DX", VOLUME[0], PatientID=missing), tmp_path / "a")
        with pytest.raises(Held, match="no-patient"):
            read(study_ref([path]))


class TestOrder:
    def test_slices_come_by_position_not_by_instance_number(self, tmp_path: Path) -> None:
        paths = [
            write(
                image(
                    "CT",
                    VOLUME[0],
                    number=number,
                    ImagePositionPatient=[0, 0, z],
                    ImageOrientationPatient=list(AXIAL),
                ),
                tmp_path / f"{number}",
            )
            for number, z in ((1, 30), (2, 10), (3, 20))
        ]
        (series,) = read(study_ref(paths)).series
        assert [one.instance_number for one in series.images] == [2, 3, 1]
        assert series.slice_positions_mm == (10, 20, 30)

    def test_without_geometry_they_come_by_instance_number(self, tmp_path: Path) -> None:
        paths = [write(image("DX", VOLUME[0], number=n), tmp_path / f"{n}") for n in (10, 9, 2)]
        (series,) = read(study_ref(paths)).series
        assert [one.instance_number for one in series.images] == [2, 9, 10]
        assert series.slice_positions_mm == ()

    def test_the_order_of_arrival_does_not_matter(self, tmp_path: Path) -> None:
        ref = study_ref(stack(tmp_path, VOLUME, StudyDescription="one"))
        extra = image("CT", VOLUME[0], number=9, SeriesInstanceUID="1.2.3", SeriesNumber=4)
        path = write(extra, tmp_path / "extra")
        ref = replace(ref, instances=ref.instances + study_ref([path]).instances)
        first = read(ref)
        for seed in range(5):
            shuffled = list(ref.instances)
            random.Random(seed).shuffle(shuffled)
            assert replace(read(replace(ref, instances=tuple(shuffled))), ref=ref) == first

    def test_a_real_series_is_in_order_whatever_its_file_names(self) -> None:
        paths = shared("dicom/series/ct-head-tiny-93/*")
        (series,) = read(study_ref(paths)).series
        assert series.slice_positions_mm == pytest.approx([1.5 * index for index in range(93)])
        assert [one.instance_number for one in series.images] == list(range(1, 94))


class TestStudy:
    def test_images_and_others_part(self, tmp_path: Path) -> None:
        paths = stack(tmp_path, VOLUME)
        report = write(image("CT", VOLUME[0], number=9, PixelData=None), tmp_path / "sr")
        study = read(study_ref([*paths, report]))
        assert len(list(study.images())) == 5
        assert [one.path for one in study.others] == [report]

    def test_a_study_of_reports_has_no_series(self, tmp_path: Path) -> None:
        report = image("CT", VOLUME[0], PixelData=None, Rows=None, Columns=None)
        study = read(study_ref([write(report, tmp_path / "sr")]))
        assert study.series == ()
        assert len(study.others) == 1

    def test_series_come_by_number_and_keep_apart(self, tmp_path: Path) -> None:
        paths = [
            write(
                image("DX", VOLUME[0], number=n, SeriesInstanceUID=f"1.2.{n}", SeriesNumber=10 - n),
                tmp_path / f"{n}",
            )
            for n in (1, 2, 3)
        ]
        study = read(study_ref(paths))
        assert [one.series_number for one in study.series] == [7, 8, 9]

    def test_what_one_header_leaves_out_another_fills(self, tmp_path: Path) -> None:
        bare = write(image("DX", VOLUME[0]), tmp_path / "a")
        full = image("DX", VOLUME[0], number=2, AccessionNumber="A1", BodyPartExamined="CHEST")
        study = read(study_ref([bare, write(full, tmp_path / "b")]))
        assert study.accession_number == "A1"
        assert study.series[0].body_part_examined == "CHEST"

    def test_a_localizer_among_the_slices_shows_in_the_image_type(self, tmp_path: Path) -> None:
        paths = stack(tmp_path, VOLUME)
        scout = image("CT", VOLUME[0], number=9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        (series,) = read(study_ref([*paths, write(scout, tmp_path / "scout")])).series
        assert series.image_type == ("ORIGINAL", "PRIMARY", "AXIAL", "LOCALIZER")

    def test_a_multi_frame_image_has_the_positions_of_its_frames(self) -> None:
        (path,) = shared("dicom/projection-and-other/5.dcm")
        (series,) = read(study_ref([path])).series
        assert len(series.images) == 1
        assert series.images[0].number_of_frames == 2
        assert len(series.slice_positions_mm) == 2

    def test_names_in_other_scripts_are_kept(self) -> None:
        for path in shared("dicom/charsets/chr*.dcm"):
            try:
                study = read(study_ref([path]))
            except Held:
                continue
            assert study.patient.patient_name
