from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.artifact import Artifact
from models.calibrate import Rule, calibrate
from models.contract import Anomaly, Batch, Detector, Loss, Origin, Volume
from models.healthy import Healthy, calibrate_studies
from models.references import build
from tests.models.cards import card
from triage.detect import detect, detect_and_map, place_of, strata, with_regions
from triage.errors import Broken, NotEligible
from triage.maps import AnomalyMap
from triage.study import Image, InstanceRef, Patient, Series, Study, StudyRef


class _Brightness(Detector):
    """The simplest detector there is: the mean of a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def loss(self, batch: Batch) -> Loss:
        return Loss(total=self.gain * batch.voxels_NCHW.mean(), parts={})

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        assert len(voxels_NCHW) <= 32, "a long series is scored in bounded pieces"
        return Anomaly(score_N=self.gain * voxels_NCHW.mean((1, 2, 3)), map_NHW=None)


class _Seeing(_Brightness):
    """Takes bright slices for heads and dark ones for chests, and each for a CT."""

    def __init__(self) -> None:
        super().__init__()
        self.params = {"organs": ["chest", "Head"], "modalities": ["DX", "CT", "MR"]}

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        bright_N = voxels_NCHW.mean((1, 2, 3))
        return Anomaly(
            score_N=bright_N,
            map_NHW=None,
            others={"twice": 2 * bright_N},
            seen={
                "organ": torch.stack([1 - bright_N, bright_N], 1),
                "modality": torch.tensor([[0.1, 0.9, 0.0]]).expand(len(bright_N), 3),
            },
        )


def _artifact(detector: Detector | None = None) -> Artifact:
    return Artifact(
        folder=Path("nowhere"),
        card=card(),
        calibration=calibrate(
            {"DX/CHEST": [i / 100 for i in range(99)], "DX/CHEST/child": [0.1, 0.2, 0.3]}
        ),
        detector=detector or _Brightness(),
        weights_sha256="a" * 64,
        calibration_sha256="b" * 64,
        sha256="c" * 64,
    )


def _image(number: int) -> Image:
    return Image(
        ref=InstanceRef(sop_instance_uid=f"1.2.{number}", sha256="0" * 64, path=Path("nowhere")),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        instance_number=number,
        rows=4,
        columns=4,
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        image_position_mm=None,
        image_orientation=None,
        pixel_spacing_mm=None,
    )


def _series(images: int = 1, **changes: Any) -> Series:  # noqa: ANN401
    fields: dict[str, Any] = {
        "series_instance_uid": "1.2",
        "modality": "DX",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "series_number": 1,
        "series_description": "",
        "body_part_examined": "CHEST",
        "view_position": "PA",
        "protocol_name": "",
        "image_type": ("ORIGINAL", "PRIMARY"),
        "manufacturer": "",
        "manufacturer_model_name": "",
        "station_name": "",
        "frame_of_reference_uid": "",
        "slice_positions_mm": (),
        "images": tuple(_image(number) for number in range(images)),
    }
    return Series(**(fields | changes))


def _study(age_years: float | None, series: Series, description: str = "") -> Study:
    return Study(
        ref=StudyRef(1, "1", 1, "quiet", ()),
        patient=Patient("", "", "", "", ""),
        patient_age_years=age_years,
        study_date="",
        study_time="",
        study_id="",
        accession_number="",
        referring_physician_name="",
        study_description=description,
        series=(series,),
        others=(),
    )


class TestStrata:
    @pytest.mark.parametrize(
        ("age_years", "keys"),
        [
            (0.0, ("DX/CHEST/child", "DX/CHEST")),
            (17.99, ("DX/CHEST/child", "DX/CHEST")),
            (18.0, ("DX/CHEST/adult", "DX/CHEST")),
            (None, ("DX/CHEST",)),
        ],
    )
    @pytest.mark.parametrize("modality", ["CR", "DX"])
    def test_the_age_band_comes_first_and_an_unknown_age_has_none(
        self, modality: str, age_years: float | None, keys: tuple[str, ...]
    ) -> None:
        series = _series(modality=modality)
        assert strata(_study(age_years, series), series) == keys

    @pytest.mark.parametrize(
        ("examined", "said", "part"),
        [
            ("LUNG", "", "CHEST"),
            ("", "Thorax pa", "CHEST"),
            ("", "Hand", ""),
            ("ABDOMEN", "chest", "ABDOMEN"),
        ],
    )
    def test_the_body_part_is_the_examined_one_else_the_described_one(
        self, examined: str, said: str, part: str
    ) -> None:
        series = _series(body_part_examined=examined)
        assert strata(_study(None, series, said), series) == (f"DX/{part}",)

    def test_other_modalities_stay_themselves(self) -> None:
        series = _series(modality="CT", body_part_examined="BRAIN")
        assert strata(_study(40, series), series) == ("CT/HEAD/adult", "CT/HEAD")


def _volume(levels: list[float], source: tuple[int, ...] | None = None) -> Volume:
    voxels = torch.tensor(levels)[:, None, None, None].expand(-1, 1, 4, 4)
    return Volume(voxels, source or tuple(range(len(levels))), None)


class TestRegions:
    def test_a_map_marks_the_region_of_its_own_image_in_source_pixels(self) -> None:
        series = _series(2)
        detection = detect(_volume([0.9, 0.8]), series, _artifact(), ("DX/CHEST",), min_n=50)
        values = np.zeros((2, 4, 4), np.float32)
        values[0, 1:3, 2:4] = 1.0
        values[1, 0, 0] = 0.2  # less than half of the highest
        found = AnomalyMap(values, np.stack([np.eye(4), np.eye(4)]), (("1.2.0", 1), ("1.2.1", 1)))
        first, second = with_regions(detection, series, found).carried
        assert first.region_px == (1, 2, 3, 4)
        assert second.region_px is None

    def test_a_map_that_marks_nothing_gives_no_region(self) -> None:
        series = _series(1)
        detection = detect(_volume([0.9]), series, _artifact(), ("DX/CHEST",), min_n=50)
        found = AnomalyMap(np.zeros((1, 4, 4), np.float32), np.eye(4)[None], (("1.2.0", 1),))
        (one,) = with_regions(detection, series, found).carried
        assert one.region_px is None


class _Drawing(_Brightness):
    """Its map is the picture."""

    @torch.inference_mode()
    def score(self, voxels_NCHW: Tensor) -> Anomaly:
        return Anomaly(score_N=voxels_NCHW.mean((1, 2, 3)), map_NHW=voxels_NCHW[:, 0])


class TestMaps:
    def test_a_map_knows_the_healthy_ones_of_the_stratum_that_spoke(self) -> None:
        artifact = _artifact(_Drawing())
        peaks = {"DX/CHEST": (0.5, 0.75), "DX/CHEST/child": (0.25,)}
        calibration = artifact.calibration.model_copy(update={"peaks": peaks})
        plain = _volume([0.9])
        origin = Origin(torch.eye(4, dtype=torch.float64)[None], ((0, 0),))
        volume = Volume(plain.voxels_NCHW, plain.source_N, None, origin)
        keys = ("DX/CHEST/child", "DX/CHEST")  # of the first there are too few
        known = replace(artifact, calibration=calibration)
        _, found = detect_and_map(volume, _series(1), known, keys, min_n=50)
        assert found is not None
        assert list(found.healthy) == [0.5, 0.75]
        assert found.alike is None
        features = known.detector.describe(
            torch.linspace(0.8, 1.0, 5)[:, None, None, None].expand(5, 1, 4, 4)
        )
        thumbs = [torch.full((4, 4), at, dtype=torch.uint8) for at in range(5)]
        kept = build(thumbs, list(features), range(5), ["DX/CHEST/adult"] * 5)
        _, compared = detect_and_map(
            volume, _series(1), replace(known, references=kept), keys, min_n=50
        )
        assert compared is not None
        assert compared.alike is not None
        assert compared.alike.thumbs[0, 0, 0] == 2
        assert compared.alike.own.tolist() == [[230] * 4] * 4
        assert compared.alike.distances[0] == pytest.approx(0, abs=1e-3)
        _, bare = detect_and_map(volume, _series(1), artifact, keys, min_n=50)
        assert bare is not None
        assert len(bare.healthy) == 0


class TestPlace:
    def test_view_site_and_scanner_come_from_the_header(self) -> None:
        series = _series(
            view_position="PA\\AP",
            institution_name="St. Mary's",
            manufacturer="Acme",
            manufacturer_model_name="X-Ray/7=b",
            station_name="ROOM 2",
        )
        assert place_of(series, ("DX/CHEST",)).narrower == {
            "view": "AP PA",
            "site": "ST MARY S",
            "scanner": "ACME X RAY 7 B",
        }

    def test_what_the_header_does_not_say_is_unknown(self) -> None:
        place = place_of(_series(view_position=""), ("DX/CHEST",))
        assert set(place.narrower.values()) == {"UNKNOWN"}


class TestDetect:
    def test_a_scanner_that_the_calibration_never_saw_is_uncalibrated(self) -> None:
        known = _series(manufacturer="Acme", manufacturer_model_name="One")
        rule = Rule(minimum=50)
        place = place_of(known, ("DX/CHEST",))
        found = [Healthy(str(at), "1", at / 100, place) for at in range(99)]
        artifact = replace(_artifact(), calibration=calibrate_studies(found, rule))
        said = detect(_volume([0.5]), known, artifact, ("DX/CHEST",), min_n=50)
        assert (said.calibration.stratum, said.calibration.n) == ("DX/CHEST/view=PA", 99)
        with pytest.raises(NotEligible) as why:
            detect(_volume([0.5]), _series(manufacturer="Other"), artifact, ("DX/CHEST",), min_n=50)
        assert why.value.reason.code == "uncalibrated"
        assert "scanner" in why.value.reason.sentence
        assert "Other" not in why.value.reason.sentence

    def test_several_slices_speak_where_the_calibration_says_so(self) -> None:
        artifact = _artifact()
        together = artifact.calibration.model_copy(update={"aggregation": "top3"})
        found = detect(
            _volume([0.1, 0.9, 0.5, 0.4]),
            _series(4),
            replace(artifact, calibration=together),
            ("DX/CHEST",),
            min_n=50,
        )
        assert found.score == pytest.approx(0.6)
        assert found.key_sop_instance_uid == "1.2.1"

    def test_the_strangest_slice_speaks_for_the_series(self) -> None:
        series = _series(images=3)
        found = detect(_volume([0.1, 0.9, 0.5]), series, _artifact(), ("DX/CHEST",), min_n=50)
        assert found.score == pytest.approx(0.9)
        assert found.key_sop_instance_uid == "1.2.1"
        assert found.sop_instance_uids == ("1.2.0", "1.2.1", "1.2.2")
        assert found.p_value == pytest.approx((1 + 9) / 100)

    def test_the_strangest_images_that_carried_the_score_are_named_each_once(self) -> None:
        levels = [0.1, 0.9, 0.8, 0.5, 0.7, 0.6, 0.65]
        source = (0, 1, 1, 2, 3, 4, 5)
        found = detect(_volume(levels, source), _series(6), _artifact(), ("DX/CHEST",), min_n=50)
        assert [one.sop_instance_uid for one in found.carried] == [
            "1.2.1", "1.2.3", "1.2.5", "1.2.4", "1.2.2",
        ]  # fmt: skip
        assert found.carried[0].p_value == found.p_value
        assert found.carried[1].p_value == pytest.approx((1 + 29) / 100)
        assert all(one.region_px is None for one in found.carried), "a place needs a map"

    def test_after_resampling_the_key_image_is_the_nearest_source(self) -> None:
        volume = _volume([0.1, 0.2, 0.3, 0.9], source=(0, 0, 1, 1))
        found = detect(volume, _series(images=2), _artifact(), ("DX/CHEST",), min_n=50)
        assert found.key_sop_instance_uid == "1.2.1"

    def test_it_names_detector_and_calibration_for_ever(self) -> None:
        keys = ("DX/CHEST/child", "DX/CHEST")
        found = detect(_volume([0.5]), _series(), _artifact(), keys, min_n=50)
        assert (found.detector.name, found.detector.family) == ("generated", "memae")
        assert found.detector.artifact_sha256 == "c" * 64
        assert found.calibration.stratum == "DX/CHEST"
        assert found.calibration.fallback == ("DX/CHEST/child",)
        assert (found.calibration.n, found.calibration.sha256) == (99, "b" * 64)

    def test_a_study_without_a_calibrated_stratum_is_not_eligible(self) -> None:
        with pytest.raises(NotEligible) as why:
            detect(_volume([0.5]), _series(), _artifact(), ("CT/HEAD",), min_n=50)
        assert why.value.reason.code == "uncalibrated"

    def test_a_long_series_is_scored_like_a_short_one(self) -> None:
        levels = [i / 200 for i in range(100)]
        found = detect(_volume(levels), _series(100), _artifact(), ("DX/CHEST",), min_n=50)
        assert found.score == pytest.approx(99 / 200)

    def test_a_score_that_is_no_number_breaks_instead_of_ranking(self) -> None:
        volume = _volume([0.5, float("nan")])
        with pytest.raises(Broken):
            detect(volume, _series(2), _artifact(), ("DX/CHEST",), min_n=50)


class TestWhatItLooksLike:
    def test_a_detector_that_sees_nothing_else_says_nothing_else(self) -> None:
        found = detect(_volume([0.5]), _series(), _artifact(), ("DX/CHEST",), min_n=50)
        assert (found.others, found.looks) == ({}, ())

    def test_the_other_scores_are_those_of_the_key_image(self) -> None:
        levels = [i / 100 for i in range(40)]  # more than one piece
        found = detect(_volume(levels), _series(40), _artifact(_Seeing()), ("DX/CHEST",), min_n=50)
        assert found.score == pytest.approx(0.39)
        assert found.others == {"twice": pytest.approx(0.78)}

    def test_a_series_looks_like_the_mean_of_its_slices_beside_what_its_header_says(self) -> None:
        keys = ("DX/CHEST/adult", "DX/CHEST")
        volume = _volume([0.9, 1.0, 0.8])
        found = detect(volume, _series(3), _artifact(_Seeing()), keys, min_n=50)
        organ, modality = found.looks
        assert (organ.kind, organ.word, organ.header) == ("organ", "HEAD", "CHEST")
        assert organ.probability == pytest.approx(0.9)
        assert organ.header_probability == pytest.approx(0.1)
        assert (modality.kind, modality.word, modality.header) == ("modality", "CT", "DX")
        assert modality.header_probability == pytest.approx(0.1)

    @pytest.mark.parametrize("part", ["", "KNEE"])
    def test_a_header_that_says_nothing_the_detector_knows_contradicts_nothing(
        self, part: str
    ) -> None:
        artifact = _artifact(_Seeing())
        strange = replace(artifact, calibration=calibrate({f"DX/{part}": [0.1] * 60}))
        found = detect(_volume([0.5]), _series(), strange, (f"DX/{part}",), min_n=50)
        assert (found.looks[0].header, found.looks[0].header_probability) == ("", None)
