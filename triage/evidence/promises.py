"""Storage Commitment as a provider: asked, verified by the bytes, reported (PS3.4 J).

A request is durable before it is answered. Each instance's stored bytes are hashed again and
compared with its row; then the report leaves on an association that we open. Both are leased, so
a process that dies in between leaves them due again. Retention deletes nothing of what a request
names once it is written; what was being deleted just then is seen under the study's lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_role
from pynetdicom.association import Association
from sqlalchemy import Update, select, update
from sqlalchemy.orm import Session

from db.audit import MINOR, SERIOUS, SUCCESS, Entry, Event, record
from db.custody import CustodyRow
from db.engine import now
from db.promises import PromiseRequestRow, PromiseRow
from db.tables import InstanceRow, StudyRow
from db.upsert import insert_once
from triage import commitment, dimse
from triage.completeness import Commitment
from triage.dimse import Peer, Remote
from triage.errors import TryAgain
from triage.spool import digest, stored_path

ASKED: Final = "asked"
VERIFIED: Final = "verified"
REPORTED: Final = "reported"
GAVE_UP: Final = "gave-up"
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
CLASS_CONFLICT: Final = 0x0119
ALL_KEPT: Final = 1
"""Event type of the report."""
SOME_NOT: Final = 2
GRACE: Final = timedelta(seconds=60)
"""For instances that were answered but are not indexed yet."""
LOOK: Final = timedelta(seconds=2)
LEASE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Errand:
    """A request that something is to be done about, leased."""

    request_id: int
    fence: int
    state: str
    transaction_uid: str
    ae_title: str
    called_ae_title: str
    items: tuple[tuple[str, str, int | None], ...]
    """SOP class, SOP instance, failure reason."""
    is_young: bool
    """What is missing may still come out of the spool."""
    is_old: bool
    """Nobody has taken its report for too long."""


def requested(session: Session, asked: Dataset, ae_title: str) -> None:
    """Write a request as the listener took it. Twice is once."""
    at = now(session)
    meta = asked.file_meta
    transaction = str(asked.TransactionUID)
    values = {
        "transaction_uid": transaction, "ae_title": ae_title,
        "called_ae_title": str(meta.get("ReceivingApplicationEntityTitle", ""))[:16],
        "address": str(meta.get("SendingPresentationAddress", "")),
        "asked_at": at, "state": ASKED, "due_at": at, "fence": 0, "tries": 0,
    }  # fmt: skip
    insert_once(session, PromiseRequestRow, values)
    row = session.scalars(
        select(PromiseRequestRow).where(PromiseRequestRow.transaction_uid == transaction)
    ).one()
    for item in asked.ReferencedSOPSequence:
        named = {
            "request_id": row.id, "sop_class_uid": str(item.ReferencedSOPClassUID),
            "sop_instance_uid": str(item.ReferencedSOPInstanceUID),
        }  # fmt: skip
        insert_once(session, PromiseRow, named)
    entry = Entry(
        event=Event.PROCEDURE_RECORD, kind="commitment.requested", action="C", actor="ingestor",
        ae_title=ae_title, object_type="transaction", object_id=transaction,
        detail={"instances": len(asked.ReferencedSOPSequence)},
    )  # fmt: skip
    record(session, entry)


def is_due(session: Session) -> bool:
    """Tell whether something may be due, without a lock."""
    due = select(PromiseRequestRow.id).where(PromiseRequestRow.due_at <= now(session))
    return session.scalar(due.limit(1)) is not None


def claim(session: Session, rules: Commitment) -> Errand | None:
    """Lease the request that is due the longest; None where there is none."""
    at = now(session)
    row = session.scalar(
        select(PromiseRequestRow)
        .where(PromiseRequestRow.due_at <= at)
        .order_by(PromiseRequestRow.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return None
    row.fence += 1
    row.due_at = row.leased_until = at + LEASE
    items = session.execute(
        select(PromiseRow.sop_class_uid, PromiseRow.sop_instance_uid, PromiseRow.failure_reason)
        .where(PromiseRow.request_id == row.id)
        .order_by(PromiseRow.sop_instance_uid)
    )
    age = at - row.asked_at
    return Errand(
        request_id=row.id, fence=row.fence, state=row.state, transaction_uid=row.transaction_uid,
        ae_title=row.ae_title, called_ae_title=row.called_ae_title,
        items=tuple((one[0], one[1], one[2]) for one in items), is_young=age < GRACE,
        is_old=age > timedelta(seconds=rules.give_up_after_s),
    )  # fmt: skip


def kept(session: Session, errand: Errand) -> dict[str, list[tuple[str, str]]]:
    """Give (SOP class, SHA-256) of every content we hold of the instances asked about."""
    wanted = select(PromiseRow.sop_instance_uid).where(PromiseRow.request_id == errand.request_id)
    rows = session.execute(
        select(InstanceRow.sop_instance_uid, InstanceRow.sop_class_uid, InstanceRow.sha256)
        .join(CustodyRow, CustodyRow.instance_id == InstanceRow.id, isouter=True)
        .where(InstanceRow.sop_instance_uid.in_(wanted), CustodyRow.purged_at.is_(None))
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for uid, sop_class, sha256 in rows:
        found.setdefault(uid, []).append((sop_class, sha256))
    return found


def verify(
    errand: Errand, contents: dict[str, list[tuple[str, str]]], spool: Path
) -> dict[str, int]:
    """Hash what is stored; gives the failure reasons by instance, for those we do not keep."""
    found = {}
    for sop_class, uid, _ in errand.items:
        reason = _reason(sop_class, contents.get(uid, []), spool)
        if reason is not None:
            found[uid] = reason
    return found


def verified(session: Session, errand: Errand, failures: dict[str, int]) -> bool:
    """Note what was found; False where it is too early to say that something is missing."""
    failures = failures | _gone(session, errand)
    at = now(session)
    if errand.is_young and NO_SUCH_INSTANCE in failures.values():
        session.execute(_mine(errand).values(due_at=at + LOOK, leased_until=None))
        return False
    values = {"state": VERIFIED, "verified_at": at, "due_at": at, "leased_until": None}
    if session.scalar(_mine(errand).values(values).returning(PromiseRequestRow.id)) is None:
        return False
    rows = session.scalars(select(PromiseRow).where(PromiseRow.request_id == errand.request_id))
    for row in rows:
        row.failure_reason = failures.get(row.sop_instance_uid)
    _audit(session, errand, "commitment.verified", len(failures))
    return True


@contextmanager
def reporting(to: Peer) -> Iterator[Association]:
    """Have an association on which we are the provider of Storage Commitment.

    Raises:
        TryAgain, Broken: as ``dimse.associate``; TryAgain also where the role is not taken.
    """
    role = build_role(commitment.SOP_CLASS, scu_role=False, scp_role=True)
    wanted = [(commitment.SOP_CLASS, ExplicitVRLittleEndian)]
    with dimse.associate(to, wanted, roles=[role]) as association:
        if not any(one.as_scp for one in association.accepted_contexts):
            msg = f"{to.name} does not let us be the provider of Storage Commitment"
            raise TryAgain(msg)
        yield association


def report(errand: Errand, to: Remote) -> None:
    """Send the report on an association of our own, as its provider (PS3.4 J.3.3).

    Raises:
        TryAgain, Broken: as ``dimse.associate``; TryAgain also where it is not taken.
    """
    failed = [one for one in errand.items if one[2] is not None]
    good = [one for one in errand.items if one[2] is None]
    told = Dataset()
    told.TransactionUID = errand.transaction_uid
    if good:
        told.ReferencedSOPSequence = [_item(*one) for one in good]
    if failed:
        told.FailedSOPSequence = [_item(*one) for one in failed]
    with reporting(to) as association:
        answer, _ = association.send_n_event_report(
            told, SOME_NOT if failed else ALL_KEPT, commitment.SOP_CLASS, commitment.SOP_INSTANCE
        )
    status = answer.get("Status")
    if status != dimse.SUCCESS:
        code = "no answer" if status is None else f"0x{status:04X}"
        msg = f"{to.name} did not take the report ({code})"
        raise TryAgain(msg)


def reported(session: Session, errand: Errand, error: str, rules: Commitment) -> None:
    """Note that the report was taken, or why not: again later, and at last told to a person."""
    at = now(session)
    row = session.scalar(
        select(PromiseRequestRow)
        .where(PromiseRequestRow.id == errand.request_id, PromiseRequestRow.fence == errand.fence)
        .with_for_update()
    )
    if row is None:
        return
    row.leased_until, row.last_error = None, error or None
    failures = sum(one[2] is not None for one in errand.items)
    if not error:
        row.state, row.reported_at, row.due_at = REPORTED, at, None
        _audit(session, errand, "commitment.reported", failures)
    elif errand.is_old:
        row.state, row.reported_at, row.due_at = GAVE_UP, at, None
        _audit(session, errand, "commitment.not-reported", failures, alert=True)
    else:
        wait = min(rules.retry_first_s * 2 ** min(row.tries, 20), rules.retry_longest_s)
        row.tries += 1
        row.due_at = at + timedelta(seconds=wait)


def _gone(session: Session, errand: Errand) -> dict[str, int]:
    """Lock the studies asked about, and give what of them is not here: deleted while we looked."""
    asked = select(PromiseRow.sop_instance_uid).where(PromiseRow.request_id == errand.request_id)
    studies = select(InstanceRow.study_id).where(InstanceRow.sop_instance_uid.in_(asked))
    ordered = select(StudyRow.id).where(StudyRow.id.in_(studies)).order_by(StudyRow.id)
    session.execute(ordered.with_for_update())
    here = kept(session, errand)
    return {uid: NO_SUCH_INSTANCE for _, uid, _ in errand.items if uid not in here}


def _reason(sop_class: str, contents: list[tuple[str, str]], spool: Path) -> int | None:
    if not contents:
        return NO_SUCH_INSTANCE
    if any(one != sop_class for one, _ in contents):
        return CLASS_CONFLICT
    intact = all(_is_intact(stored_path(spool, sha256), sha256) for _, sha256 in contents)
    return None if intact else PROCESSING_FAILURE


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        return digest(path) == sha256
    except OSError:
        return False


def _item(sop_class: str, uid: str, failure_reason: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    if failure_reason is not None:
        item.FailureReason = failure_reason
    return item


def _mine(errand: Errand) -> Update:
    return update(PromiseRequestRow).where(
        PromiseRequestRow.id == errand.request_id, PromiseRequestRow.fence == errand.fence
    )


def _audit(
    session: Session, errand: Errand, kind: str, failures: int, *, alert: bool = False
) -> None:
    entry = Entry(
        event=Event.SECURITY_ALERT if alert else Event.PROCEDURE_RECORD, kind=kind, action="R",
        outcome=SERIOUS if alert else MINOR if failures else SUCCESS, actor="committer",
        ae_title=errand.ae_title, object_type="transaction", object_id=errand.transaction_uid,
        detail={"instances": len(errand.items), "failed": failures},
    )  # fmt: skip
    record(session, entry)
