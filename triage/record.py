"""Record: rows to nouns and nouns to rows.

Every save writes its rows, its audit row and the study's move in one transaction.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db import lifecycle
from db.audit import MAJOR, MINOR, SUCCESS, Entry, Event, record
from db.engine import now
from db.lifecycle import Claim
from db.states import StudyState
from db.tables import (
    DecisionRow,
    DetectionRow,
    GenerationMemberRow,
    GenerationRow,
    InstanceRow,
    OutboxRow,
    StudyRow,
)
from triage.errors import Reason
from triage.finding import Assessment, Decision, Detection, Document, Outcome, Receipt
from triage.spool import stored_path
from triage.study import InstanceRef, StudyRef

QUEUED: Final = "queued"
SENT: Final = "sent"
REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class Queued:
    """A document waiting in the outbox for one destination."""

    outbox_id: int
    destination: str
    document: Document


@dataclass(frozen=True, slots=True)
class Sending:
    """What became of one queued document: a receipt, a reason to try again, or a refusal."""

    queued: Queued
    receipt: Receipt | None = None
    again: str = ""
    refused: str = ""


# --- reading -------------------------------------------------------------------------------------


def load_arrivals(session: Session, study_id: int, spool: Path) -> StudyRef:
    """Give a study with all it holds now, as the generation that would be closed next."""
    study = session.get_one(StudyRow, study_id)
    rows = session.scalars(
        select(InstanceRow).where(InstanceRow.study_id == study_id).order_by(InstanceRow.id)
    )
    return _ref(study, study.generation + 1, "", tuple(rows), spool)


def load_generation(session: Session, study_id: int, spool: Path) -> StudyRef:
    """Give a study with the instances of its closed generation."""
    study = session.get_one(StudyRow, study_id)
    generation = session.scalars(
        select(GenerationRow).where(
            GenerationRow.study_id == study_id, GenerationRow.number == study.generation
        )
    ).one()
    rows = session.scalars(
        select(InstanceRow)
        .join(GenerationMemberRow, GenerationMemberRow.instance_id == InstanceRow.id)
        .where(GenerationMemberRow.generation_id == generation.id)
        .order_by(InstanceRow.id)
    )
    return _ref(study, study.generation, generation.evidence, tuple(rows), spool)


def load_former_reports(session: Session, study_id: int) -> tuple[Document, ...]:
    """Give the documents of the study's latest reported generation before this one."""
    study = session.get_one(StudyRow, study_id)
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study_id, OutboxRow.generation < study.generation)
        .order_by(OutboxRow.generation.desc(), OutboxRow.id)
    ).all()
    latest = [row for row in rows if row.generation == rows[0].generation]
    return tuple({row.sop_instance_uid: _document(row) for row in latest}.values())


def load_outbox(session: Session, study_id: int) -> tuple[Queued, ...]:
    """Give the study's documents that have not been sent."""
    rows = session.scalars(
        select(OutboxRow)
        .where(OutboxRow.study_id == study_id, OutboxRow.state == QUEUED)
        .order_by(OutboxRow.id)
    )
    return tuple(Queued(row.id, row.destination, _document(row)) for row in rows)


# --- writing -------------------------------------------------------------------------------------


def close_generation(session: Session, claim: Claim, ref: StudyRef) -> None:
    """Write a generation and its members, and audit what closed it."""
    study = session.get_one(StudyRow, claim.study_id)
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
    _audit(
        session, study, claim, "study.complete", event=Event.PROCEDURE_RECORD,
        detail={
            "generation": ref.generation, "instances": len(members), "evidence": ref.evidence,
            "digest": digest,
        },
    )  # fmt: skip


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
    study, decision = session.get_one(StudyRow, claim.study_id), assessment.decision
    generation = assessment.study.ref.generation
    session.add_all(_detection(session, claim, generation, one) for one in assessment.detections)
    _decide(session, claim, generation, decision, mode)
    for destination, document in documents:
        session.add(_outbox(session, study, generation, destination, document))
    _show(study, decision)
    session.flush()
    _audit(
        session, study, claim, "study.analysed", event=Event.PROCEDURE_RECORD,
        detail={
            "generation": generation, "outcome": decision.outcome, "mode": mode,
            "detectors": [
                {"artifact": one.detector.artifact_sha256, "p": one.p_value}
                for one in assessment.detections
            ],
        },
    )  # fmt: skip
    lifecycle.advance(session, claim, StudyState.ANALYSED, reason=decision.outcome)


