"""Priors from a real PACS: by C-GET and by C-MOVE, of the right patient, and never triaged."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from db import lifecycle
from db.engine import now
from db.states import StudyState
from db.tables import StudyRow
from tests.servers import Orthanc, free_port
from tests.triage.priors.world import PRIOR_TITLE, World, files, hold, radiograph, source
from triage.priors import keep
from triage.priors.choose import Patient
from triage.receive.listener import Listener
from triage.spool import digest


def test_the_last_comparable_study_is_fetched_by_c_get_and_is_not_triaged(
    world: World, empty_pacs: Orthanc
) -> None:
    older = [radiograph("old", "20230101"), radiograph("old", "20230101", instance=2)]
    oldest, foot = radiograph("oldest", "20200101"), radiograph("foot", "20231231", part="FOOT")
    later, stranger = radiograph("later", "20250101"), radiograph("x", "20231001", patient="P2")
    hold(empty_pacs, *older, oldest, foot, later, stranger)
    here = world.with_priors(sources=[source(empty_pacs)])
    study = here.present(radiograph("now", "20240101"))
    assert here.search(study) == "kept"
    [prior] = here.priors(study)
    assert prior.study_instance_uid == older[0].StudyInstanceUID
    assert (prior.state, prior.method, prior.source) == ("complete", "get", "pacs")
    assert (prior.instance_count, prior.expected_count) == (2, 2)
    rows = here.instances(prior)
    assert {row.sop_instance_uid for row in rows} == {one.SOPInstanceUID for one in older}
    assert {row.sha256 for row in rows} == {digest(path) for path in files(here.spool.root)}
    assert not here.received() & {one.SOPInstanceUID for one in older}
    assert here.spool.incoming(10) == []
    [asked] = here.audited("prior.asked")
    [got] = here.audited("prior.retrieved")
    assert asked.object_id == got.object_id != prior.study_instance_uid
    assert "Canary" not in asked.detail + got.detail
    with here.database.reading() as session:
        assert session.scalar(select(StudyRow.generation).where(StudyRow.id == study)) == 0


def test_what_is_fetched_by_c_move_arrives_apart_and_is_not_triaged(
    world: World, empty_pacs: Orthanc, listener: Listener
) -> None:
    older = [radiograph("old", "20230101", instance=number) for number in (1, 2)]
    hold(empty_pacs, *older)
    port = listener.port
    empty_pacs._request(
        "PUT", "/modalities/us",
        f'{{"AET": "{PRIOR_TITLE}", "Host": "127.0.0.1", "Port": {port}}}'.encode(),
    )  # fmt: skip
    here = world.with_priors(sources=[source(empty_pacs, method="move")])
    study = here.present(radiograph("now", "20240101"))
    assert here.search(study) == "kept"
    [prior] = here.priors(study)
    assert (prior.state, prior.method, prior.instance_count) == ("complete", "move", 2)
    assert len(files(here.spool.root)) == 2
    assert len(here.received()) == 1
    assert here.spool.incoming(10) == []


@pytest.mark.parametrize("method", ["get", "move"])
def test_a_wrong_patients_prior_is_discarded_as_a_whole_and_the_next_is_tried(
    world: World, empty_pacs: Orthanc, listener: Listener, method: str
) -> None:  # fmt: skip
    """The PACS files a stranger's images under the patient: only the images tell."""
    wrong = [radiograph("wrong", "20230601", birth="19700101"),
             radiograph("wrong", "20230601", birth="19810202", instance=2)]  # fmt: skip
    right = radiograph("right", "20220101")
    hold(empty_pacs, *wrong, right)
    empty_pacs._request(
        "PUT", "/modalities/us",
        f'{{"AET": "{PRIOR_TITLE}", "Host": "127.0.0.1", "Port": {listener.port}}}'.encode(),
    )  # fmt: skip
    here = world.with_priors(sources=[source(empty_pacs, method=method)])
    study = here.present(radiograph("now", "20240101"))
    assert here.search(study) == "kept"
    refused, kept = here.priors(study)
    assert (refused.state, refused.reason_code) == ("refused", "other-birth-date")
    assert here.instances(refused) == []
    assert {"prior.refused"} <= set(here.alerts()) <= {"prior.refused", "instance.quarantined"}
    assert [row.reason_code for row in here.quarantined()] == (
        ["prior-refused"] * 2 if method == "move" else []
    )
    assert (kept.state, kept.study_instance_uid) == ("complete", right.StudyInstanceUID)
    [path] = files(here.spool.root)
    assert digest(path) == here.instances(kept)[0].sha256


