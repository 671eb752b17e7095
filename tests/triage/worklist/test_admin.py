"""The pages that run an installation: what they show, and that every act asks first."""

import re

import pytest
from sqlalchemy import select

from db.engine import Database, now
from db.states import StudyState
from db.tables import AuditRow, OutboxRow, StudyRow, TransitionRow, UserRow
from tests.triage.worklist.builders import add_report, add_result, add_study
from tests.triage.worklist.client import NAME, Client
from tests.triage.worklist.conftest import audited
from triage.worklist.context import DISCLAIMER

PAGES = (
    "/admin", "/admin/failures", "/admin/destinations", "/admin/detectors", "/admin/users",
    "/admin/health",
)  # fmt: skip


def posted(client: Client, path: str, **form: str) -> tuple[int, str]:
    """Send a form with the session's token; gives the status and the page or where it leads."""
    token = client.hidden("/admin", "csrf_token")
    answer = client.post(path, {"csrf_token": token, **form})
    return answer.status_code, answer.headers.get("location", answer.text)


def add_failed(rows: Database, reason: str | None = "pixel-data") -> int:
    """Add a study that failed when it was to be analysed."""
    with rows.begin() as session:
        study = add_study(session, "failed", reason_code=reason, reason_detail="No decoder")
        session.add(
            TransitionRow(
                study_id=study.id, old=StudyState.READY, new=StudyState.FAILED,
                reason=reason or "", actor="worker", at=now(session),
            )
        )  # fmt: skip
        return study.id


