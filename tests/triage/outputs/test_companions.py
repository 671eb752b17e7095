"""Companions: the same twice, silent about places in triage mode, and stopped when damaged."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.ko import KeyObjectSelectionDocument
from highdicom.sr import MeasurementReport, srread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from tests.triage.outputs import received, studies
from triage import outputs
from triage.errors import Broken, ConfigError
from triage.finding import Assessment, Document, Outcome
from triage.outputs import fit
from triage.outputs.context import DISCLAIMER, RESEARCH_BANNER, ReportContext
from triage.outputs.page import SIZE_PX
from triage.outputs.secondary_capture import page
from triage.report import report

TRIAGE = [kind for kind in fit.SOP_CLASSES if kind not in fit.RESEARCH_ONLY]
COMPANIONS = frozenset({"parametric_map", "segmentation"})


@pytest.fixture
def ct(tmp_path: Path) -> Assessment:
    found = received.assessed([studies.bundled("CT_small.dcm")], tmp_path)
    assert found is not None
    return found


def context(tmp_path: Path, mode: str = "triage") -> ReportContext:
    beside = COMPANIONS if mode == "research" else frozenset()
    return studies.context(mode, results=tmp_path, companions=beside)


def built(kind: str, assessment: Assessment, given: ReportContext) -> Document:
    output = outputs.load(kind)
    document = output.build(assessment, given)
    output.check(document, assessment, given)
    return document


def walked(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from walked(item)


@pytest.mark.parametrize("kind", fit.SOP_CLASSES)
def test_twice_is_once(kind: str, ct: Assessment, tmp_path: Path) -> None:
    given = context(tmp_path, "research")
    first, second = built(kind, ct, given), built(kind, ct, given)
    assert first == second
    assert first.sop_class_uid == fit.SOP_CLASSES[kind]


@pytest.mark.parametrize("kind", TRIAGE)
def test_in_triage_mode_no_object_marks_a_location(
    kind: str, ct: Assessment, tmp_path: Path
) -> None:
    made = pydicom.dcmread(BytesIO(built(kind, ct, context(tmp_path)).content))
    analysed = set(ct.detections[0].sop_instance_uids)
    for item in walked(made):
        assert item.get("ValueType") not in {"SCOORD", "SCOORD3D", "TCOORD"}
        assert "GraphicData" not in item
        assert "AnchorPoint" not in item
        assert item.get("BoundingBoxAnnotationUnits", "DISPLAY") == "DISPLAY"
        assert "ReferencedFrameNumber" not in item
        assert "ReferencedSegmentNumber" not in item
    named = {
        str(item.ReferencedSOPInstanceUID)
        for item in walked(made)
        if "ReferencedSOPInstanceUID" in item
    }
    assert named in (analysed, set())


def test_a_series_is_named_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    paths = []
    for number in range(3):

        def other(image: Dataset, number: int = number) -> None:
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = UID(
                f"1.2.3.{number}"
            )
            image.ImagePositionPatient = [0, 0, number]
            image.InstanceNumber = number

        source = studies.bundled("CT_small.dcm")
        paths.append(studies.altered(source, tmp_path / f"{number}.dcm", other))
    assessment = received.assessed(paths, tmp_path)
    assert assessment is not None
    every = {f"1.2.3.{number}" for number in range(3)}
    for kind in ("key_objects", "presentation_state"):
        made = pydicom.dcmread(BytesIO(built(kind, assessment, context(tmp_path)).content))
        assert {
            str(item.ReferencedSOPInstanceUID)
            for item in walked(made)
            if "ReferencedSOPInstanceUID" in item
        } == every
    research = built("key_objects", assessment, context(tmp_path, "research"))
    note = KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(BytesIO(research.content)))
    (key,) = note.content.get_references()
    assert key.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.1"


@pytest.mark.parametrize("kind", sorted(fit.RESEARCH_ONLY))
def test_what_marks_a_location_does_not_leave_in_triage_mode(
    kind: str, ct: Assessment, tmp_path: Path
) -> None:
    document = built(kind, ct, context(tmp_path, "research"))
    with pytest.raises(Broken):
        outputs.load(kind).check(document, ct, context(tmp_path))
    with pytest.raises(ConfigError, match=kind):
        fit.check_mode([kind], "triage")


def _drop(keyword: str) -> Callable[[Dataset], object]:
    return lambda made: delattr(made, keyword)


def _other_patient(made: Dataset) -> None:
    made.PatientID = "SOMEBODY ELSE"


def _other_pixels(made: Dataset) -> None:
    pixels = bytearray(made.PixelData)
    pixels[len(pixels) // 2] ^= 0x15
    made.PixelData = bytes(pixels)


def _add_graphic(made: Dataset) -> None:
    graphic = Dataset()
    graphic.GraphicType, graphic.GraphicAnnotationUnits = "POLYLINE", "PIXEL"
    graphic.GraphicData = [1.0, 1.0, 2.0, 2.0]
    graphic.NumberOfGraphicPoints, graphic.GraphicFilled = 2, "N"
    made.GraphicAnnotationSequence[0].GraphicObjectSequence = [graphic]


def _other_title(made: Dataset) -> None:
    made.ConceptNameCodeSequence[0].CodeValue = "113001"


def _drop_reference(made: Dataset) -> None:
    made.ContentSequence.pop()


def _other_tracking(made: Dataset) -> None:
    made.SegmentSequence[0].TrackingUID = "1.2.3"


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *((kind, _other_patient) for kind in fit.SOP_CLASSES),
        *((kind, _drop("StudyInstanceUID")) for kind in fit.SOP_CLASSES),
        *((kind, _drop("ContributingEquipmentSequence")) for kind in fit.SOP_CLASSES),
        ("key_objects", _other_title),
        ("key_objects", _drop_reference),
        ("presentation_state", _add_graphic),
        ("presentation_state", _drop("DisplayedAreaSelectionSequence")),
        ("secondary_capture", _other_pixels),
        ("parametric_map", _other_pixels),
        ("parametric_map", _drop("SharedFunctionalGroupsSequence")),
        ("segmentation", _other_pixels),
        ("segmentation", _other_tracking),
    ],
)
def test_the_gate_stops_what_is_damaged(
    kind: str, damage: Callable[[Dataset], object], ct: Assessment, tmp_path: Path
) -> None:
    given = context(tmp_path, "research" if kind in fit.RESEARCH_ONLY else "triage")
    document = built(kind, ct, given)
    made = pydicom.dcmread(BytesIO(document.content))
    damage(made)
    buffer = BytesIO()
    made.save_as(buffer)
    with pytest.raises(Broken, match="may not leave"):
        outputs.load(kind).check(replace(document, content=buffer.getvalue()), ct, given)


def test_the_page_says_what_it_is_not_for_and_names_nobody(ct: Assessment, tmp_path: Path) -> None:
    said = " ".join(page(ct, context(tmp_path, "research")))
    assert DISCLAIMER in said
    assert RESEARCH_BANNER in said
    assert "PRIORITISED" in said
    assert ct.study.patient.patient_id not in said
    made = pydicom.dcmread(BytesIO(built("secondary_capture", ct, context(tmp_path)).content))
    assert made.pixel_array.shape == (SIZE_PX, SIZE_PX)
    assert len(np.unique(made.pixel_array)) > 2


def test_report_segmentation_and_map_belong_together(ct: Assessment, tmp_path: Path) -> None:
    given = context(tmp_path, "research")
    made = {
        kind: pydicom.dcmread(BytesIO(built(kind, ct, given).content))
        for kind in ("structured_report", *COMPANIONS)
    }
    said = srread(BytesIO(built("structured_report", ct, given).content))
    assert isinstance(said.content, MeasurementReport)
    (group,) = said.content.get_volumetric_roi_measurement_groups()
    assert group.tracking_uid == made["segmentation"].SegmentSequence[0].TrackingUID
    listed = {str(instance) for _, _, instance, _ in said.get_evidence()}
    assert {str(made[kind].SOPInstanceUID) for kind in COMPANIONS} < listed


class TestFit:
    def test_a_key_object_is_for_prioritised_studies(self, ct: Assessment, tmp_path: Path) -> None:
        calm = replace(ct, decision=replace(ct.decision, outcome=Outcome.NOT_PRIORITISED))
        assert fit.fits("key_objects", ct, context(tmp_path))
        assert not fit.fits("key_objects", calm, context(tmp_path))

    def test_without_a_map_there_is_nothing_to_draw(self, ct: Assessment, tmp_path: Path) -> None:
        because = replace(ct.detections[0], map_sha256="")
        bare = replace(ct, decision=replace(ct.decision, because=because))
        assert not fit.fits("segmentation", bare, context(tmp_path, "research"))
        assert not fit.fits("segmentation", ct, context(tmp_path))

    def test_who_was_never_asked_gets_what_is_configured(self) -> None:
        assert fit.taken(TRIAGE, None) == tuple(TRIAGE)

    def test_what_a_pacs_does_not_take_is_left_out_but_never_the_report(self) -> None:
        key = fit.SOP_CLASSES["key_objects"]
        assert fit.taken(TRIAGE, {key}) == ("structured_report", "key_objects")

    def test_the_page_stands_in_for_a_report_that_is_not_taken(self) -> None:
        assert fit.taken(TRIAGE, {fit.SOP_CLASSES[fit.STAND_IN]}) == (fit.STAND_IN,)

    def test_what_is_no_dicom_object_is_sent_whatever_the_pacs_said(self) -> None:
        assert fit.taken(["plain_text"], set()) == ("plain_text",)


def test_each_destination_gets_what_it_takes(ct: Assessment, tmp_path: Path) -> None:
    from triage.destinations import Dimse

    to = [
        Dimse(name=name, ae_title="PACS", host="127.0.0.1", port=104, outputs=tuple(TRIAGE))
        for name in ("old", "new")
    ]
    accepted = {"old": {fit.SOP_CLASSES[fit.STAND_IN]}}
    sent = report(ct, to, context(tmp_path), accepted)
    kinds = {name: [one.kind for to, one in sent if to == name] for name in ("old", "new")}
    assert kinds == {"old": [fit.STAND_IN], "new": TRIAGE}
