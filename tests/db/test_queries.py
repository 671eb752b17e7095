import pytest
from sqlalchemy.exc import InvalidRequestError

from db import queries
from db.engine import Database, now
from db.tables import QuarantineRow
from tests.triage.worklist.builders import (
    SHA,
    add_instance,
    add_reading,
    add_report,
    add_result,
    add_study,
    add_warning,
    detection,
)


def test_reports_are_those_of_the_current_generation_without_their_bytes(
    sqlite_database: Database,
) -> None:
    with sqlite_database.begin() as session:
        study = add_study(session, generation=2)
        old = add_report(study, now(session), generation=1)
        new = add_report(study, now(session))
        session.add_all([old, new])
        session.flush()
        number, new_id = study.id, new.id
    with sqlite_database.reading() as session:
        found = queries.reports(session, [number])
        (report,) = found[number]
        assert report.id == new_id
        with pytest.raises(InvalidRequestError):
            _ = report.content


def test_a_detail_holds_everything_of_its_study_and_nothing_of_another(
    sqlite_database: Database,
) -> None:
    with sqlite_database.begin() as session:
        study, other = add_study(session), add_study(session)
        add_result(session, study)
        add_result(session, other)
        add_instance(session, study)
        add_instance(session, study, series_instance_uid="2.25.7")
        found = queries.detail(session, study.id)
        nothing = queries.detail(session, 10**6)
    assert found is not None
    assert nothing is None
    assert found.series_count == 2
    for rows in (found.generations, found.decisions, found.detections, found.reports):
        assert [row.study_id for row in rows] == [study.id]


def test_the_decisive_detection_is_the_current_generations_strongest(
    sqlite_database: Database,
) -> None:
    with sqlite_database.begin() as session:
        study = add_study(session, generation=2)
        add_result(session, study, generation=1, p_value=0.001, detector="a")
        for name, p_value, score in (("b", 0.2, 9.0), ("c", 0.1, 1.0), ("d", 0.1, 2.0)):
            session.add(detection(study, detector=name, p_value=p_value, score=score))
        session.flush()
        found = queries.detail(session, study.id)
    assert found is not None
    assert found.decisive is not None
    assert found.decisive.detector == "d"


def test_warnings_are_those_of_the_current_generation(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        study, other = add_study(session, generation=2), add_study(session)
        add_warning(session, study, generation=1)
        latest = add_warning(session, study)
        found = queries.warnings(session, [study.id, other.id])
        assert found == {study.id: (latest,)}


def test_readings_are_grouped_by_what_was_detected(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        study, other = add_study(session), add_study(session)
        first, second = add_result(session, study), add_result(session, other)
        score = add_reading(session, first, kind="score", word="centre", value=3.0)
        organ = add_reading(session, first)
        add_reading(session, second)
        assert queries.readings(session, study.id) == {first.id: (score, organ)}


class TestThePreview:
    def test_is_the_middle_of_the_series_where_no_location_may_be_shown(
        self, sqlite_database: Database
    ) -> None:
        with sqlite_database.begin() as session:
            study = add_study(session)
            images = [add_instance(session, study) for _ in range(5)]
            add_result(session, study, key_sop_instance_uid=images[4].sop_instance_uid)
            shown = queries.preview(session, study, may_point=False)
            assert shown is images[2]

    def test_is_the_decisive_instance_in_research(self, sqlite_database: Database) -> None:
        with sqlite_database.begin() as session:
            study = add_study(session)
            images = [add_instance(session, study) for _ in range(5)]
            add_result(session, study, key_sop_instance_uid=images[4].sop_instance_uid)
            assert queries.preview(session, study, may_point=True) is images[4]

    def test_is_of_the_first_series_where_nothing_was_analysed(
        self, sqlite_database: Database
    ) -> None:
        with sqlite_database.begin() as session:
            study = add_study(session, "not analysed")
            add_instance(session, study, modality="SR")
            image = add_instance(session, study)
            add_instance(session, study, series_instance_uid="2.25.9")
            assert queries.preview(session, study, may_point=False) is image

    def test_is_none_without_an_image(self, sqlite_database: Database) -> None:
        with sqlite_database.begin() as session:
            study = add_study(session, "not analysed")
            add_instance(session, study, modality="KO")
            assert queries.preview(session, study, may_point=False) is None


def test_the_quarantine_is_listed_latest_first(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        for number in range(3):
            session.add(
                QuarantineRow(
                    sha256=f"{number}{SHA[1:]}", size_bytes=1, received_at=now(session),
                    reason_code="unparsable",
                )
            )  # fmt: skip
            session.flush()
        found = queries.quarantined(session, limit=2)
    assert [row.sha256[0] for row in found] == ["2", "1"]
