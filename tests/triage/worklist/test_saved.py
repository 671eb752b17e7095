import pytest
from sqlalchemy import update

from db.engine import Database
from db.saved_lists import SavedListRow
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage.settings import Settings

QUERY = "?list=unread&modality=CT&days=7"


def keep(client: Client, name: str, query: str = QUERY) -> int:
    form = {"name": name, "csrf_token": client.csrf()}
    return client.post(f"/studies/saved{query}", form).status_code


def test_a_list_is_kept_under_a_name_and_taken_away(client: Client, rows: Database) -> None:
    assert keep(client, "  CT,  this week ") == 303
    page = client.get(f"/studies{QUERY}").text
    assert ">CT, this week</a>" in page
    assert 'action="/studies/saved/1/remove"' in page
    assert keep(client, "CT, this week", "?list=held") == 303  # the same name takes the new list
    assert 'href="/studies?list=held" class="tab is-saved"' in client.get("/studies").text
    form = {"csrf_token": client.csrf()}
    assert client.post("/studies/saved/1/remove", form).status_code == 303
    assert "is-saved" not in client.get("/studies").text
    assert client.post("/studies/saved/1/remove", form).status_code == 404
    [entry] = audited(rows, "worklist.list-removed")
    assert "week" not in entry.detail


@pytest.mark.parametrize("name", ["", "   ", "a\x07b"])
def test_a_name_that_nobody_could_read_is_refused(client: Client, name: str) -> None:
    assert keep(client, name) in {400, 422}


def test_no_more_are_kept_than_the_site_allows(client: Client, settings: Settings) -> None:
    most = settings.site.reading.max_saved_lists
    assert [keep(client, f"list {number}") for number in range(most)] == [303] * most
    assert keep(client, "one more") == 400


def test_nobody_touches_the_list_of_another(client: Client, rows: Database) -> None:
    from db.engine import now
    from db.tables import UserRow

    keep(client, "mine")
    with rows.begin() as session:
        user = UserRow(name="else", password_hash="", role="admin", created_at=now(session))
        session.add(user)
        session.flush()
        session.execute(update(SavedListRow).values(user_id=user.id))
    assert "is-saved" not in client.get("/studies").text
    assert client.post("/studies/saved/1/remove", {"csrf_token": client.csrf()}).status_code == 404
