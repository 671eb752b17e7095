"""What each fate of a study says to its work item."""

import pytest

from db.engine import Database, now
from db.states import StudyState
from db.ups import ClaimRow
from tests.triage.ups.items import new_item, reference
from tests.triage.worklist.builders import add_instance, add_report, add_study
from triage.destinations import Mllp, Stow
from triage.ups.answer import Answer, answer, holds, input_study
from triage.ups.content import check_final
from triage.ups.words import State

S = StudyState


def said(
    database: Database, state: StudyState, outcome: str, reason: str | None = None,
    *, cancel: bool = False,
) -> Answer:  # fmt: skip
    with database.begin() as session:
        study = add_study(session, "pending", minutes=5, state=state, reason_code=reason)
        study.outcome = outcome
        claim = ClaimRow(
            manager="m", sop_instance_uid="2.25.1", transaction_uid="2.25.2", study_id=study.id,
            state="held", cancel_asked=cancel, due_at=now(session), started_at=now(session),
        )  # fmt: skip
        session.add(claim)
        session.flush()
        return answer(session, claim.id, {}, "STATION")


@pytest.mark.parametrize(
    ("state", "outcome", "reason", "code"),
    [
        (S.REJECTED, "not analysed", "no-detector", "110522"),
        (S.DELIVERED, "not analysed", "incomplete", "110523"),
        (S.HELD, "held", "identity-conflict", "110513"),
        (S.FAILED, "failed", "pixel-data", "110521"),
        (S.FAILED, "prioritised", "refused", "110513"),
        (S.FAILED, "failed", None, "110513"),
    ],
)
def test_a_study_without_a_result_cancels_with_its_reason(
    sqlite_database: Database, state: StudyState, outcome: str, reason: str | None, code: str
) -> None:
    found = said(sqlite_database, state, outcome, reason)
    assert found.state is State.CANCELED
    told = found.change.ProcedureStepProgressInformationSequence[0]
    assert told.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == code
    check_final(found.change, State.CANCELED)


@pytest.mark.parametrize("outcome", ["prioritised", "not prioritised"])
def test_a_delivered_result_completes(sqlite_database: Database, outcome: str) -> None:
    found = said(sqlite_database, S.DELIVERED, outcome, cancel=True)
    assert found.state is State.COMPLETED
    check_final(found.change, State.COMPLETED)


@pytest.mark.parametrize("state", [S.RECEIVING, S.READY, S.ANALYSED])
def test_a_study_at_work_tells_how_far_it_is_and_stops_when_asked(
    sqlite_database: Database, state: StudyState
) -> None:
    assert said(sqlite_database, state, "pending").state is State.IN_PROGRESS


def test_a_request_to_cancel_stops_the_item_of_a_study_at_work(sqlite_database: Database) -> None:
    found = said(sqlite_database, S.READY, "pending", cancel=True)
    assert (found.state, found.told) == (State.CANCELED, "Canceled as requested")


def test_only_dicom_objects_that_arrived_are_outputs(sqlite_database: Database) -> None:
    from tests.triage.ups.test_performer import part10

    places = {
        "web": Stow(kind="stow", name="web", url="https://pacs.example/dicom-web"),
        "ris": Mllp(kind="mllp", name="ris", host="127.0.0.1", port=2575),
    }
    with sqlite_database.begin() as session:
        study = add_study(session, "prioritised")
        at = now(session)
        for number, (destination, sent_at) in enumerate(
            [("web", at), ("ris", at), ("gone", at), ("web", None)]
        ):
            session.add(
                add_report(
                    study, at, destination=destination, sent_at=sent_at, content=part10(),
                    sop_instance_uid=f"2.25.{number}",
                )
            )  # fmt: skip
        claim = ClaimRow(
            manager="m", sop_instance_uid="2.25.1", transaction_uid="2.25.2", study_id=study.id,
            state="held", due_at=at, started_at=at,
        )  # fmt: skip
        session.add(claim)
        session.flush()
        found = answer(session, claim.id, places, "STATION")
    [output] = found.change.UnifiedProcedureStepPerformedProcedureSequence[
        0
    ].OutputInformationSequence
    assert output.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.0"
    assert output.WADORSRetrievalSequence[0].RetrieveURL.startswith("https://pacs.example/dicom")


def test_a_study_is_held_when_every_instance_named_is_here(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        study = add_study(session, "prioritised", study_instance_uid="1.2.3")
        add_instance(session, study, sop_instance_uid="1.2.3.1")
        item = new_item()
        assert input_study(item) == "1.2.3"
        assert holds(session, study, item)
        item.InputInformationSequence.append(reference("1.2.9"))
        assert holds(session, study, item)  # a prior of another study
        item.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.4"
        assert not holds(session, study, item)
        item.StudyInstanceUID = None
        assert input_study(item) == "1.2.3"
