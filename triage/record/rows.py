"""Nouns to rows and rows to nouns, one function each; nothing is queried or saved here."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from db.engine import now
from db.lifecycle import Claim
from db.tables import DecisionRow, DetectionRow, InstanceRow, OutboxRow, StudyRow
from triage.finding import Decision, Detection, Document
from triage.spool import stored_path
from triage.study import InstanceRef, StudyRef

NOTE: Final = "rejection_note"
"""Kind of the documents that take others back."""
RETRACTABLE: Final = ("hl7_oru", "fhir_bundle", "webhook", "mail", "plain_text")
"""Kinds beside DICOM that can be taken back by another document of their own."""
ABOUT_REPORTS: Final = (NOTE, "feedback_report")
"""Kinds that speak about reports of ours: no later report supersedes them, none is withdrawn."""


def study_ref(
    study: StudyRow, generation: int, evidence: str, rows: Sequence[InstanceRow], spool: Path
) -> StudyRef:
    """Give the study as a noun, its files by their place in the spool."""
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


def detection_row(session: Session, claim: Claim, generation: int, one: Detection) -> DetectionRow:
    """Give the row of one detector's word."""
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


def decision_row(
    session: Session, claim: Claim, generation: int, decision: Decision, mode: str
) -> DecisionRow:
    """Give the row of what a generation came to."""
    return DecisionRow(
        study_id=claim.study_id,
        generation=generation,
        fence=claim.fence,
        outcome=decision.outcome,
        priority=decision.priority,
        priority_name=decision.priority_name,
        sentence=decision.sentence,
        reason_code=decision.reason.code if decision.reason else None,
        reason_detail=decision.reason.sentence if decision.reason else None,
        mode=mode,
        thresholds=json.dumps(dict(decision.thresholds)),
        at=now(session),
    )


def show(study: StudyRow, decision: Decision) -> None:
    """Copy the decision to the study's worklist columns."""
    study.outcome = decision.outcome
    study.priority = decision.priority
    study.priority_name = decision.priority_name
    study.sentence = decision.sentence
    study.rank = decision.because.rank if decision.because else None
    study.score = decision.because.score if decision.because else None
    study.reason_code = decision.reason.code if decision.reason else None
    study.reason_detail = decision.reason.sentence if decision.reason else None


def outbox_row(
    session: Session, study: StudyRow, generation: int, destination: str, document: Document
) -> OutboxRow:
    """Give the row of one document for one destination."""
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
        due_at=now(session),
    )


def document_of(row: OutboxRow) -> Document:
    """Give an outbox row's document."""
    return Document(row.kind, row.sop_class_uid, row.sop_instance_uid, row.content)
