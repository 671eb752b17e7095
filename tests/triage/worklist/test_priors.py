"""A study's priors on its page: named as such, and no study of the list."""

from db.engine import Database
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from triage.prior_sources import PriorSource
from triage.priors import keep
from triage.priors.choose import Older

SOURCE = PriorSource.model_validate(
    {"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 104}
)


def test_priors_stand_on_the_page_of_their_study_and_in_no_list(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_study(session)
        session.flush()
        present = keep.load(session, study.id)
        older = Older("1.2.3.4.5", "20230101", "", present.patient)
        prior = keep.begin(session, present, older, SOURCE, ())
        keep.finish(session, prior, 1)
        number = study.id
    page = client.get(f"/studies/{number}").text
    assert "for comparison only" in page
    assert "1.2.3.4.5" in page
    assert "2023-01-01" in page
    assert "1.2.3.4.5" not in client.get("/studies").text
    assert len(client.get("/api/studies").json()["studies"]) == 1


def test_a_study_without_priors_says_nothing_of_them(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        number = add_study(session).id
    assert "for comparison only" not in client.get(f"/studies/{number}").text
