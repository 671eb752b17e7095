"""The structured report: valid for independent tools, the same twice, and silent about places."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import (
    Comprehensive3DSR,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    srread,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.servers import binary
from tests.triage.outputs import studies
from triage.decide import failed
from triage.errors import REASONS, Broken, Held, Reason
from triage.finding import Assessment, Document, Outcome, Refusal
from triage.outputs import structured_report
from triage.outputs.context import DISCLAIMER, RESEARCH_BANNER, Predecessor, ReportContext
from triage.outputs.header import FIRST_SERIES_NUMBER

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def complaints(content: bytes, folder: Path) -> list[str]:
    """Give dciodvfy's errors and its warnings that are not about our private scheme."""
    path = folder / "report.dcm"
    path.write_bytes(content)
    run = subprocess.run(
        [binary("dciodvfy"), path], capture_output=True, text=True, errors="replace", check=False
    )
    lines = [line for line in run.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    allowed = ("99TRIAGE", "Device UID", "Standard Extended SOP Class", "build DICOMDIR")
    return [line for line in lines if not any(words in line for words in allowed)]


def dump(content: bytes, folder: Path) -> str:
    path = folder / "report.dcm"
    path.write_bytes(content)
    run = subprocess.run(
        [binary("dsrdump", "/usr/bin"), "+Pl", path], capture_output=True, text=True, check=True
    )
    return run.stdout


def opened(document: Document) -> Comprehensive3DSR:
    report = srread(BytesIO(document.content))
    assert isinstance(report, Comprehensive3DSR)
    return report


def groups(document: Document) -> list[MeasurementsAndQualitativeEvaluations]:
    content = opened(document).content
    assert isinstance(content, MeasurementReport)
    return list(content.get_image_measurement_groups())


def built(assessment: Assessment, mode: str = "triage") -> Document:
    context = studies.context(mode)
    document = structured_report.build(assessment, context)
    structured_report.check(document, assessment, context)
    return document


@pytest.fixture
def ct() -> Assessment:
    return studies.assessed([studies.bundled("CT_small.dcm")])


def dx(folder: Path) -> list[Path]:
    return [studies.generated(folder / "dx.dcm", studies.DX, PatientSex="F", StudyDate="20260102")]


def two_series(folder: Path) -> list[Path]:
    source = studies.bundled("CT_small.dcm")

    def other(image: Dataset) -> None:
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.SeriesInstanceUID = generate_uid()
        image.SeriesNumber = FIRST_SERIES_NUMBER

    return [source, studies.altered(source, folder / "other.dcm", other)]


OTHERS = {"PatientBirthDate": "19710101", "PatientSex": "M", "StudyInstanceUID": "1.2.3"}
STUDIES: dict[str, Callable[[Path], Sequence[Path]]] = {
    "CT": lambda _: [studies.bundled("CT_small.dcm")],
    "MR": lambda _: [studies.bundled("MR_small.dcm")],
    "MR with implicit VR": lambda _: [studies.bundled("MR_small_implicit.dcm")],
    "colour US": lambda _: [studies.bundled("examples_palette.dcm")],
    "DX without type 2 attributes": dx,
    "two series": two_series,
    "US multi-frame": lambda folder: [
        studies.generated(
            folder / "us.dcm", studies.US_MULTI_FRAME, Modality="US", NumberOfFrames=3
        )
    ],
    "enhanced CT": lambda folder: [
        studies.generated(folder / "ct.dcm", ENHANCED_CT, Modality="CT", NumberOfFrames=2)
    ],
    "secondary capture of another modality": lambda folder: [
        studies.generated(folder / "sc.dcm", SECONDARY_CAPTURE, Modality="OT")
    ],
    "names in Japanese": lambda folder: [
        studies.generated(
            folder / "jp.dcm",
            studies.DX,
            SpecificCharacterSet=["", "ISO 2022 IR 87"],
            PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        )
    ],
    "names in Latin 1": lambda folder: [
        studies.generated(
            folder / "de.dcm",
            studies.DX,
            SpecificCharacterSet="ISO_IR 100",
            PatientName="Müller^Jürgen",
            StudyDescription="Schädel a.p. " + "ä" * 80,
        )
    ],
    "an order": lambda folder: [
        studies.generated(
            folder / "order.dcm",
            studies.DX,
            AccessionNumber="A1",
            RequestAttributesSequence=[order()],
        )
    ],
}  # fmt: skip


def order() -> Dataset:
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "XRCHEST2", "99HOSP"
    code.CodeMeaning = "Chest, two views"
    item.RequestedProcedureID = "RP7"
    item.RequestedProcedureDescription = "Chest, two views"
    item.RequestedProcedureCodeSequence = [code]
    return item


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("mode", ["triage", "research"])
def test_independent_tools_find_no_fault(name: str, mode: str, tmp_path: Path) -> None:
    content = built(studies.assessed(STUDIES[name](tmp_path)), mode).content
    assert [line for line in complaints(content, tmp_path) if "99HOSP" not in line] == []
    assert "Imaging Measurement Report" in dump(content, tmp_path)


def test_dciodvfy_would_have_found_a_fault(ct: Assessment, tmp_path: Path) -> None:
    report = pydicom.dcmread(BytesIO(built(ct).content))
    del report.CompletionFlag
    buffer = BytesIO()
    report.save_as(buffer)
    assert any("<CompletionFlag>" in line for line in complaints(buffer.getvalue(), tmp_path))


def test_it_is_complete_unverified_and_preliminary(ct: Assessment) -> None:
    report = opened(built(ct))
    flags = (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag)
    assert flags == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in report


def test_it_names_the_algorithm_and_its_numbers(ct: Assessment, tmp_path: Path) -> None:
    text = dump(built(ct).content, tmp_path)
    for words in (
        '"Algorithm Name")="chest-ct-memae"',
        '"Algorithm Version")="1.2.0"',
        f"weights sha256: {'a' * 64}"[:60],
        "calibration stratum: CT/CHEST/adult",
        "calibration n: 412",
        "intended use mode: triage",
        '"Anomaly score")="3.25" (1,UCUM,"no units")',
        '"Conformal p-value against calibration studies")="0.0125"',
        '(PRIORITISED,99TRIAGE,"Prioritised")',
        "All algorithms succeeded; with findings",
        DISCLAIMER,
    ):
        assert words in text


def test_patient_and_study_are_the_sources_own(tmp_path: Path) -> None:
    paths = STUDIES["names in Japanese"](tmp_path)
    image, report = pydicom.dcmread(paths[0]), opened(built(studies.assessed(paths)))
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert (
        str(report.PatientName) == str(image.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    )
    assert report.StudyInstanceUID == image.StudyInstanceUID
    assert report.SeriesInstanceUID != image.SeriesInstanceUID


def test_what_the_source_lacks_is_there_and_empty(tmp_path: Path) -> None:
    report = opened(built(studies.assessed(dx(tmp_path))))
    assert all(keyword in report for keyword in ("StudyID", "AccessionNumber", "StudyTime"))
    assert not any(report.get(keyword) for keyword in ("StudyID", "AccessionNumber", "StudyTime"))


def test_the_order_is_carried_over(tmp_path: Path) -> None:
    report = opened(built(studies.assessed(STUDIES["an order"](tmp_path))))
    (request,) = report.ReferencedRequestSequence
    assert (request.AccessionNumber, request.RequestedProcedureID) == ("A1", "RP7")
    assert request.RequestedProcedureCodeSequence[0].CodeValue == "XRCHEST2"
    assert request.StudyInstanceUID == report.StudyInstanceUID


def test_the_procedure_reported_is_the_sources_own(tmp_path: Path) -> None:
    (code,) = order().RequestedProcedureCodeSequence
    path = studies.generated(tmp_path / "x.dcm", studies.DX, ProcedureCodeSequence=[code])
    text = dump(built(studies.assessed([path])).content, tmp_path)
    assert '"Procedure reported")=(XRCHEST2,99HOSP,"Chest, two views")' in text


def test_without_a_procedure_code_it_is_named_by_modality(ct: Assessment, tmp_path: Path) -> None:
    text = dump(built(ct).content, tmp_path)
    assert '"Procedure reported")=(25045-6,LN,"CT unspecified body region")' in text


def test_times_are_on_the_studys_clock(tmp_path: Path) -> None:
    path = studies.generated(tmp_path / "x.dcm", studies.DX, TimezoneOffsetFromUTC="-0330")
    report = opened(built(studies.assessed([path])))
    assert f"{report.ContentDate} {report.ContentTime}" == "20261121 070000"
    assert report.TimezoneOffsetFromUTC == "-0330"


@pytest.mark.parametrize("offset", ["Canary", "0100", "+9900", "+01", "++100", "+0160"])
def test_an_offset_that_is_none_is_left_out(tmp_path: Path, offset: str) -> None:
    path = studies.generated(tmp_path / "x.dcm", studies.DX, TimezoneOffsetFromUTC=offset)
    report = opened(built(studies.assessed([path])))
    assert "TimezoneOffsetFromUTC" not in report
    assert str(report.ContentDate) == "20261121"


def test_what_cannot_be_encoded_legally_is_left_empty(tmp_path: Path) -> None:
    path = studies.generated(
        tmp_path / "x.dcm",
        studies.DX,
        PatientBirthDate="1980-99-99",
        PatientSex="female",
        StudyTime="noon",
        PatientAge="old",
    )
    document = built(studies.assessed([path]))
    assert complaints(document.content, tmp_path) == []
    report = opened(document)
    assert not report.PatientBirthDate
    assert not report.PatientSex
    assert "PatientAge" not in report


def test_an_identifier_is_never_cut(tmp_path: Path) -> None:
    patient_id = "P" * 70
    path = studies.generated(
        tmp_path / "x.dcm", studies.DX, PatientID=patient_id, AccessionNumber="A" * 20
    )
    report = pydicom.dcmread(BytesIO(built(studies.assessed([path])).content))
    with pydicom.config.disable_value_validation():
        assert (report.PatientID, report.AccessionNumber) == (patient_id, "A" * 20)


def test_a_backslash_in_an_identifier_is_no_second_patient(tmp_path: Path) -> None:
    path = studies.generated(tmp_path / "x.dcm", studies.DX, PatientID=["A", "B"])
    assessment = studies.assessed([path])
    first = replace(assessment.study.patient, patient_id="A")
    assessment = replace(assessment, study=replace(assessment.study, patient=first))
    report = pydicom.dcmread(BytesIO(built(assessment).content))
    assert list(report.PatientID) == ["A", "B"]


def test_evidence_and_library_list_every_image_analysed(tmp_path: Path) -> None:
    paths = two_series(tmp_path)
    document = built(studies.assessed(paths))
    analysed = {pydicom.dcmread(path).SOPInstanceUID for path in paths}
    assert {instance for _, _, instance, _ in opened(document).get_evidence()} == analysed
    assert len(groups(document)) == 2


def test_its_series_number_is_free(tmp_path: Path) -> None:
    report = opened(built(studies.assessed(two_series(tmp_path))))
    assert report.SeriesNumber == FIRST_SERIES_NUMBER + 1


def test_the_same_assessment_gives_the_same_bytes(ct: Assessment) -> None:
    assert built(ct) == built(ct)


@pytest.mark.parametrize(
    "change",
    [
        lambda ct: (replace_ref(ct, generation=2), studies.context()),
        lambda ct: (ct, studies.context(site_key=bytes(32))),
        lambda ct: (ct, studies.context("research")),
        lambda ct: (with_artifact(ct, "d" * 64), studies.context()),
    ],
    ids=["generation", "site key", "mode", "artifact"],
)
def test_anything_that_shapes_a_report_changes_its_uid(
    ct: Assessment,
    change: Callable[[Assessment], tuple[Assessment, ReportContext]],
) -> None:
    other = structured_report.build(*change(ct)).sop_instance_uid
    assert other != built(ct).sop_instance_uid
    assert other.startswith("2.25.")
    assert len(other) <= 44


def test_the_time_of_building_does_not_change_its_uid(ct: Assessment) -> None:
    later = studies.context(now=studies.NOW.replace(hour=23))
    again = structured_report.build(ct, later)
    assert again.sop_instance_uid == built(ct).sop_instance_uid
    assert again.content != built(ct).content


def replace_ref(assessment: Assessment, generation: int) -> Assessment:
    ref = replace(assessment.study.ref, generation=generation)
    return replace(assessment, study=replace(assessment.study, ref=ref))


def with_artifact(assessment: Assessment, sha256: str) -> Assessment:
    detector = replace(studies.DETECTOR, artifact_sha256=sha256)
    detections = tuple(replace(one, detector=detector) for one in assessment.detections)
    return replace(assessment, detections=detections)


def test_triage_mode_points_at_no_image_and_research_mode_does(
    ct: Assessment, tmp_path: Path
) -> None:
    triage, research = (dump(built(ct, mode).content, tmp_path) for mode in ("triage", "research"))
    assert "Source of Measurement" not in triage
    assert "SCOORD" not in triage
    assert "Source of Measurement" in research
    assert RESEARCH_BANNER in research
    assert opened(built(ct, "research")).SeriesDescription.startswith("RESEARCH")


def test_a_study_that_was_not_prioritised_is_never_called_anything_else(tmp_path: Path) -> None:
    assessment = studies.assessed(
        [studies.bundled("CT_small.dcm")], score=0.1, p_value=0.8, prioritised=False
    )
    text = dump(built(assessment).content, tmp_path)
    assert '(NOT-PRIORITISED,99TRIAGE,"Not prioritised")' in text
    assert not any(word in text.lower() for word in ("normal", "negative"))


@pytest.mark.parametrize("code", ["no-detector", "header", "incomplete", "resource-limit"])
def test_not_analysed_is_said_with_its_code(code: str, tmp_path: Path) -> None:
    document = built(studies.not_analysed([studies.bundled("CT_small.dcm")], code))
    assert complaints(document.content, tmp_path) == []
    text = dump(document.content, tmp_path)
    value, meaning = REASONS[code].dicom
    assert f'({value},DCM,"{meaning}")' in text
    assert '"No algorithms succeeded; without findings"' in text
    assert '"Not Attempted"' in text
    assert "Measurement Group" not in text


def test_a_later_generation_names_the_report_it_replaces(ct: Assessment, tmp_path: Path) -> None:
    former = built(ct)
    context = studies.context(predecessor=Predecessor.of(former))
    document = structured_report.build(replace_ref(ct, generation=2), context)
    assert complaints(document.content, tmp_path) == []
    report = opened(document)
    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    (item,) = series.ReferencedSOPSequence
    assert item.ReferencedSOPInstanceUID == former.sop_instance_uid != document.sop_instance_uid
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121360"
    assert series.SeriesInstanceUID == opened(former).SeriesInstanceUID


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
        "StudyID", "AccessionNumber", "StudyInstanceUID",
    ],
)  # fmt: skip
def test_two_patients_in_one_study_are_held(keyword: str, tmp_path: Path) -> None:
    source = studies.bundled("CT_small.dcm")

    def other_patient(image: Dataset) -> None:
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PatientBirthDate, image.PatientSex = "19700101", "F"
        image.StudyID = image.AccessionNumber = image.IssuerOfPatientID = "1"
        setattr(image, keyword, OTHERS.get(keyword, "Else"))

    def same_patient(image: Dataset) -> None:
        image.PatientBirthDate, image.PatientSex = "19700101", "F"
        image.StudyID = image.AccessionNumber = image.IssuerOfPatientID = "1"

    paths = [
        studies.altered(source, tmp_path / "one.dcm", same_patient),
        studies.altered(source, tmp_path / "two.dcm", other_patient),
    ]
    with pytest.raises(Held) as caught:
        structured_report.build(studies.assessed(paths), studies.context())
    assert caught.value.reason.code == "identity-conflict"


