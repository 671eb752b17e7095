"""Ingest: spool to rows, one transaction a file. The only reader of the spool's ``in``.

A crash between any two lines loses nothing: the file leaves ``in`` only after its rows are
committed, and doing it again changes nothing but the copy counter. What is wrong with one file
holds up no other: what it says and the index cannot hold puts it into quarantine, what the disk
does not give now is passed over for a while.
"""

import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pydicom
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db import associations, commitments, conflicts, identity, lifecycle, purged, quarantine
from db.audit import MINOR, SERIOUS, SUCCESS, Entry, Event, record
from db.custody import CustodyRow
from db.engine import Database, now
from db.states import StudyState
from db.tables import AuditRow, InstanceRow, OutboxRow, StudyRow
from db.upsert import insert_once
from triage import commitment, evidence
from triage.arrival import (
    IDENTITY,
    READ_ERRORS,
    SITE,
    Arrival,
    Unindexable,
    association_of,
    read_arrival,
    text,
)
from triage.errors import REASONS
from triage.finding import Outcome
from triage.passed_over import PassedOver, each, is_of_the_data, refusal
from triage.settings import Completeness
from triage.spool import JournalEvent, Spool, digest
from triage.study import same_name

ACTOR: Final = "ingestor"


def ingest_all(
    database: Database,
    spool: Spool,
    rules: Completeness,
    *,
    limit: int = 500,
    passed: PassedOver | None = None,
) -> int:
    """Index up to ``limit`` waiting files and the listener's journal; gives how many files.

    ``passed`` remembers from call to call what is left alone for a while.

    Raises:
        SQLAlchemyError: the database is away; everything waits as it is.
        OSError: so is the spool.
    """
    passed = PassedOver() if passed is None else passed
    paths = spool.incoming(limit + len(passed))
    count = each(
        database, passed, paths, lambda path: ingest_file(database, spool, rules, path), limit=limit
    )
    take_reports(database, spool, passed=passed)
    take_journal(database, spool, passed=passed)
    return count


def ingest_file(database: Database, spool: Spool, rules: Completeness, path: Path) -> None:
    """Index one spooled file: rows and audit in one transaction, then let the file go.

    Raises:
        OSError: the disk does not give it, or takes nothing.
        SQLAlchemyError: nothing is written, for a reason that is not the file's.
    """
    spool.cut(path)
    sha256, _ = spool.store(path)
    is_mended = spool.mend(path, sha256)
    try:
        arrival = read_arrival(path, sha256)
        with database.begin() as session:
            if is_mended:
                _mended(session, arrival)
            if index(session, arrival, rules):
                # Whoever deleted it may have done so after it was stored. It cannot any more: it
                # deletes under the study's lock, which is ours, and by the row, which is put right.
                spool.keep(path, sha256)
    except Unindexable as why:
        _put_away(database, spool, path, sha256, "unparsable", str(why))
        _count(database, path)
    except DBAPIError as why:
        if not is_of_the_data(why):
            raise
        _put_away(database, spool, path, sha256, "unindexable", refusal(why))
        _count(database, path)
    spool.release(path)


def _count(database: Database, path: Path) -> None:
    """Note that a file of its association came, though it is part of no study."""
    with database.begin() as session:
        associations.arrived(session, association_of(path))


def _put_away(
    database: Database, spool: Spool, path: Path, sha256: str, code: str, why: str
) -> None:
    """Keep what cannot be indexed in quarantine, with its row and its alert."""
    spool.quarantine(path, sha256)
    with database.begin() as session:
        _quarantine(session, path, sha256, code, why)


def index(session: Session, arrival: Arrival, rules: Completeness) -> bool:
    """Write the rows of one arrival and move its study along, in the caller's transaction.

    Tells whether it is a content whose file retention had deleted: it is to be kept again.
    """
    study = _study(session, arrival, rules)
    associations.arrived(session, arrival.passage.association_id)
    known = session.scalars(
        select(InstanceRow).where(InstanceRow.sop_instance_uid == arrival.values["SOPInstanceUID"])
    ).all()
    same = next((row for row in known if row.sha256 == arrival.sha256), None)
    if same is not None:
        same.copies += 1
        return _again(session, study, same, arrival, rules)
    if not study.instance_count:
        identity.greet(session, study, ACTOR, same_name)
    row = _instance(study, arrival, now(session))
    session.add(row)
    session.flush()
    custody = _custody(row, arrival)
    session.add(custody)
    study.instance_count += 1
    study.last_instance_at = now(session)
    session.flush()
    _audit(session, study, arrival, kind="instance.received")
    if _is_ours(session, arrival):
        sentence = REASONS["own-report"].meaning
        conflicts.put_aside(session, custody, "own-report", sentence, generation=study.generation)
        return False
    verdict = identity.judge(session, study, row, known, ACTOR)
    _move_on(session, study, verdict, evidence.arrived(session, study, arrival, rules))
    return False


