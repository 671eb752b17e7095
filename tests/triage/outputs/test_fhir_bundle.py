"""The FHIR bundle: valid for two other libraries, and each of its entries at most once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhirclient.models.bundle import Bundle as StrictBundle
from fhirclient.models.fhirabstractbase import FHIRValidationError
from pydantic import ValidationError
from pydicom.dataset import Dataset

from tests.triage.outputs import studies
from triage import outputs
from triage.finding import Assessment
from triage.outputs import fhir_bundle, retraction, structured_report
from triage.outputs.context import reported_among
from triage.settings import Reporting


def built(assessment: Assessment, **changes: object) -> dict[str, Any]:
    context = studies.context(**changes)  # type: ignore[arg-type]
    document = fhir_bundle.build(assessment, context)
    fhir_bundle.check(document, assessment, context)
    bundle = json.loads(document.content)
    Bundle.model_validate(bundle)  # fhir.resources, R4B
    StrictBundle(bundle, strict=True)  # fhirclient, 4.0.1
    assert isinstance(bundle, dict)
    return bundle


def of(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    resources = [entry["resource"] for entry in bundle["entry"]]
    return [one for one in resources if one["resourceType"] == kind]


def dx(folder: Path, **attributes: object) -> Assessment:
    return studies.assessed([studies.generated(folder / "dx.dcm", studies.DX, **attributes)])


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_both_libraries_take_it(name: str) -> None:
    bundle = built(studies.assessed([studies.bundled(name)]))
    (report,) = of(bundle, "DiagnosticReport")
    assert report["status"] == "preliminary"
    assert {one["status"] for one in of(bundle, "Observation")} == {"preliminary"}


def test_both_libraries_refuse_what_is_not_r4() -> None:
    bundle = built(studies.assessed([studies.bundled("CT_small.dcm")]))
    del of(bundle, "DiagnosticReport")[0]["code"]
    with pytest.raises(ValidationError):
        Bundle.model_validate(bundle)
    with pytest.raises(FHIRValidationError):
        StrictBundle(bundle, strict=True)


def test_a_study_that_was_not_analysed_has_a_report_too() -> None:
    bundle = built(studies.not_analysed([studies.bundled("CT_small.dcm")]))
    (report,) = of(bundle, "DiagnosticReport")
    assert report["conclusionCode"][0]["coding"][0]["code"] == "NOT-ANALYSED"
    assert len(of(bundle, "Observation")) == 1


def test_every_entry_is_created_at_most_once_by_a_uid(tmp_path: Path) -> None:
    entries = built(dx(tmp_path))["entry"]
    tokens = [entry["request"]["ifNoneExist"] for entry in entries]
    assert len(set(tokens)) == len(tokens)
    assert all(token.startswith("identifier=urn:dicom:uid|urn:oid:") for token in tokens)
    assert len({entry["fullUrl"] for entry in entries}) == len(entries)


def test_its_report_is_the_structured_report_under_another_name(tmp_path: Path) -> None:
    assessment = dx(tmp_path)
    sr = structured_report.build(assessment, studies.context())
    (report,) = of(built(assessment), "DiagnosticReport")
    assert report["identifier"][0]["value"] == f"urn:oid:{sr.sop_instance_uid}"


@pytest.mark.parametrize("kept", ["structured_report", "fhir_bundle"])
def test_a_later_report_names_the_one_that_it_replaces(kept: str, tmp_path: Path) -> None:
    assessment, earlier = dx(tmp_path), studies.context(version="0.0.9")
    former = outputs.load(kept).build(assessment, earlier)
    wanted = structured_report.build(assessment, earlier).sop_instance_uid
    bundle = built(assessment, replaced_uid=reported_among([former]))
    (extension,) = of(bundle, "DiagnosticReport")[0]["extension"]
    assert extension["valueReference"]["identifier"]["value"] == f"urn:oid:{wanted}"


def test_a_report_never_replaces_itself(tmp_path: Path) -> None:
    assessment = dx(tmp_path)
    own = reported_among([fhir_bundle.build(assessment, studies.context())])
    assert "extension" not in of(built(assessment, replaced_uid=own), "DiagnosticReport")[0]


def test_a_later_report_updates_the_study_where_the_site_wants_that(tmp_path: Path) -> None:
    assessment = dx(tmp_path)
    for reporting, uid, method in (
        (Reporting(fhir_updates_study=True), "2.25.7", "PUT"),
        (Reporting(fhir_updates_study=True), "", "POST"),
        (Reporting(), "2.25.7", "POST"),
    ):
        context = studies.context(reporting=reporting, replaced_uid=uid)
        document = fhir_bundle.build(assessment, context)
        fhir_bundle.check(document, assessment, context)
        entries = json.loads(document.content)["entry"]
        (asked,) = (one["request"] for one in entries if "Imaging" in one["request"]["url"])
        assert asked["method"] == method
        taken_back = json.loads(retraction.build(document, "Wrong", context).content)["entry"]
        (undone,) = (one["request"] for one in taken_back if "Imaging" in one["request"]["url"])
        assert undone["ifNoneExist"].startswith("identifier=urn:dicom:uid|")


def test_patient_orders_and_times_are_the_images(tmp_path: Path) -> None:
    order, qualifiers = Dataset(), Dataset()
    order.AccessionNumber = "A7"
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = "1.2.3", "ISO"
    bundle = built(
        dx(
            tmp_path, RequestAttributesSequence=[order], PatientID="Ü 1",
            SpecificCharacterSet="ISO_IR 192", StudyDate="20260102", StudyTime="070809.5",
            TimezoneOffsetFromUTC="-0330", IssuerOfPatientID="CLINIC",
            IssuerOfPatientIDQualifiersSequence=[qualifiers],
        )
    )  # fmt: skip
    (report,), (study,) = of(bundle, "DiagnosticReport"), of(bundle, "ImagingStudy")
    assert report["subject"] == study["subject"]
    assert report["subject"]["identifier"]["system"] == "urn:oid:1.2.3"
    assert report["subject"]["identifier"]["value"] == "Ü 1"
    assert report["basedOn"][0]["identifier"]["value"] == "A7"
    assert report["effectiveDateTime"] == study["started"] == "2026-01-02T07:08:09-03:30"


@pytest.mark.parametrize(
    ("date", "time", "offset", "expected"),
    [
        ("20260102", "0708", "", "2026-01-02"),
        ("20261332", "0708", "", None),
        ("", "", "+0100", None),
    ],
)
def test_a_time_without_its_zone_is_a_day_and_an_illegal_one_is_left_out(
    date: str, time: str, offset: str, expected: str | None, tmp_path: Path
) -> None:
    given = {"StudyDate": date, "StudyTime": time, "TimezoneOffsetFromUTC": offset}
    (report,) = of(built(dx(tmp_path, **given)), "DiagnosticReport")
    assert report.get("effectiveDateTime") == expected


def test_the_narrative_is_escaped(tmp_path: Path) -> None:
    assessment = dx(tmp_path)
    decision = replace(assessment.decision, sentence="<script>a & b</script>")
    bundle = built(replace(assessment, decision=decision))
    div = of(bundle, "DiagnosticReport")[0]["text"]["div"]
    assert "&lt;script&gt;a &amp; b&lt;/script&gt;" in div
    assert "<script" not in div
