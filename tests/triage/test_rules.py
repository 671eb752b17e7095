"""Each rule, alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.triage.files import shared, study_ref
from triage import rules, settings
from triage.assemble import read
from triage.errors import ConfigError
from triage.rules import RULES
from triage.settings import Recipe, Route, Routes, When
from triage.study import Image, InstanceRef, Series

RECIPE = Recipe(name="test", kind="volume", size_px=(8, 8), min_slices=3)


def series(*origins_mm: tuple[float, float, float], **changes: object) -> Series:
    """Give an axial series with one image at each place."""
    images = tuple(
        Image(
            ref=InstanceRef(f"1.2.{index}", "0" * 64, Path(f"{index}")),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            instance_number=index,
            rows=4,
            columns=4,
            number_of_frames=1,
            samples_per_pixel=1,
            photometric_interpretation="MONOCHROME2",
            image_position_mm=origin,
            image_orientation=(1, 0, 0, 0, 1, 0),
            pixel_spacing_mm=(1, 1),
        )
        for index, origin in enumerate(origins_mm or ((0.0, 0.0, 0.0),))
    )
    plain = Series(
        series_instance_uid="1.2",
        modality="CT",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        series_number=1,
        series_description="",
        body_part_examined="HEAD",
        view_position="",
        protocol_name="",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        manufacturer="",
        manufacturer_model_name="",
        station_name="",
        frame_of_reference_uid="",
        slice_positions_mm=tuple(origin[2] for origin in origins_mm),
        images=images,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def with_image(one: Series, index: int, **changes: object) -> Series:
    images = list(one.images)
    images[index] = replace(images[index], **changes)  # type: ignore[arg-type]
    return replace(one, images=tuple(images))


def tall(*heights_mm: float) -> Series:
    return series(*((0.0, 0.0, height) for height in heights_mm))


class TestTypeOfImage:
    @pytest.mark.parametrize(
        ("image_type", "modality", "passes"),
        [
            (("ORIGINAL", "PRIMARY"), "CT", True),
            (("DERIVED", "PRIMARY"), "CT", False),
            (("ORIGINAL", "PRIMARY", "DERIVED"), "CT", False),
            ((), "CT", False),
            ((), "CR", True),
            (("",), "CR", True),
            (("DERIVED",), "CR", False),
        ],
    )
    def test_original(self, image_type: tuple[str, ...], modality: str, passes: bool) -> None:
        one = series(image_type=image_type, modality=modality)
        assert (rules.is_original(one) is None) is passes

    @pytest.mark.parametrize(
        ("rule", "word"),
        [
            ("is_primary", "SECONDARY"),
            ("is_not_localizer", "LOCALIZER"),
            ("is_not_localizer", "TOPOGRAM"),
        ],
    )
    def test_a_word_anywhere_in_the_image_type(self, rule: str, word: str) -> None:
        assert RULES[rule](series(), RECIPE) is None
        assert RULES[rule](series(image_type=("ORIGINAL", "PRIMARY", word)), RECIPE) is not None

    @pytest.mark.parametrize(
        ("rule", "sop_class_uid"),
        [
            ("is_not_secondary_capture", "1.2.840.10008.5.1.4.1.1.7"),
            ("is_not_secondary_capture", "1.2.840.10008.5.1.4.1.1.7.2"),
            ("is_for_presentation", "1.2.840.10008.5.1.4.1.1.1.1.1"),
        ],
    )
    def test_the_storage_class(self, rule: str, sop_class_uid: str) -> None:
        assert RULES[rule](series(), RECIPE) is None
        assert RULES[rule](series(sop_class_uid=sop_class_uid), RECIPE) is not None


class TestPixels:
    @pytest.mark.parametrize(
        ("rule", "changes"),
        [
            ("is_single_frame", {"number_of_frames": 2}),
            ("is_grayscale", {"samples_per_pixel": 3}),
            ("is_grayscale", {"photometric_interpretation": "PALETTE COLOR"}),
        ],
    )
    def test_one_image_is_enough_to_break_it(
        self, rule: str, changes: Mapping[str, object]
    ) -> None:
        one = tall(0, 1, 2)
        assert RULES[rule](one, RECIPE) is None
        assert RULES[rule](with_image(one, 1, **changes), RECIPE) is not None

    @pytest.mark.parametrize("field", ["rows", "columns", "samples_per_pixel", "number_of_frames"])
    def test_sizes_are_positive(self, field: str) -> None:
        assert rules.has_readable_header(tall(0, 1)) is None
        assert rules.has_readable_header(with_image(tall(0, 1), 1, **{field: 0})) is not None


class TestView:
    @pytest.mark.parametrize("view", ["", "PA", "AP", "PA\\AP", "\\PA"])
    def test_frontal(self, view: str) -> None:
        assert rules.is_frontal_or_unknown(series(view_position=view)) is None

    @pytest.mark.parametrize("view", ["LL", "RL", "LLO", "LATERAL", "PA\\LL"])
    def test_not_frontal(self, view: str) -> None:
        assert rules.is_frontal_or_unknown(series(view_position=view)) is not None

    def test_a_missing_view_that_is_described_as_lateral(self) -> None:
        described = series(series_description="Chest LAT")
        assert rules.is_frontal_or_unknown(described) is not None
        assert rules.is_frontal_or_unknown(replace(described, view_position="PA")) is None
        assert rules.is_frontal_or_unknown(series(series_description="FLAT PANEL")) is None


class TestOrientation:
    def test_parallel_images(self) -> None:
        assert rules.has_one_orientation(tall(0, 1, 2)) is None

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"image_orientation": (0, 1, 0, 0, 0, -1)}, "more than one orientation"),
            ({"image_orientation": None}, "missing"),
            ({"pixel_spacing_mm": None}, "Pixel Spacing is missing"),
            ({"pixel_spacing_mm": (2, 2)}, "differ in size or Pixel Spacing"),
            ({"rows": 8}, "differ in size"),
        ],
    )
    def test_one_image_that_differs(self, changes: Mapping[str, object], sentence: str) -> None:
        found = rules.has_one_orientation(with_image(tall(0, 1, 2), 2, **changes))
        assert found is not None
        assert sentence in found


class TestSpacing:
    @pytest.mark.parametrize("heights", [(0, 1, 2), (0, 1.05, 2), (0, 7, 13.9, 21), (5,)])
    def test_even_up_to_rounding(self, heights: tuple[float, ...]) -> None:
        assert rules.has_even_spacing(tall(*heights)) is None

    @pytest.mark.parametrize(
        ("heights", "sentence"),
        [
            ((0, 5, 10, 20), "slice gaps differ by 5.00 mm, more than 0.20 mm"),
            ((0, 1, 1, 2), "two images lie at one position"),
            ((), "missing"),
        ],
    )
    def test_uneven(self, heights: tuple[float, ...], sentence: str) -> None:
        found = rules.has_even_spacing(tall(*heights))
        assert found is not None
        assert sentence in found

    def test_a_tilted_gantry_shifts_the_slices(self) -> None:
        tilted = series(*((0.0, 0.3 * index, 1.0 * index) for index in range(10)))
        assert "gantry tilt" in str(rules.has_even_spacing(tilted))

    def test_thin_slices_show_a_small_tilt(self) -> None:
        tilted = series(*((0.0, 0.03 * index, 0.6 * index) for index in range(100)))
        assert "gantry tilt" in str(rules.has_even_spacing(tilted))

    def test_rounded_origins_are_no_tilt(self) -> None:
        rounded = series(*((0.0, 0.1 * (index % 2), 7.0 * index) for index in range(20)))
        assert rules.has_even_spacing(rounded) is None


class TestSlices:
    def test_the_recipe_says_how_many(self) -> None:
        assert rules.has_enough_slices(tall(0, 1, 2), RECIPE) is None
        assert rules.has_enough_slices(tall(0, 1), RECIPE) == "2 slices, fewer than 3"

    def test_frames_count(self) -> None:
        assert rules.has_enough_slices(with_image(tall(0), 0, number_of_frames=5), RECIPE) is None


def of_series(paths: Sequence[Path], ending: str) -> list[Path]:
    """Give the files of one series: the folder's are of several patients."""
    uids = {path: str(dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)
            for path in paths}  # fmt: skip
    return [path for path, uid in uids.items() if uid.endswith(ending)]


