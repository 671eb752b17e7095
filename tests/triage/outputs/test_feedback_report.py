"""A reader's report: valid, under the findings' own tracking identifiers, the same twice."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementReport, srread
from pydicom.dataset import Dataset

from tests.triage.outputs import studies
from tests.triage.outputs.test_structured_report import complaints, dump
from triage.errors import Broken
from triage.finding import Document
from triage.outputs import feedback_report, structured_report
from triage.outputs.assessed import REASONS, Verdict, Word, tracked, tracking_uid
from triage.outputs.context import DISCLAIMER, RESEARCH_BANNER, Predecessor
from triage.outputs.feedback_report import Reader

READER = Reader("dr.reader", datetime(2026, 5, 4, 9, 30, tzinfo=UTC), 7)
SOURCES = ("CT_small.dcm", "MR_small.dcm")


@pytest.fixture(scope="module", params=SOURCES)
def report(request: pytest.FixtureRequest) -> Document:
    """The algorithm's own."""
    assessment = studies.assessed([studies.bundled(request.param)])
    return structured_report.build(assessment, studies.context())


def words(report: Document) -> list[Word]:
    [finding] = tracked(report)
    return [
        Word(Verdict.DISAGREE, "artifact", finding.tracking_uid),
        Word(Verdict.MISSED, "subtle"),
    ]


def items(document: Document) -> list[Dataset]:
    waiting: list[Dataset] = [pydicom.dcmread(BytesIO(document.content))]
    found = []
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting.extend(one.get("ContentSequence", ()))
    return found


def meanings(document: Document) -> set[str]:
    return {
        str(item.ConceptCodeSequence[0].CodeMeaning)
        for item in items(document)
        if "ConceptCodeSequence" in item
    }


def test_it_is_valid_and_says_what_the_reader_said(report: Document, tmp_path: Path) -> None:
    document = feedback_report.build(words(report), READER, report, studies.context())
    assert complaints(document.content, tmp_path) == []
    text = dump(document.content, tmp_path)
    for told in ("Reader disagrees", "Artifact or technique", "A finding was missed", "dr.reader"):
        assert told in text
    assert DISCLAIMER.split(".", maxsplit=1)[0] in text


def test_it_names_the_finding_by_the_algorithm_s_own_tracking_identifiers(
    report: Document,
) -> None:
    document = feedback_report.build(words(report), READER, report, studies.context())
    assert [one.tracking_uid for one in tracked(document)] == [
        one.tracking_uid for one in tracked(report)
    ]
    made = srread(BytesIO(document.content))
    assert isinstance(made, Comprehensive3DSR)
    assert [str(uid) for _, _, uid, _ in made.get_evidence()] == [report.sop_instance_uid]
    content = made.content
    assert isinstance(content, MeasurementReport)
    assert len(content.get_image_measurement_groups()) == 1


def test_patient_and_study_are_the_algorithm_s_report_s(report: Document) -> None:
    document = feedback_report.build(words(report), READER, report, studies.context())
    made, source = (pydicom.dcmread(BytesIO(one.content)) for one in (document, report))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
        assert made.get(keyword) == source.get(keyword)
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert (made.VerificationFlag, made.CompletionFlag) == ("UNVERIFIED", "COMPLETE")


def test_the_same_words_are_the_same_bytes(report: Document) -> None:
    one, two = (
        feedback_report.build(words(report), READER, report, studies.context()) for _ in range(2)
    )
    assert one == two
    other = replace(READER, number=8)
    later = feedback_report.build(words(report), other, report, studies.context())
    assert later.sop_instance_uid != one.sop_instance_uid
    context = studies.context()
    uid = feedback_report.uid_of(context, report.sop_instance_uid, other)
    assert uid == later.sop_instance_uid


def test_a_changed_mind_names_its_predecessor(report: Document, tmp_path: Path) -> None:
    context = studies.context()
    former = feedback_report.build(words(report), READER, report, context)
    [finding] = tracked(report)
    changed = [Word(Verdict.WITHDRAWN, "", finding.tracking_uid)]
    document = feedback_report.build(
        changed, replace(READER, number=9), report, context, Predecessor.of(former)
    )
    assert complaints(document.content, tmp_path) == []
    made = pydicom.dcmread(BytesIO(document.content))
    [study] = made.PredecessorDocumentsSequence
    referenced = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert referenced.ReferencedSOPInstanceUID == former.sop_instance_uid
    assert "Reader withdrew the assessment" in meanings(document)


def test_every_verdict_and_reason_fits_its_code(report: Document, tmp_path: Path) -> None:
    [finding] = tracked(report)
    said = [Word(Verdict.UNSURE, reason) for reason in REASONS]
    said += [Word(verdict, "", finding.tracking_uid) for verdict in (Verdict.AGREE,)]
    document = feedback_report.build(said, READER, report, studies.context())
    assert complaints(document.content, tmp_path) == []
    assert set(REASONS.values()) <= meanings(document)


def test_research_is_said_to_be_research(tmp_path: Path) -> None:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    context = studies.context("research")
    report = structured_report.build(assessment, context)
    document = feedback_report.build(words(report), READER, report, context)
    assert RESEARCH_BANNER in {str(item.get("TextValue")) for item in items(document)}


@pytest.mark.parametrize("name", ["山田^太郎", "a" * 64, "o'hara = x"])
def test_any_account_s_name_makes_a_legal_person(
    report: Document, name: str, tmp_path: Path
) -> None:
    reader = replace(READER, name=name)
    document = feedback_report.build(words(report), reader, report, studies.context())
    assert complaints(document.content, tmp_path) == []


def test_a_word_on_a_finding_that_is_not_there_makes_no_report(report: Document) -> None:
    with pytest.raises(Broken, match="does not hold"):
        feedback_report.build(
            [Word(Verdict.AGREE, "", "2.25.404")], READER, report, studies.context()
        )


def test_a_document_that_does_not_fit_is_stopped(report: Document) -> None:
    document = feedback_report.build(words(report), READER, report, studies.context())
    with pytest.raises(Broken, match="other findings"):
        feedback_report.check(document, [Word(Verdict.MISSED)], report)
    other = replace(report, sop_instance_uid="2.25.1")
    with pytest.raises(Broken, match="other evidence"):
        feedback_report.check(document, words(report), other)


class TestTracked:
    def test_a_finding_is_found_by_its_detector_and_series(self, report: Document) -> None:
        found = tracked(report)
        [one] = found
        assert one.tracking_uid.startswith("2.25.")
        assert tracking_uid(found, one.algorithm, one.series_instance_uid) == one.tracking_uid
        assert tracking_uid(found, "another", one.series_instance_uid) == ""

    def test_two_series_of_one_detector_are_told_apart(self) -> None:
        assessment = studies.assessed([studies.bundled("CT_small.dcm")])
        twice = replace(assessment, detections=assessment.detections)
        report = structured_report.build(twice, studies.context())
        [one] = tracked(report)
        other = replace(one, tracking_uid="2.25.2", series_instance_uid="1.2.9")
        assert tracking_uid((one, other), one.algorithm, "1.2.9") == "2.25.2"
        assert tracking_uid((one, other), one.algorithm, "1.2.404") == ""