def test_a_trailing_delimiter_makes_no_second_patient(tmp_path: Path) -> None:
    source = studies.bundled("CT_small.dcm")

    def same_patient(image: Dataset) -> None:
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PatientName = f"{image.PatientName}^^"

    paths = [source, studies.altered(source, tmp_path / "two.dcm", same_patient)]
    assert built(studies.assessed(paths))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no DICOM")])
def test_a_source_file_that_changed_is_no_source(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    path = studies.altered(studies.bundled("CT_small.dcm"), tmp_path / "x.dcm", lambda _: None)
    assessment = studies.assessed([path])
    damage(path)
    with pytest.raises(Broken) as caught:
        structured_report.build(assessment, studies.context())
    assert caught.value.reason.code == "corrupt"


def test_the_patient_must_be_the_studys(ct: Assessment) -> None:
    other = replace(ct.study.patient, patient_id="SOMEBODY ELSE")
    with pytest.raises(Held):
        structured_report.build(
            replace(ct, study=replace(ct.study, patient=other)), studies.context()
        )


def test_an_instance_of_another_study_is_held(ct: Assessment) -> None:
    ref = replace(ct.study.ref, study_instance_uid="1.2.3")
    with pytest.raises(Held):
        structured_report.build(replace(ct, study=replace(ct.study, ref=ref)), studies.context())


def test_only_instances_of_the_study_can_have_been_analysed(ct: Assessment) -> None:
    detection = replace(ct.detections[0], sop_instance_uids=("1.2.3",))
    with pytest.raises(Broken, match="1 analysed instances"):
        structured_report.build(replace(ct, detections=(detection,)), studies.context())


@pytest.mark.parametrize("outcome", [Outcome.HELD, Outcome.PENDING])
def test_no_report_states_an_outcome_that_is_none(outcome: Outcome, ct: Assessment) -> None:
    assessment = replace(ct, decision=replace(ct.decision, outcome=outcome))
    with pytest.raises(Broken, match="No report states"):
        structured_report.build(assessment, studies.context())


def test_a_study_with_one_broken_file_can_still_be_reported_as_not_analysed(tmp_path: Path) -> None:
    paths = two_series(tmp_path)
    assessment = studies.not_analysed(paths, "unparsable")
    paths[1].write_bytes(b"no DICOM")
    evidence = opened(built(assessment)).get_evidence()
    assert [instance for _, _, instance, _ in evidence] == [
        pydicom.dcmread(paths[0]).SOPInstanceUID
    ]


def test_a_study_without_any_readable_file_cannot(tmp_path: Path) -> None:
    path = studies.altered(studies.bundled("CT_small.dcm"), tmp_path / "x.dcm", lambda _: None)
    assessment = studies.not_analysed([path], "unparsable")
    path.write_bytes(b"no DICOM")
    with pytest.raises(Broken, match="unparsable"):
        structured_report.build(assessment, studies.context())


@pytest.mark.parametrize(
    ("score", "p_value"),
    [(float("nan"), 0.5), (float("inf"), 0.5), (1.0, 0.0), (1.0, 1.1), (1.0, float("nan"))],
)
def test_a_number_that_is_none_is_never_written(score: float, p_value: float) -> None:
    paths = [studies.bundled("CT_small.dcm")]
    with pytest.raises(Broken):
        structured_report.build(
            studies.assessed(paths, score=score, p_value=p_value), studies.context()
        )


TEXT = st.text(
    st.characters(
        blacklist_categories=("Cs", "Cc"), blacklist_characters="\\=^", max_codepoint=0xFFFF
    ),
    max_size=30,
)


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=TEXT,
    patient_id=TEXT.filter(lambda text: text.strip() != ""),
    description=st.text(max_size=90),
    score=st.floats(allow_nan=False, allow_infinity=False),
    p_value=st.floats(min_value=1e-300, max_value=1.0),
)
def test_whatever_the_header_says_the_report_is_valid(
    name: str, patient_id: str, description: str, score: float, p_value: float, tmp_path: Path
) -> None:
    path = studies.generated(
        tmp_path / f"{generate_uid()}.dcm",
        studies.DX,
        SpecificCharacterSet="ISO_IR 192",
        PatientName=name.strip(),
        PatientID=patient_id.strip(),
    )

    def describe(image: Dataset) -> None:
        text = description.replace("\\", "").encode("utf-8", "replace")
        image.add_new("StudyDescription", "LO", text)

    with pydicom.config.disable_value_validation():
        path = studies.altered(path, path, describe)
        assessment = studies.assessed([path], score=score, p_value=p_value)
    document = built(assessment)
    assert [line for line in complaints(document.content, tmp_path) if "Error" in line] == []
    (group,) = groups(document)
    assert sorted(one.value for one in group.get_measurements()) == sorted([score, p_value])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda report: setattr(report, "VerificationFlag", "VERIFIED"), "VerificationFlag"),
        (lambda report: setattr(report, "PatientID", "SOMEBODY ELSE"), "PatientID"),
        (lambda report: setattr(report, "StudyInstanceUID", "1.2.3"), "StudyInstanceUID"),
        (lambda report: delattr(report, "CompletionFlag"), "CompletionFlag"),
        (lambda report: delattr(report, "AccessionNumber"), "AccessionNumber"),
        (lambda report: delattr(report, "CodingSchemeIdentificationSequence"), "scheme"),
        (lambda report: report.ContentSequence.pop(), "container of evaluations"),
        (lambda report: report.ContentSequence[-1].ContentSequence.pop(), "intended use"),
        (lambda report: report.ContentSequence.pop(-2), "measurement group"),
        (lambda report: report.ContentSequence.pop(0), "language"),
    ],
)
def test_the_gate_stops_a_damaged_report(
    damage: Callable[[Dataset], object], words: str, ct: Assessment
) -> None:
    document = built(ct)
    report = pydicom.dcmread(BytesIO(document.content))
    damage(report)
    buffer = BytesIO()
    report.save_as(buffer)
    with pytest.raises(Broken, match=words):
        structured_report.check(replace(document, content=buffer.getvalue()), ct, studies.context())


