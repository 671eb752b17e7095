"""How a run went, in rows: failures with their report, detectors that gave no result, maps."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from db.carried import CarriedRow
from db.delivery import CapabilityRow
from db.engine import Database, now
from db.lifecycle import advance
from db.runs import MapRow
from db.states import StudyState
from db.tables import OutboxRow, StudyRow
from tests.triage.outputs import studies
from tests.triage.record.test_record import claimed, closed, received
from triage import record
from triage.commands.study import describe
from triage.decide import failed
from triage.errors import Reason
from triage.finding import Assessment, Carried, Document, Outcome, Refusal
from triage.record.runs import load_refusals


def assessment(database: Database, number: int, root: Path) -> Assessment:
    with database.reading() as session:
        ref = record.load_generation(session, number, root)
    made = studies.assessed([ref.instances[0].path])
    return replace(made, study=replace(made.study, ref=ref))


def test_a_failed_study_keeps_its_report_and_gets_it_once(
    database: Database, tmp_path: Path
) -> None:
    number = received(database, tmp_path, 1)
    closed(database, number, tmp_path)
    found = assessment(database, number, tmp_path)
    lament = Assessment(found.study, (), failed(Reason("crashed")))
    documents = [("pacs", Document("structured_report", "1.2", "1.2.3", b"bytes"))]
    for _ in range(2):
        with database.begin() as session:
            record.save_failed(session, claimed(session, number), lament, documents)
        with database.begin() as session:
            study = session.get_one(StudyRow, number)
            assert (study.state, study.outcome) == (StudyState.FAILED, Outcome.FAILED)
            assert study.reason_code == "crashed"
            claim = claimed(session, number)
            advance(session, claim, StudyState.READY, reason="an admin's retry")
    with database.reading() as session:
        (row,) = session.scalars(select(OutboxRow))
        assert (row.destination, row.content) == ("pacs", b"bytes")
        (former,) = record.load_former_reports(session, number)
        assert former.sop_instance_uid == "1.2.3"


def test_who_gave_no_result_and_whose_map_it_is_are_kept(
    database: Database, tmp_path: Path
) -> None:
    number = received(database, tmp_path, 1)
    closed(database, number, tmp_path)
    found = assessment(database, number, tmp_path)
    carried = (Carried("1.2.9", 0.7, 0.02, (3, 4, 30, 40)), Carried("1.2.8", 0.6, 0.05))
    detections = tuple(
        replace(one, map_sha256="e" * 64, carried=carried) for one in found.detections
    )
    refusals = (Refusal("other", detections[0].series_instance_uid, Reason("uncalibrated")),)
    found = replace(found, detections=detections, refusals=refusals)
    with database.begin() as session:
        record.save_assessment(session, claimed(session, number), found, [], mode="research")
    with database.reading() as session:
        assert session.scalars(select(MapRow.sha256)).all() == ["e" * 64]
        (refusal,) = load_refusals(session, number, 1)
        first, second = session.scalars(select(CarriedRow).order_by(CarriedRow.place))
        assert (first.sop_instance_uid, first.p_value) == ("1.2.9", 0.02)
        assert (first.top_px, first.left_px, first.bottom_px, first.right_px) == (3, 4, 30, 40)
        assert (second.place, second.top_px) == (1, None)
    assert (refusal.detector, refusal.reason.code) == ("other", "uncalibrated")


def test_what_a_destination_takes_is_known_once_it_was_asked(database: Database) -> None:
    with database.begin() as session:
        for uid, accepted in (("1.2.1", True), ("1.2.2", False)):
            session.add(
                CapabilityRow(
                    destination="pacs", service="store", sop_class_uid=uid,
                    transfer_syntax_uid="1.2.840.10008.1.2.1", accepted=accepted,
                    checked_at=now(session),
                )
            )  # fmt: skip
    with database.reading() as session:
        assert record.load_accepted(session) == {"pacs": frozenset({"1.2.1"})}


@pytest.mark.parametrize(("mode", "shown"), [("research", 1), ("triage", 0)])
def test_what_carried_the_score_is_kept_and_shown_in_research_mode_alone(
    database: Database, tmp_path: Path, mode: str, shown: int
) -> None:
    number = received(database, tmp_path, 1)
    closed(database, number, tmp_path)
    found = assessment(database, number, tmp_path)
    carried = (Carried("1.2.9", 0.7, 0.02, (3, 4, 30, 40)),)
    detections = tuple(replace(one, carried=carried) for one in found.detections[:1])
    found = replace(found, detections=detections)
    with database.begin() as session:
        record.save_assessment(session, claimed(session, number), found, [], mode=mode)
    with database.reading() as session:
        assert len(session.scalars(select(CarriedRow)).all()) == 1
    assert len(describe(database, str(number))["carried"]) == shown