def _again(
    session: Session, study: StudyRow, row: InstanceRow, arrival: Arrival, rules: Completeness
) -> bool:
    """Count a known content; one that was deleted is here again, and its study may go on."""
    custody = session.get(CustodyRow, row.id)
    if custody is None or custody.purged_at is None:
        _audit(session, study, arrival, kind="instance.again")
        return False
    is_news = purged.restore(session, study, row)
    _audit(session, study, arrival, kind="instance.restored")
    if is_news:
        _reopen(session, study, evidence.restored(session, study, arrival, rules))
    return True


def _mended(session: Session, arrival: Arrival) -> None:
    """Say that a kept file had changed on disk, and let a study that failed by it go on."""
    uid = arrival.values["StudyInstanceUID"]
    study = session.scalars(
        select(StudyRow).where(StudyRow.study_instance_uid == uid).with_for_update()
    ).one_or_none()
    if study is None:
        return
    _audit(session, study, arrival, kind="instance.mended")
    if (study.state, study.reason_code) != (StudyState.FAILED, "corrupt"):
        return
    back_to = lifecycle.failed_from(session, study.id)
    if back_to == StudyState.ANALYSED:  # what had changed was a document of ours
        return
    study.outcome, study.sentence = Outcome.PENDING, ""
    study.reason_code = study.reason_detail = None
    reason = "its file came again, whole"
    lifecycle.move(session, study, back_to, reason=reason, actor=ACTOR, due_at=now(session))


def _move_on(
    session: Session, study: StudyRow, verdict: identity.Verdict, due_at: datetime
) -> None:
    if verdict.freed:
        reason = "corrected at the source"
        conflicts.free(session, study, actor=ACTOR, reason=reason, due_at=due_at)
    elif verdict.counts and not verdict.held:
        _reopen(session, study, due_at)


def take_reports(
    database: Database, spool: Spool, *, limit: int = 500, passed: PassedOver | None = None
) -> int:
    """Write what was said about instances: announced, asked, reported; gives how many messages."""
    passed = PassedOver() if passed is None else passed
    paths = spool.reports(limit + len(passed))
    return each(
        database, passed, paths, lambda path: _take_message(database, spool, path), limit=limit
    )


def _take_message(database: Database, spool: Spool, path: Path) -> None:
    """Write what one message says; one that the database refuses is kept in quarantine."""
    sha256 = digest(path)  # what the disk does not give now is not unreadable for good
    try:
        with database.begin() as session:
            if not evidence.take(session, path):
                _report(session, path)
    except DBAPIError as why:
        if not is_of_the_data(why):
            raise
        _put_away(database, spool, path, sha256, "unindexable", refusal(why))
    spool.release(path)


def _report(session: Session, path: Path) -> None:
    """Apply one report. One that we cannot read, or never asked for, is a security alert."""
    sender, unknown = "", "unreadable"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = pydicom.dcmread(path)
            sender = text(report.file_meta, "SendingApplicationEntityTitle")[:16]
            promises = commitment.promises(report)
    except READ_ERRORS:
        promises = ()
    taken = [
        commitments.take(session, one.transaction_uid, one.sop_instance_uid, one.failure_reason)
        for one in promises
    ]
    if promises and all(taken):
        return
    if promises:
        unknown = f"{taken.count(False)} objects that were not asked about"
    entry = Entry(
        event=Event.SECURITY_ALERT, kind="commitment.unknown", outcome=MINOR, actor=ACTOR,
        ae_title=sender, detail={"reason": unknown},
    )  # fmt: skip
    record(session, entry)


def take_journal(database: Database, spool: Spool, *, passed: PassedOver | None = None) -> int:
    """Write what the listener's journal says: events as audit rows, ends of associations.

    Gives how many batches.
    """
    passed = PassedOver() if passed is None else passed
    paths = spool.journal.waiting()
    return each(database, passed, paths, lambda path: _take_batch(database, spool, path))


def _take_batch(database: Database, spool: Spool, path: Path) -> None:
    batch = spool.journal.read(path)
    with database.begin() as session:
        for event in batch.events:
            _journal_row(session, event)
        for one in batch.ended:
            associations.ended(
                session, one.association, one.ae_title[:16], one.address, one.accepted
            )
    batch.done()


def _journal_row(session: Session, event: JournalEvent) -> None:
    """Write one journalled event unless it is already there."""
    known = select(AuditRow.id).where(AuditRow.event_uid == event.uuid)
    if session.scalar(known) is not None:
        return
    entry = Entry(
        event=Event.SECURITY_ALERT,
        kind=event.kind,
        outcome=MINOR,
        actor="listener",
        ae_title=event.ae_title[:16],
        network_address=event.address,
        detail={"code": event.code, "count": event.count, "at": event.at},
        event_uid=event.uuid,
    )
    record(session, entry)