def state_of(rows: Database, study: int) -> str:
    with rows.reading() as session:
        return session.get_one(StudyRow, study).state


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_is_audited_and_says_the_intended_use(
    client: Client, rows: Database, path: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert DISCLAIMER in answer.text
    assert [row.actor for row in audited(rows, "admin.seen")] == [NAME]


def test_studies_are_counted_by_state_and_age(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        for minutes in (1.0, 2.0, 30.0, 60.0 * 24 * 30):
            add_study(session, minutes=minutes)
        add_study(session, "pending", minutes=100.0)
    cells = re.findall(r"<td class=\"number\">(.*?)</td>", client.get("/admin").text)
    delivered = cells[3 * 7 : 4 * 7]
    assert delivered == ["2", "1", "\u2013", "\u2013", "\u2013", "1", "<strong>4</strong>"]
    assert 'href="/studies?list=overdue">1</a>' in client.get("/admin").text


def test_a_failed_study_is_tried_again_only_after_a_yes(client: Client, rows: Database) -> None:
    study = add_failed(rows)
    assert "Pixel data could not be decoded" in client.get("/admin/failures").text
    path = f"/admin/failures/{study}/retry"
    status, asked = posted(client, path)
    assert (status, state_of(rows, study)) == (200, "failed")
    assert f"Try study {study} again?" in asked
    assert 'name="sure" value="yes"' in asked
    status, there = posted(client, path, sure="yes")
    assert (status, there) == (303, "/admin/failures?done=retry")
    assert state_of(rows, study) == "ready"
    [row] = audited(rows, "study.retry")
    assert (row.actor, row.actor_role, row.network_address) == (
        NAME, "admin radiologist", "10.0.0.7",
    )  # fmt: skip
    assert posted(client, path, sure="yes")[1] == "/admin/failures?done=nothing"


def test_all_of_one_reason_are_tried_again_and_no_others(client: Client, rows: Database) -> None:
    same = [add_failed(rows) for _ in range(3)]
    other = add_failed(rows, "crashed")
    status, asked = posted(client, "/admin/failures/retry", reason="pixel-data")
    assert status == 200
    assert 'name="reason" value="pixel-data"' in asked
    assert posted(client, "/admin/failures/retry", reason="pixel-data", sure="yes")[0] == 303
    assert {state_of(rows, one) for one in same} == {"ready"}
    assert state_of(rows, other) == "failed"


def test_what_failed_without_a_reason_is_one_group_and_is_tried_again_by_it(
    client: Client, rows: Database
) -> None:
    studies = [add_failed(rows, reason) for reason in (None, "internal", "")]
    other = add_failed(rows)
    page = client.get("/admin/failures").text
    assert page.count('<small class="code">internal</small>') == 1
    assert re.search(r'internal</small></th>\s*<td class="number">3</td>', page)
    sent = posted(client, "/admin/failures/retry", reason="internal", sure="yes")
    assert sent == (303, "/admin/failures?done=retry")
    assert {state_of(rows, one) for one in studies} == {StudyState.READY}
    assert state_of(rows, other) == StudyState.FAILED


def test_a_form_without_the_session_s_token_changes_nothing(client: Client, rows: Database) -> None:
    study = add_failed(rows)
    answer = client.post(f"/admin/failures/{study}/retry", {"sure": "yes"})
    assert (answer.status_code, state_of(rows, study)) == (403, "failed")


def test_what_is_stuck_at_a_destination_is_sent_again(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        study = add_study(session)
        at = now(session)
        session.add_all(
            add_report(study, at, state=state, destination=to)
            for state, to in (("refused", "pacs"), ("sent", "pacs"), ("gave-up", "other"))
        )
    page = client.get("/admin/destinations").text
    assert "no longer in site.yaml" in page
    assert posted(client, "/admin/destinations/resend", name="pacs")[0] == 200
    there = posted(client, "/admin/destinations/resend", name="pacs", sure="yes")[1]
    assert there == "/admin/destinations?done=resend"
    with rows.reading() as session:
        states = session.execute(
            select(OutboxRow.destination, OutboxRow.state).order_by(OutboxRow.id)
        ).all()
    assert [tuple(one) for one in states] == [
        ("pacs", "queued"), ("pacs", "sent"), ("other", "gave-up"),
    ]  # fmt: skip
    assert len(audited(rows, "report.resend")) == 1
    nothing = posted(client, "/admin/destinations/resend", name="pacs", sure="yes")[1]
    assert nothing == "/admin/destinations?done=nothing"


def test_the_detectors_page_shows_hashes_and_flags_a_day(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        for _ in range(56):
            study = add_study(session)
            add_result(session, study, stratum="DX/CHEST/adult", p_value=0.01)
    page = client.get("/admin/detectors").text
    assert "calibrated 2026-11-21" in page
    assert "the last study was read by" in page  # another artifact than the installed one
    assert "too few to tell" in page
    row = page[page.index("<small>DX/CHEST/adult</small>") :]
    numbers = re.findall(r'<td class="number"[^>]*>(.*?)</td>', row[: row.index("</tbody>")])
    assert numbers[:2] == ["62", "2.0"]
    at_two_percent = numbers[2:][2 * 5 : 3 * 5]
    assert at_two_percent[0] == "0.02"
    assert at_two_percent[2:] == ["1.59 %", "0.03", "2.00"]


def test_an_account_is_made_changed_ended_and_let_in_again(client: Client, rows: Database) -> None:
    form = {"name": "new.reader", "password": "a long password", "roles": "radiologist"}
    assert posted(client, "/admin/users", **form)[0] == 400
    assert posted(client, "/admin/users", **form, sure="yes")[1] == "/admin/users?done=made"
    again = posted(client, "/admin/users", **form, sure="yes")[1]
    assert again == "/admin/users?problem=refused"
    assert "new.reader" in client.get(again).text
    roles = {"name": "new.reader", "roles": "technologist"}
    assert "gets the roles technologist" in posted(client, "/admin/users/roles", **roles)[1]
    assert role_of(rows) == "radiologist"
    assert posted(client, "/admin/users/roles", **roles, sure="yes")[0] == 303
    assert role_of(rows) == "technologist"
    for act, ended, told in (
        ("disable", True, "its sessions ended"), ("enable", False, "may sign in again"),
        ("unlock", False, "wrong passwords are forgotten"),
    ):  # fmt: skip
        said = {"name": "new.reader", "act": act}
        assert "new.reader" in posted(client, "/admin/users/access", **said)[1]
        status, there = posted(client, "/admin/users/access", **said, sure="yes")
        assert status == 303
        assert told in client.get(there).text
        with rows.reading() as session:
            user = session.scalars(select(UserRow).where(UserRow.name == "new.reader")).one()
            assert user.disabled is ended
    assert posted(client, "/admin/users/access", name="new.reader", act="eat")[0] == 400


def role_of(rows: Database) -> str:
    with rows.reading() as session:
        return session.scalars(select(UserRow.role).where(UserRow.name == "new.reader")).one()


def test_the_last_administrator_keeps_the_role(client: Client, rows: Database) -> None:
    there = posted(client, "/admin/users/access", name=NAME, act="disable", sure="yes")[1]
    assert there == "/admin/users?problem=refused"
    assert "no administrator would be left" in client.get(there).text
    with rows.reading() as session:
        assert not session.scalars(select(UserRow)).one().disabled


def test_words_in_the_address_are_not_shown(client: Client) -> None:
    for path in ("/admin/failures?done=", "/admin/users?problem=", "/admin/destinations?done="):
        assert "EVIL" not in client.get(f"{path}EVIL").text


@pytest.mark.slow
def test_the_installation_is_examined_from_its_page(client: Client, rows: Database) -> None:
    assert "Free on the spool" in client.get("/admin/health").text
    assert "Examine the installation?" in posted(client, "/admin/health")[1]
    status, page = posted(client, "/admin/health", sure="yes")
    assert status == 200
    assert "destinations" in page
    assert "holds" in page
    [row] = audited(rows, "installation.examined")
    assert row.outcome == 4
    with rows.reading() as session:
        assert session.scalars(select(AuditRow).where(AuditRow.actor == NAME)).all()