def save_not_analysed(
    session: Session, claim: Claim, ref: StudyRef, decision: Decision, *, mode: str
) -> None:
    """Close the study as "not analysed", with its coded reason."""
    study = session.get_one(StudyRow, claim.study_id)
    if claim.state == StudyState.RECEIVING:
        close_generation(session, claim, ref)
    _decide(session, claim, ref.generation, decision, mode)
    _show(study, decision)
    session.flush()
    _audit(
        session, study, claim, "study.not-analysed", event=Event.PROCEDURE_RECORD,
        detail={"generation": ref.generation, "reason": study.reason_code},
    )  # fmt: skip
    lifecycle.advance(session, claim, StudyState.REJECTED, reason=str(decision.reason))


def save_stop(session: Session, claim: Claim, new: StudyState, reason: Reason) -> None:
    """Hold or fail a study, with its reason, visibly."""
    study = session.get_one(StudyRow, claim.study_id)
    failed = new == StudyState.FAILED
    study.outcome = Outcome.FAILED if failed else Outcome.HELD
    study.reason_code, study.reason_detail = reason.code, reason.detail or reason.meaning
    if claim.state != StudyState.ANALYSED:  # a failed delivery keeps the sentence of the finding
        study.sentence = f"{study.outcome.capitalize()}. {study.reason_detail}."
    session.flush()
    _audit(
        session, study, claim, f"study.{study.outcome}", event=Event.SECURITY_ALERT,
        outcome=MAJOR if failed else MINOR, detail={"reason": reason.code, "state": claim.state},
    )  # fmt: skip
    lifecycle.advance(session, claim, new, reason=str(reason))


def save_sendings(session: Session, claim: Claim, sendings: Sequence[Sending]) -> None:
    """Write what each destination answered; rows only, the caller moves the study."""
    study = session.get_one(StudyRow, claim.study_id)
    for sending in sendings:
        row = session.get_one(OutboxRow, sending.queued.outbox_id)
        row.attempts += 1
        if sending.receipt is not None:
            row.state, row.last_status, row.last_error = SENT, sending.receipt.status, None
            row.sent_at = now(session)
        else:
            row.state = REFUSED if sending.refused else QUEUED
            row.last_error = sending.refused or sending.again
        session.flush()
        _audit(
            session, study, claim, f"report.{row.state}", event=Event.INSTANCES_TRANSFERRED,
            outcome=SUCCESS if sending.receipt else MINOR, action="R",
            detail={
                "sop_instance_uid": row.sop_instance_uid, "destination": row.destination,
                "status": row.last_status, "attempts": row.attempts,
            },
        )  # fmt: skip


def close_delivery(session: Session, claim: Claim, *, reason: str) -> None:
    """Mark the study DELIVERED; instances that came meanwhile reopen it at once."""
    lifecycle.advance(session, claim, StudyState.DELIVERED, reason=reason)
    if _has_newcomers(session, claim.study_id):
        study = session.get_one(StudyRow, claim.study_id)
        session.refresh(study)
        lifecycle.move(
            session, study, StudyState.RECEIVING, reason="late instances", actor=claim.owner,
            due_at=now(session),
        )  # fmt: skip


def requeue_refused(session: Session, study_id: int) -> None:
    """Give refused documents another chance (an admin's retry)."""
    session.execute(
        update(OutboxRow)
        .where(OutboxRow.study_id == study_id, OutboxRow.state == REFUSED)
        .values(state=QUEUED)
    )


# --- small parts ---------------------------------------------------------------------------------


