"""What the steps write: rows, an audit row and the study's move, in the caller's transaction."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import conflicts, lifecycle
from db.audit import MAJOR, MINOR, Entry, Event, record
from db.custody import ConflictRow
from db.engine import now
from db.lifecycle import Claim
from db.states import StudyState
from db.tables import GenerationMemberRow, GenerationRow, InstanceRow, OutboxRow, StudyRow
from triage.errors import Reason
from triage.finding import Assessment, Decision, Document, Outcome
from triage.record import generations
from triage.record.fates import save_excluded, save_fates
from triage.record.remarks import save_remarks
from triage.record.rows import decision_row, detection_row, outbox_row, show
from triage.record.runs import save_run
from triage.study import StudyRef


def close_generation(session: Session, claim: Claim, ref: StudyRef) -> None:
    """Write a generation and its members, and audit what closed it."""
    study = lifecycle.hold(session, claim)
    members = sorted((one.sop_instance_uid, one.sha256) for one in ref.instances)
    digest = hashlib.sha256(repr(members).encode()).hexdigest()
    generation = GenerationRow(
        study_id=study.id, number=ref.generation, digest=digest, evidence=ref.evidence,
        closed_at=now(session),
    )  # fmt: skip
    session.add(generation)
    session.flush()
    contents = {one.sha256 for one in ref.instances}
    rows = session.execute(
        select(InstanceRow.id, InstanceRow.sha256).where(InstanceRow.study_id == study.id)
    )
    session.add_all(
        GenerationMemberRow(generation_id=generation.id, instance_id=instance_id)
        for instance_id, sha256 in rows
        if sha256 in contents
    )
    study.generation = ref.generation
    session.flush()
    generations.note(ref, digest)
    detail = {"generation": ref.generation, "instances": len(members), "evidence": ref.evidence}
    record(session, about(study, claim, "study.complete", {**detail, "digest": digest}))


def save_generation(session: Session, claim: Claim, ref: StudyRef) -> None:
    """Close a generation and make the study READY."""
    close_generation(session, claim, ref)
    lifecycle.advance(session, claim, StudyState.READY, reason=ref.evidence)


def save_assessment(
    session: Session,
    claim: Claim,
    assessment: Assessment,
    documents: Sequence[tuple[str, Document]],
    *,
    mode: str,
) -> None:
    """Write detections, the decision and the outbox; the study becomes ANALYSED.

    ``documents`` are (destination, document) pairs.
    """
    study, decision = lifecycle.hold(session, claim), assessment.decision
    generation = assessment.study.ref.generation
    found = [detection_row(session, claim, generation, one) for one in assessment.detections]
    session.add_all(found)
    session.add(decision_row(session, claim, generation, decision, mode))
    for destination, document in documents:
        session.add(outbox_row(session, study, generation, destination, document))
    show(study, decision)
    session.flush()
    detectors = [
        {"artifact": one.detector.artifact_sha256, "p": one.p_value}
        for one in assessment.detections
    ]
    detail = {"generation": generation, "outcome": decision.outcome, "mode": mode}
    record(session, about(study, claim, "study.analysed", {**detail, "detectors": detectors}))
    save_remarks(session, claim, assessment, found)
    save_fates(session, study.id, assessment)
    save_run(session, claim, assessment, found)
    lifecycle.advance(session, claim, StudyState.ANALYSED, reason=decision.outcome)


def save_failed(
    session: Session,
    claim: Claim,
    assessment: Assessment,
    documents: Sequence[tuple[str, Document]],
) -> None:
    """Fail a study visibly, with the report of that on its way; no decision stands in its rows.

    A study that failed, was tried again and failed alike has the report already.
    """
    study, reason = lifecycle.hold(session, claim), assessment.decision.reason
    rows = session.execute(
        select(OutboxRow.sop_instance_uid, OutboxRow.destination).where(
            OutboxRow.study_id == study.id
        )
    )
    known = {(uid, destination) for uid, destination in rows}
    for destination, document in documents:
        if (document.sop_instance_uid, destination) not in known:
            generation = assessment.study.ref.generation
            session.add(outbox_row(session, study, generation, destination, document))
    session.flush()
    save_stop(session, claim, StudyState.FAILED, reason or Reason("internal"))


def save_not_analysed(
    session: Session, claim: Claim, ref: StudyRef, decision: Decision, *, mode: str
) -> None:
    """Close the study as "not analysed", with its coded reason."""
    study = lifecycle.hold(session, claim)
    if claim.state == StudyState.RECEIVING:
        close_generation(session, claim, ref)
    session.add(decision_row(session, claim, ref.generation, decision, mode))
    save_excluded(session, study.id, ref, decision.reason)
    show(study, decision)
    session.flush()
    detail = {"generation": ref.generation, "reason": study.reason_code}
    record(session, about(study, claim, "study.not-analysed", detail))
    lifecycle.advance(session, claim, StudyState.REJECTED, reason=str(decision.reason))


def save_stop(session: Session, claim: Claim, new: StudyState, reason: Reason) -> None:
    """Hold or fail a study, with its reason, visibly."""
    study = lifecycle.hold(session, claim)
    failed = new == StudyState.FAILED
    if not failed:
        doubt = ConflictRow(
            code=reason.code, weight=conflicts.HOLD, detail=reason.sentence, subject="",
            opened_by=claim.owner,
        )  # fmt: skip
        conflicts.add(session, study, doubt)
    outcome = Outcome.FAILED if failed else Outcome.HELD
    study.reason_code, study.reason_detail = reason.code, reason.sentence
    if claim.state != StudyState.ANALYSED:  # a failed delivery leaves the finding as it is
        study.outcome = outcome
        study.sentence = f"{outcome.capitalize()}. {study.reason_detail}."
    session.flush()
    detail = {"reason": reason.code, "state": claim.state}
    record(
        session,
        replace(
            about(study, claim, f"study.{outcome}", detail),
            event=Event.SECURITY_ALERT,
            outcome=MAJOR if failed else MINOR,
        ),
    )
    lifecycle.advance(session, claim, new, reason=str(reason))


def about(study: StudyRow, claim: Claim, kind: str, detail: dict[str, Any]) -> Entry:
    """Give the audit entry of a worker's deed on a study."""
    return Entry(
        event=Event.PROCEDURE_RECORD,
        kind=kind,
        action="U",
        actor=claim.owner,
        object_type="study",
        object_id=study.study_instance_uid,
        detail=detail,
    )