def test_a_source_that_is_away_is_tried_again_and_delays_nothing(world: World) -> None:
    away = {"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": free_port()}
    here = world.with_priors(sources=[away], max_tries=2, retry_s=0.01)
    study = here.present(radiograph("now", "20240101"))
    assert "no association" in here.search(study)
    row = here.search_row(study)
    assert (row.state, row.tries) == ("due", 1)
    here.lane().search(study)
    assert here.search_row(study).state == "given-up"


def test_a_budget_that_is_used_up_asks_nobody(world: World, empty_pacs: Orthanc) -> None:
    hold(empty_pacs, radiograph("old", "20230101"))
    budget = {"requests_per_hour": 1}
    here = world.with_priors(sources=[source(empty_pacs, budget=budget)])
    study = here.present(radiograph("now", "20240101"))
    assert "requests within the hour" in here.search(study)
    assert here.priors(study) == []
    small = world.with_priors(sources=[source(empty_pacs, name="s", budget={"bytes_per_day": 500})])
    assert small.search(study) not in {"kept", "none"}
    assert small.search_row(study).state == "due"
    [prior] = small.priors(study)
    assert (prior.state, prior.reason_code, prior.instance_count) == ("partial", "budget", 0)


def test_a_prior_that_we_hold_is_named_and_not_fetched(world: World, empty_pacs: Orthanc) -> None:
    here = world.with_priors(sources=[source(empty_pacs)])
    held = radiograph("held", "20230101")
    here.present(held)
    study = here.present(radiograph("now", "20240101"))
    assert here.search(study) == "here"
    [prior] = here.priors(study)
    assert (prior.state, prior.study_instance_uid) == ("here", held.StudyInstanceUID)
    assert files(here.spool.root) == []


@pytest.mark.parametrize(("patient", "birth"), [("", "19700101"), ("P1", "")])
def test_a_study_of_nobody_known_is_not_searched_for(
    world: World, empty_pacs: Orthanc, patient: str, birth: str
) -> None:
    here = world.with_priors(sources=[source(empty_pacs)])
    study = here.present(radiograph("now", "20240101", patient=patient, birth=birth))
    assert here.search(study) == "unknown-patient"
    assert here.audited("prior.asked") == []


def test_the_lane_takes_studies_once_they_are_complete(world: World, empty_pacs: Orthanc) -> None:
    hold(empty_pacs, radiograph("old", "20230101"))
    here = world.with_priors(sources=[source(empty_pacs)])
    study = here.present(radiograph("now", "20240101"))
    lane = here.lane()
    assert (lane.look(), lane.step()) == (0, 0)
    with here.database.begin() as session:
        row = session.get_one(StudyRow, study)
        lifecycle.move(
            session, row, StudyState.READY, reason="test", actor="tester", due_at=now(session)
        )
    assert (lane.look(), lane.step(), lane.look(), lane.step()) == (1, 1, 0, 0)
    assert here.search_row(study).found == "kept"


def test_priors_are_let_go_after_their_time(world: World, empty_pacs: Orthanc) -> None:
    hold(empty_pacs, radiograph("old", "20230101"))
    here = world.with_priors(sources=[source(empty_pacs)])
    study = here.present(radiograph("now", "20240101"))
    here.search(study)
    assert here.lane().clean() == 0
    with here.database.begin() as session:
        assert keep.forget(session, here.spool.root, now(session) + timedelta(days=1)) == 1
    assert files(here.spool.root) == []
    assert here.priors(study)[0].state == "forgotten"
    assert len(here.audited("prior.forgotten")) == 1


@pytest.mark.parametrize(
    ("other", "doubt"),
    [
        (Patient("P1", "A", "19700101"), ""),
        (Patient("P2", "A", "19700101"), "other-patient-id"),
        (Patient("P1", "B", "19700101"), "other-issuer"),
        (Patient("P1", "A", "19700102"), "other-birth-date"),
        (Patient("P1", "A", ""), "other-birth-date"),
    ],
)
def test_one_difference_is_a_doubt(other: Patient, doubt: str) -> None:
    assert Patient("P1", "A", "19700101").doubt(other, birth_date=True) == doubt
    nobody = Patient("", "", "")
    assert nobody.doubt(nobody, birth_date=False) == "other-patient-id"
    assert Patient("P1", "", "").doubt(Patient("P1", "", ""), birth_date=True) == "no-birth-date"