def test_the_gate_stops_a_sentence_that_only_a_reader_may_say(ct: Assessment) -> None:
    decision = replace(ct.decision, sentence="This study is normal.")
    assessment = replace(ct, decision=decision)
    document = structured_report.build(assessment, studies.context())
    with pytest.raises(Broken, match="only a reader"):
        structured_report.check(document, assessment, studies.context())


def test_a_detector_may_be_named_for_what_it_learnt(ct: Assessment) -> None:
    detector = replace(studies.DETECTOR, name="normal-chest")
    detections = tuple(replace(one, detector=detector) for one in ct.detections)
    decision = replace(ct.decision, sentence="At least as unusual as 9 of 10 (normal-chest 1.2.0).")
    assert built(replace(ct, detections=detections, decision=decision))


def test_the_gate_stops_a_location_mark_in_triage_mode(ct: Assessment) -> None:
    research = structured_report.build(ct, studies.context("research"))
    with pytest.raises(Broken):
        structured_report.check(research, ct, studies.context("triage"))


def test_warming_up_leaves_nothing_for_the_first_build() -> None:
    structured_report.warm()


def test_a_detector_that_gave_no_result_is_named_with_its_reason(
    ct: Assessment, tmp_path: Path
) -> None:
    refusals = (
        Refusal("lung-nodules", ct.detections[0].series_instance_uid, Reason("no-detector")),
        Refusal("lung-texture", ct.detections[0].series_instance_uid, Reason("uncalibrated")),
    )
    document = built(replace(ct, refusals=refusals))
    assert complaints(document.content, tmp_path) == []
    text = dump(document.content, tmp_path)
    assert "Not all algorithms succeeded; with findings" in text
    for words in ("lung-nodules", "lung-texture", "Not Attempted", '"Failed"', "110522", "110527"):
        assert words in text
    assert document.sop_instance_uid != built(ct).sop_instance_uid


def test_a_failed_analysis_is_reported_as_that(ct: Assessment, tmp_path: Path) -> None:
    assessment = Assessment(ct.study, (), failed(Reason("crashed")))
    document = built(assessment)
    assert complaints(document.content, tmp_path) == []
    text = dump(document.content, tmp_path)
    for words in (
        "(FAILED,99TRIAGE",
        "No algorithms succeeded",
        '"Failed"',
        "Reason for the failed analysis",
    ):
        assert words in text
    other = replace(assessment, decision=failed(Reason("internal")))
    assert built(other).sop_instance_uid != document.sop_instance_uid