def _ref(
    study: StudyRow, generation: int, evidence: str, rows: Sequence[InstanceRow], spool: Path
) -> StudyRef:
    return StudyRef(
        id=study.id,
        study_instance_uid=study.study_instance_uid,
        generation=generation,
        evidence=evidence,
        instances=tuple(
            InstanceRef(row.sop_instance_uid, row.sha256, stored_path(spool, row.sha256))
            for row in rows
        ),
    )


def _detection(session: Session, claim: Claim, generation: int, one: Detection) -> DetectionRow:
    return DetectionRow(
        study_id=claim.study_id,
        generation=generation,
        fence=claim.fence,
        detector=one.detector.name,
        family=one.detector.family,
        version=one.detector.version,
        weights_sha256=one.detector.weights_sha256,
        artifact_sha256=one.detector.artifact_sha256,
        series_instance_uid=one.series_instance_uid,
        key_sop_instance_uid=one.key_sop_instance_uid,
        analysed_count=len(one.sop_instance_uids),
        score=one.score,
        p_value=one.p_value,
        stratum=one.calibration.stratum,
        calibration_n=one.calibration.n,
        calibration_fallback=", ".join(one.calibration.fallback),
        calibration_sha256=one.calibration.sha256,
        at=now(session),
    )


def _decide(session: Session, claim: Claim, generation: int, decision: Decision, mode: str) -> None:
    session.add(
        DecisionRow(
            study_id=claim.study_id,
            generation=generation,
            fence=claim.fence,
            outcome=decision.outcome,
            priority=decision.priority,
            priority_name=decision.priority_name,
            sentence=decision.sentence,
            reason_code=decision.reason.code if decision.reason else None,
            reason_detail=(decision.reason.detail or decision.reason.meaning)
            if decision.reason
            else None,
            mode=mode,
            at=now(session),
        )
    )


def _show(study: StudyRow, decision: Decision) -> None:
    """Copy the decision to the study's worklist columns."""
    study.outcome = decision.outcome
    study.priority = decision.priority
    study.priority_name = decision.priority_name
    study.sentence = decision.sentence
    study.rank = decision.because.rank if decision.because else None
    study.score = decision.because.score if decision.because else None
    study.reason_code = decision.reason.code if decision.reason else None
    study.reason_detail = (
        (decision.reason.detail or decision.reason.meaning) if decision.reason else None
    )


def _outbox(
    session: Session, study: StudyRow, generation: int, destination: str, document: Document
) -> OutboxRow:
    return OutboxRow(
        study_id=study.id,
        generation=generation,
        destination=destination,
        kind=document.kind,
        sop_class_uid=document.sop_class_uid,
        sop_instance_uid=document.sop_instance_uid,
        content=document.content,
        sha256=hashlib.sha256(document.content).hexdigest(),
        built_at=now(session),
    )


def _document(row: OutboxRow) -> Document:
    return Document(row.kind, row.sop_class_uid, row.sop_instance_uid, row.content)


def _has_newcomers(session: Session, study_id: int) -> bool:
    """Tell whether the study holds instances that its closed generation does not."""
    closed = (
        select(GenerationMemberRow.instance_id)
        .join(GenerationRow, GenerationRow.id == GenerationMemberRow.generation_id)
        .join(StudyRow, StudyRow.id == GenerationRow.study_id)
        .where(GenerationRow.study_id == study_id, GenerationRow.number == StudyRow.generation)
    )
    ours = select(OutboxRow.sop_instance_uid).where(OutboxRow.study_id == study_id)
    newcomer = session.scalar(
        select(InstanceRow.id)
        .where(InstanceRow.study_id == study_id, InstanceRow.id.not_in(closed))
        .where(InstanceRow.sop_instance_uid.not_in(ours))
        .limit(1)
    )
    return newcomer is not None


def _audit(
    session: Session,
    study: StudyRow,
    claim: Claim,
    kind: str,
    *,
    event: Event,
    detail: dict[str, Any],
    outcome: int = SUCCESS,
    action: str = "U",
) -> None:
    record(
        session,
        Entry(
            event=event, kind=kind, action=action, outcome=outcome, actor=claim.owner,
            object_type="study", object_id=study.study_instance_uid, detail=detail,
        ),
    )  # fmt: skip
