"""The evidence page: what it holds, for whom, and what it looks like on paper."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit
from db.engine import Database
from db.tables import AuditRow, DetectionRow, StudyRow, UserRow
from tests.triage.worklist.builders import add_result, add_study
from tests.triage.worklist.client import NAME, Client
from tests.triage.worklist.conftest import audited
from triage.settings import Settings
from triage.worklist.app import create_app
from triage.worklist.context import DISCLAIMER, RESEARCH


def add_finding(session: Session) -> StudyRow:
    study = add_study(
        session, "prioritised", priority=2, priority_name="high", accession_number="ACC-7",
        sentence="At least as unusual as 493 of 500 healthy studies.",
    )  # fmt: skip
    add_result(session, study)
    return study


def test_it_says_what_was_said_by_what_and_when(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        study = add_finding(session)
        said = session.scalars(select(DetectionRow)).one()
        audit.seal(session)
    text = client.get(f"/studies/{study.id}/evidence").text
    for words in (
        DISCLAIMER, "DOE, JANE", "ACC-7", study.study_instance_uid, study.sentence,
        f"{said.detector} {said.version}", said.weights_sha256, said.artifact_sha256,
        said.calibration_sha256, "p = 0.0132", "high: p &le; 0.02", "Mode at the decision",
        "quiet period 5 s", f"by {NAME}", "evidence.seen",
    ):  # fmt: skip
        assert words in text, words
    [row] = audited(rows, "evidence.seen")
    assert (row.object_id, row.actor) == (study.study_instance_uid, NAME)
    assert client.get("/studies/999/evidence").status_code == 404


def test_in_triage_mode_it_holds_no_image(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        study = add_finding(session)
    text = client.get(f"/studies/{study.id}/evidence").text
    assert "preview.png" not in text
    assert RESEARCH not in text


def test_in_research_mode_it_holds_the_key_image_for_who_may_see_one(
    settings: Settings, client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_finding(session)
    use = settings.site.intended_use.model_copy(update={"mode": "research"})
    site = settings.site.model_copy(update={"intended_use": use})
    app = create_app(settings.model_copy(update={"site": site}))
    try:
        with Client(app) as other:
            other.cookies.update(client.cookies)
            text = other.get(f"/studies/{study.id}/evidence").text
            assert f"/studies/{study.id}/preview.png" in text
            assert RESEARCH in text
            as_role(rows, "admin")
            assert "preview.png" not in other.get(f"/studies/{study.id}/evidence").text
    finally:
        app.state.previews.close()
        app.state.context.database.dispose()


def as_role(rows: Database, role: str) -> None:
    with rows.begin() as session:
        session.scalars(select(UserRow)).one().role = role


def test_a_reader_sees_their_own_words_and_an_admin_everybody_s(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_finding(session)
        number = session.scalars(select(DetectionRow.id)).one()
    form = {"csrf_token": client.csrf(), "verdict": "disagree", "reason": "variant"}
    client.post(f"/studies/{study.id}/feedback", form | {"finding": str(number)})
    path = f"/studies/{study.id}/evidence"
    assert "Disagree, of chest-radiograph-memae: Anatomical variant" in client.get(path).text
    with rows.begin() as session:
        session.scalars(select(UserRow)).one().name = "another"
    as_role(rows, "admin")
    assert f"Anatomical variant &ndash; {NAME}" in client.get(path).text
    assert f", {NAME}" in client.get(path).text


def test_the_study_s_page_shows_its_audit_trail_to_an_admin_alone(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_finding(session)
        audit.seal(session)
    page = f"/studies/{study.id}"
    client.get(page)
    text = client.get(page).text
    assert "Audit trail" in text
    assert "opened the study&#39;s page" in text
    assert f'href="{page}/evidence"' in text
    as_role(rows, "radiologist")
    assert "Audit trail" not in client.get(page).text
    with rows.reading() as session:
        seen = select(AuditRow).where(AuditRow.object_id == study.study_instance_uid)
        assert len(session.scalars(seen).all()) == 3