class TestRealSeries:
    @pytest.mark.parametrize(
        ("ending", "rule", "sentence"),
        [
            ("227417197937", "has_even_spacing", "slice gaps differ by 5.00 mm"),
            ("512040321185", "has_even_spacing", "gantry tilt"),
            ("581228571744", "has_one_orientation", "more than one orientation"),
            ("298243974030", "has_enough_slices", "2 slices"),
        ],
    )
    def test_unusable_geometry_is_refused_for_the_right_reason(
        self, ending: str, rule: str, sentence: str
    ) -> None:
        (one,) = read(
            study_ref(of_series(shared("dicom-bad/series-geometry/*.dcm"), ending))
        ).series
        assert sentence in str(RULES[rule](one, RECIPE))

    def test_a_head_with_two_slice_distances_is_refused(self) -> None:
        (one,) = read(study_ref(shared("dicom/series/ct-head-ge-28/*"))).series
        assert "slice gaps differ by 5.92 mm" in str(rules.has_even_spacing(one))

    @pytest.mark.parametrize("name", ["ct-head-tiny-93", "mr-pd-ge-20", "mr-t1-siemens-35"])
    def test_good_geometry_passes(self, name: str) -> None:
        (one,) = read(study_ref(shared(f"dicom/series/{name}/*"))).series
        for rule in ("has_one_orientation", "has_even_spacing", "has_enough_slices"):
            assert RULES[rule](one, RECIPE) is None


class TestCheck:
    def test_the_packaged_routes_name_known_rules_and_recipes(self) -> None:
        packaged = settings.load(config=settings.PACKAGED)
        rules.check(packaged.routes, packaged.recipes)

    def test_an_unknown_rule_is_named_with_the_known_ones(self) -> None:
        route = Route(name="head", when=When(), require=("is_orignal",), recipe="x")
        with pytest.raises(
            ConfigError, match=r"route head: unknown rule is_orignal; known: .*is_original"
        ):
            rules.check(Routes(routes=(route,)))

    def test_an_unknown_recipe_is_named(self) -> None:
        route = Route(name="head", when=When(), recipe="x")
        with pytest.raises(ConfigError, match="no recipe x"):
            rules.check(Routes(routes=(route,)), {"head-ct": RECIPE})
