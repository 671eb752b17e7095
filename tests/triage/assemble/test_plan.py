"""Which series is analysed, and the reason when none is."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.triage.files import image, shared, stack, study_ref, write
from triage import settings
from triage.assemble import Selection, plan, read
from triage.errors import ConfigError, NotEligible
from triage.settings import Recipe, Route, Routes, When
from triage.study import Study

PIXELS = np.zeros((4, 4), np.int16)
RECIPES = {
    "radiograph": Recipe(name="radiograph", kind="projection", size_px=(8, 8)),
    "ct": Recipe(name="ct", kind="volume", size_px=(8, 8), min_slices=3),
}
CHEST = Route(
    name="chest",
    when=When(modality=("DX",), body_part=("CHEST",)),
    require=("is_original", "is_grayscale", "is_frontal_or_unknown"),
    recipe="radiograph",
    detectors=("a",),
)
HEAD = Route(
    name="head",
    when=When(modality=("CT",)),
    require=("is_not_localizer", "has_one_orientation", "has_even_spacing", "has_enough_slices"),
    recipe="ct",
    detectors=("b",),
)


def planned(study: Study, *routes: Route) -> tuple[Selection, ...]:
    return plan(study, Routes(routes=routes), RECIPES)


def study(folder: Path, *images: Mapping[str, object], modality: str = "DX") -> Study:
    paths = [
        write(image(modality, PIXELS, number=number, **elements), folder / f"{number}")
        for number, elements in enumerate(images, start=1)
    ]
    return read(study_ref(paths))


class TestReasons:
    def test_no_image(self, tmp_path: Path) -> None:
        with pytest.raises(NotEligible, match=r"^no-image"):
            planned(study(tmp_path, {"PixelData": None}), CHEST)

    def test_no_route(self, tmp_path: Path) -> None:
        with pytest.raises(NotEligible, match=r"^no-route"):
            planned(study(tmp_path, {"BodyPartExamined": "KNEE"}), CHEST)

    def test_no_detector(self, tmp_path: Path) -> None:
        bare = CHEST.model_copy(update={"detectors": ()})
        with pytest.raises(NotEligible, match=r"^no-detector"):
            planned(study(tmp_path, {"BodyPartExamined": "CHEST"}), bare)

    def test_no_series_names_the_first_broken_rule_of_each_series(self, tmp_path: Path) -> None:
        derived = {"BodyPartExamined": "CHEST", "ImageType": ["DERIVED", "PRIMARY"]}
        lateral = {
            "BodyPartExamined": "CHEST",
            "ViewPosition": "LL",
            "SeriesNumber": 5,
            "SeriesInstanceUID": "1.2.5",
        }
        with pytest.raises(NotEligible) as caught:
            planned(study(tmp_path, derived, lateral), CHEST)
        assert caught.value.reason.code == "no-series"
        assert caught.value.reason.detail == (
            "series 1: Image Type value 1 is not ORIGINAL; series 5: View Position is not frontal"
        )

    def test_a_broken_rule_says_more_than_a_missing_detector(self, tmp_path: Path) -> None:
        bare = CHEST.model_copy(update={"detectors": (), "when": When(body_part=("KNEE",))})
        knee = {"BodyPartExamined": "KNEE", "SeriesInstanceUID": "1.2.5"}
        lateral = {"BodyPartExamined": "CHEST", "ViewPosition": "LL"}
        with pytest.raises(NotEligible, match=r"^no-series"):
            planned(study(tmp_path, knee, lateral), bare, CHEST)

    @pytest.mark.parametrize("broken", [{"Columns": None}, {"Rows": 0}, {"NumberOfFrames": -1}])
    def test_a_header_without_a_size(self, tmp_path: Path, broken: Mapping[str, object]) -> None:
        with pytest.raises(NotEligible, match=r"^header"):
            planned(study(tmp_path, {"BodyPartExamined": "CHEST", **broken}), CHEST)

    def test_an_unknown_recipe_is_a_configuration_error(self, tmp_path: Path) -> None:
        wrong = CHEST.model_copy(update={"recipe": "none"})
        with pytest.raises(ConfigError, match="no recipe none"):
            planned(study(tmp_path, {"BodyPartExamined": "CHEST"}), wrong)


class TestSelection:
    def test_the_first_route_that_fits_takes_the_series(self, tmp_path: Path) -> None:
        other = CHEST.model_copy(update={"name": "other"})
        (found,) = planned(study(tmp_path, {"BodyPartExamined": "CHEST"}), CHEST, other)
        assert found.route is CHEST
        assert found.recipe is RECIPES["radiograph"]

    def test_a_lateral_beside_a_frontal_is_left_out(self, tmp_path: Path) -> None:
        views = [{"BodyPartExamined": "CHEST", "ViewPosition": view} for view in ("LL", "PA", "")]
        (found,) = planned(study(tmp_path, *views), CHEST)
        assert [one.view_position for one in found.series.images] == ["PA", ""]

    def test_a_volume_is_judged_as_a_whole(self, tmp_path: Path) -> None:
        volume = read(study_ref(stack(tmp_path, np.zeros((4, 4, 4), np.int16))))
        (found,) = planned(volume, HEAD)
        assert found.series is volume.series[0]

    def test_too_few_slices_are_refused(self, tmp_path: Path) -> None:
        volume = read(study_ref(stack(tmp_path, np.zeros((2, 4, 4), np.int16))))
        with pytest.raises(NotEligible, match="series 1: 2 slices, fewer than 3"):
            planned(volume, HEAD)

    def test_a_study_of_only_a_localizer_is_refused(self, tmp_path: Path) -> None:
        scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
        with pytest.raises(NotEligible, match="localizer"):
            planned(study(tmp_path, scout, modality="CT"), HEAD)


class TestWhen:
    def test_a_word_of_a_description_stands_in_for_the_body_part(self, tmp_path: Path) -> None:
        when = When(modality=("DX",), body_part=("",), description_any=("CHEST", "THORAX"))
        route = CHEST.model_copy(update={"when": when})
        (found,) = planned(study(tmp_path, {"StudyDescription": "XR chest, 2 views"}), route)
        assert found.route is route

    def test_a_part_of_a_word_does_not(self, tmp_path: Path) -> None:
        when = When(description_any=("LUNG",))
        with pytest.raises(NotEligible, match="no-route"):
            planned(
                study(tmp_path, {"StudyDescription": "PLUNGED"}),
                CHEST.model_copy(update={"when": when}),
            )

    @pytest.mark.parametrize(
        ("age", "fits"), [("017Y", False), ("018Y", True), ("099Y", True), ("", False)]
    )
    def test_an_age_limit_takes_only_known_ages(self, tmp_path: Path, age: str, fits: bool) -> None:
        route = CHEST.model_copy(update={"when": When(min_age_years=18)})
        one = study(tmp_path, {"PatientAge": age})
        if fits:
            assert planned(one, route)
        else:
            with pytest.raises(NotEligible, match="no-route"):
                planned(one, route)


class TestPackagedRoutes:
    def test_a_real_chest_radiograph_is_taken(self) -> None:
        packaged = settings.load(config=settings.PACKAGED)
        (path,) = shared("dicom/projection-and-other/dx_image.dcm")
        (found,) = plan(read(study_ref([path])), packaged.routes, packaged.recipes)
        assert found.route.name == "chest-radiograph"

    @pytest.mark.parametrize("name", ["ct-head-ge-28", "mr-t1-siemens-35"])
    def test_a_head_waits_for_a_detector(self, name: str) -> None:
        packaged = settings.load(config=settings.PACKAGED)
        one = read(study_ref(shared(f"dicom/series/{name}/*")))
        with pytest.raises(NotEligible):
            plan(one, packaged.routes, packaged.recipes)