def _study(session: Session, arrival: Arrival, rules: Completeness) -> StudyRow:
    """Give the study's row, made if it is new, locked until the transaction ends."""
    uid, at = arrival.values["StudyInstanceUID"], now(session)
    insert_once(
        session,
        StudyRow,
        {
            "study_instance_uid": uid,
            "state": StudyState.RECEIVING,
            "due_at": at + _quiet(rules, arrival),
            "received_at": at,
            "last_instance_at": at,
            "fence": 0, "attempts": 0, "tries": 0, "generation": 0, "instance_count": 0,
            "outcome": Outcome.PENDING, "priority": 0, "priority_name": "", "sentence": "",
            "modality": arrival.values["Modality"],
            "body_part": arrival.values["BodyPartExamined"].upper(),
            "source_ae_title": arrival.source_ae_title,
            "institution_name": " ".join(arrival.values[SITE].split())[:64].strip(),
            **{column: arrival.values[keyword] for column, keyword in IDENTITY.items()},
        },
    )  # fmt: skip
    return session.scalars(
        select(StudyRow).where(StudyRow.study_instance_uid == uid).with_for_update()
    ).one()


def _instance(study: StudyRow, arrival: Arrival, at: datetime) -> InstanceRow:
    return InstanceRow(
        study_id=study.id,
        sop_instance_uid=arrival.values["SOPInstanceUID"],
        sop_class_uid=arrival.values["SOPClassUID"],
        series_instance_uid=arrival.values["SeriesInstanceUID"],
        modality=arrival.values["Modality"],
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        sha256=arrival.sha256,
        size_bytes=arrival.size_bytes,
        source_ae_title=arrival.source_ae_title,
        source_address=arrival.source_address,
        received_at=at,
    )


def _custody(row: InstanceRow, arrival: Arrival) -> CustodyRow:
    passage, values = arrival.passage, arrival.values
    return CustodyRow(
        instance_id=row.id,
        association_id=passage.association_id,
        association_opened_at=passage.opened_at,
        spooled_at=passage.spooled_at,
        called_ae_title=passage.called_ae_title,
        pixel_sha256=arrival.pixel_sha256,
        **{name: values[IDENTITY[name]] for name in (*identity.PERSON, *identity.DEMOGRAPHICS)},
    )


def _reopen(session: Session, study: StudyRow, due_at: datetime) -> None:
    """A new instance: later due while receiving; a closed study gets a new generation.

    A study under delivery stays: its finished report leaves first, then it is reopened.
    """
    if study.state == StudyState.RECEIVING:
        lifecycle.touch(session, study, due_at=due_at)
    elif study.state in lifecycle.REOPENS:
        if study.outcome in (Outcome.NOT_ANALYSED, Outcome.FAILED):
            study.outcome, study.sentence = Outcome.PENDING, ""
            study.reason_code = study.reason_detail = None
        lifecycle.move(
            session, study, StudyState.RECEIVING, reason="late instances", actor=ACTOR,
            due_at=due_at,
        )  # fmt: skip


def _is_ours(session: Session, arrival: Arrival) -> bool:
    """Tell whether this is a report of ours coming back: kept, but nothing new to analyse."""
    uid = arrival.values["SOPInstanceUID"]
    return session.scalar(select(OutboxRow.id).where(OutboxRow.sop_instance_uid == uid)) is not None


def _quiet(rules: Completeness, arrival: Arrival) -> timedelta:
    modality = arrival.values["Modality"]
    return timedelta(seconds=rules.quiet_s_by_modality.get(modality, rules.quiet_s))


def _quarantine(session: Session, path: Path, sha256: str, code: str, why: str) -> None:
    quarantine.note(session, sha256, path.stat().st_size, code, why)
    entry = Entry(
        event=Event.SECURITY_ALERT, kind="instance.quarantined", action="C", outcome=SERIOUS,
        actor=ACTOR, object_type="file", object_id=sha256, detail={"reason": why},
    )  # fmt: skip
    record(session, entry)


def _audit(session: Session, study: StudyRow, arrival: Arrival, *, kind: str) -> None:
    entry = Entry(
        event=Event.INSTANCES_TRANSFERRED,
        kind=kind,
        action="C",
        outcome=SUCCESS,
        actor=ACTOR,
        ae_title=arrival.source_ae_title,
        network_address=arrival.source_address,
        object_type="study",
        object_id=study.study_instance_uid,
        detail={
            "sop_instance_uid": arrival.values["SOPInstanceUID"],
            "sop_class_uid": arrival.values["SOPClassUID"],
            "sha256": arrival.sha256,
            "association": arrival.passage.association_id,
        },
    )
    record(session, entry)
