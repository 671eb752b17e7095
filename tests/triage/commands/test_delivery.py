"""Dead letters in words, sending again by hand, taking back, and asking a destination."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from db.delivery import CapabilityRow
from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, OutboxRow
from tests.builders import dx
from tests.servers import free_port
from tests.triage.commands.cli import Answer, triage
from tests.triage.peers import REFUSED, Scripted, scripted
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE, REPORTED


@pytest.fixture
def script() -> Scripted:
    return Scripted([0x0122, 0x0000])


@pytest.fixture
def site(database: Database, tmp_path: Path, script: Scripted) -> Iterator[House]:
    """A site whose PACS refused the report of one study."""
    with (
        scripted(script) as pacs,
        house(database, tmp_path, pacs, reporting=REPORTED, routes=NOWHERE) as one,
    ):
        one.receive(dx())
        one.work()
        yield one


def run(site: House, *words: object) -> Answer:
    url = site.database.engine.url.render_as_string(hide_password=False)
    return triage(
        *words, "--json", TRIAGE__DATABASE__URL=url, TRIAGE_STATE=str(site.settings.state)
    )


def kinds(site: House) -> list[str]:
    return [row.event_type for row in site.rows(AuditRow)]


def test_a_dead_letter_is_told_in_words(site: House) -> None:
    [letter] = run(site, "queue", "dead").json
    assert (letter["state"], letter["status"]) == ("refused", "0x0122")
    assert "SOP class not supported" in letter["meaning"]
    assert "accept this SOP class" in letter["what to do"]


def test_what_a_pacs_no_longer_promises_is_a_dead_letter_too(site: House) -> None:
    with site.database.begin() as session:
        row = session.scalars(select(OutboxRow)).one()
        row.state, row.commitment, row.last_status = "sent", "overdue", 0
        row.last_error = "no commitment report came"
    [letter] = run(site, "queue", "dead").json
    assert letter["state"] == "sent, commitment overdue"
    assert letter["meaning"] == "no commitment report came"


def test_a_resend_sends_the_same_bytes_and_is_audited(site: House, script: Scripted) -> None:
    assert run(site, "queue", "resend", "1").json == {"resent": [1]}
    study = site.work()
    assert (study.state, study.reason_code) == (StudyState.DELIVERED, None)
    [row] = site.rows(OutboxRow)
    assert (row.state, row.attempts) == ("sent", 2)
    assert len(set(script.stored)) == 1
    assert run(site, "queue", "dead").json == []
    assert "report.resend" in kinds(site)


@pytest.mark.parametrize(
    ("words", "resent"),
    [(("--all-dead",), [1]), (("1", "--to", "pacs"), [1]), (("1", "--to", "other"), None)],
)
def test_a_resend_is_for_those_who_are_named(
    site: House, words: tuple[str, ...], resent: list[int] | None
) -> None:
    answer = run(site, "queue", "resend", *words)
    if resent is None:
        assert (answer.code, "nothing to resend" in answer.err) == (3, True)
    else:
        assert answer.json == {"resent": resent}


def test_a_withdrawn_report_is_not_sent_again(site: House) -> None:
    answer = run(site, "report", "withdraw", "1", "--reason", "wrong-patient")
    assert answer.json == {"withdrawn": 1}
    assert run(site, "queue", "resend", "1").code == 3
    assert "report.withdrawn" in kinds(site)


def test_a_withdrawal_needs_a_reason_that_there_is(site: House) -> None:
    answer = run(site, "report", "withdraw", "1", "--reason", "mood")
    assert (answer.code, "wrong-patient" in answer.err) == (3, True)


def test_a_destination_is_tested_with_ticks_and_the_answer_is_kept(site: House) -> None:
    answer = run(site, "destination", "test", "pacs")
    assert answer.code == 0
    found = {one["service"]: one["accepted"] for one in answer.json if one["service"] != "store"}
    assert found == {"tcp": True, "echo": True, "find": True, "commitment": False}
    with site.database.reading() as session:
        kept = session.scalars(select(CapabilityRow).where(CapabilityRow.accepted)).all()
    assert {row.service for row in kept} == {"tcp", "echo", "find", "store"}
    [row] = run(site, "destination", "ls").json
    assert "Comprehensive 3D SR Storage" in row["takes"]
    assert "destination.tested" in kinds(site)


@REFUSED
def test_a_destination_that_is_away_fails_the_test(database: Database, tmp_path: Path) -> None:
    from tests.triage.peers import destination

    with house(database, tmp_path, destination(free_port(), "AWAY")) as site:
        assert run(site, "destination", "test", "pacs").code == 1
        assert run(site, "destination", "test", "nobody").code == 3
