"""A study in the PACS's own viewer: where it is, who is led there, what is written down."""

import pytest
from sqlalchemy import select

from db.engine import Database
from db.tables import StudyRow, UserRow
from tests.triage.worklist import imaged
from tests.triage.worklist.builders import add_study, shown_by
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.settings import Settings

PACS = "https://pacs.example/show"


@pytest.fixture
def settings(settings: Settings, asked: str) -> Settings:
    return shown_by(settings, PACS + asked)


@pytest.fixture
def asked() -> str:
    return "?studyUID={StudyInstanceUID}&patient={PatientID}"


def test_a_reader_is_led_there_and_has_opened_it(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        study = add_study(session, patient_id="P 1")
    answer = client.get(f"/studies/{study.id}/pacs")
    assert answer.status_code == 303
    address = f"{PACS}?studyUID={study.study_instance_uid}&patient=P%201"
    assert answer.headers["location"] == address
    (entry,) = audited(rows, "viewer.pacs")
    assert (entry.event_id, entry.object_id) == ("110103", study.study_instance_uid)
    with rows.reading() as session:
        assert session.get_one(StudyRow, study.id).opened_at is not None
    assert "opened it in the PACS&#39;s viewer" in client.get(f"/studies/{study.id}").text


@pytest.mark.parametrize(("role", "status"), [("technologist", 303), ("admin", 403)])
def test_who_sees_images_is_led_there_and_nobody_else(
    client: Client, rows: Database, role: str, status: int
) -> None:
    with rows.begin() as session:
        study = add_study(session)
        session.scalars(select(UserRow)).one().role = role
    assert client.get(f"/studies/{study.id}/pacs").status_code == status
    assert ("/pacs" in client.get(f"/studies/{study.id}").text) == (status == 303)
    with rows.reading() as session:
        assert session.get_one(StudyRow, study.id).opened_at is None  # neither of them reads


@pytest.mark.parametrize("asked", ["?a={AccessionNumber}"])
def test_what_the_pacs_could_not_find_is_said_and_written_nowhere(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_study(session, accession_number="")
    answer = client.get(f"/studies/{study.id}/pacs")
    assert answer.status_code == 404
    assert "accession number" in answer.text
    assert client.get("/studies/4711/pacs").status_code == 404
    assert not audited(rows, "viewer.pacs")


class TestWithout:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return shown_by(settings, "")

    def test_where_a_site_names_no_viewer_it_is_offered_nowhere(
        self, client: Client, rows: Database, settings: Settings
    ) -> None:
        study = imaged.receive(settings, rows, imaged.ct(1))
        for path in ("/studies", f"/studies/{study}", f"/studies/{study}/view"):
            text = client.get(path).text
            assert "pacs" not in text.lower().replace("back to the pacs", ""), path
        answer = client.get(f"/studies/{study}/pacs")
        assert answer.status_code == 404
        assert "reading.pacs_viewer" in answer.text
