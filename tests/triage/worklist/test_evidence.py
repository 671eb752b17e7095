"""The study's page says what closed it, and what is announced and counted."""

import pytest
from sqlalchemy import select

from db.engine import Database, now
from db.evidence import AnnouncedStudyRow, AnnouncementRow, ClosingRow, SourceCountRow
from db.tables import DecisionRow
from tests.triage.worklist.builders import add_result, add_study
from tests.triage.worklist.client import Client
from triage.commands.study import describe

CLOSED = "MPPS: 1 performed step, 40 of 40 instances are here"


def test_the_evidence_is_shown_on_the_page_and_by_the_command(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        study = add_study(session, instance_count=40)
        step = AnnouncementRow(
            sop_instance_uid="2.25.5", kind="mpps", state="COMPLETED", revision=2, ae_title="CT1",
            listed=43, missing=3, first_at=now(session), last_at=now(session),
        )  # fmt: skip
        session.add(step)
        session.flush()
        session.add_all([
            AnnouncedStudyRow(
                announcement_id=step.id, study_instance_uid=study.study_instance_uid
            ),
            ClosingRow(
                study_id=study.id, generation=1, kind="mpps", sentence=CLOSED, expected=40,
                held=40, last_instance_at=now(session), closed_at=now(session),
            ),
            SourceCountRow(
                study_id=study.id, source="archive", answer=42, held=40, asked_at=now(session)
            ),
        ])  # fmt: skip
        number = study.id
    page = client.get(f"/studies/{number}").text
    for words in (f"closed by {CLOSED}", "MPPS", "completed", ">40<", ">43<", "archive", ">42<"):
        assert words in page
    told = describe(rows, str(number))
    assert [one["sentence"] for one in told["closings"]] == [CLOSED]
    assert [(one["listed"], one["missing"]) for one in told["announcements"]] == [(43, 3)]
    assert [one["answer"] for one in told["counts"]] == [42]


def test_a_study_of_which_nobody_said_anything_has_no_such_table(
    client: Client, rows: Database
) -> None:
    with rows.begin() as session:
        number = add_study(session).id
    assert "Completeness" not in client.get(f"/studies/{number}").text


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ('{"raised": 0.05, "high": 0.01}', "high: p &le; 0.01; raised: p &le; 0.05"),
        ("{}", "none"),
        (None, "not kept<small>Each change of them stands in the audit trail."),
    ],
)
def test_the_sheet_names_the_thresholds_that_decided_and_not_today_s(
    client: Client, rows: Database, kept: str | None, said: str
) -> None:
    with rows.begin() as session:
        study = add_study(session, "prioritised")
        add_result(session, study)
        session.scalars(select(DecisionRow)).one().thresholds = kept
        number = study.id
    text = client.get(f"/studies/{number}/evidence").text
    assert f"<dt>Thresholds at the time</dt><dd>{said}" in text
