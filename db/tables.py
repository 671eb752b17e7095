"""The tables. One row, one fact; times are the database's clock in UTC."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base
from db.states import StudyState

UID = String(64)
SHA256 = String(64)
LONG = BigInteger().with_variant(Integer, "sqlite")
"""A number that outlives 32 bits; SQLite numbers its own rows only as INTEGER."""
UNREAD = text("opened_at IS NULL")
PLACE = ("priority", "received_at", "id")
"""A study's place on the worklist."""
FILTERS = ("modality", "body_part", "source_ae_title", "institution_name")
"""What narrows a list. An index that begins with one of them ends with the others, so that no row
is read that they leave out."""


def _but(*taken: str) -> Iterator[str]:
    return (one for one in FILTERS if one not in taken)


class StudyRow(Base):
    """A study that touched us: its state, its lease, its place on the worklist."""

    __tablename__ = "study"
    __table_args__ = (
        Index("ix_study_work", "state", "due_at"),
        Index("ix_study_worklist", "priority", "received_at", "id"),
        Index("ix_study_outcome", "outcome", "priority", "received_at", "id"),
        Index("ix_study_rank", "rank", "score", "id"),
        Index("ix_study_opened", "opened_at"),
        Index("ix_study_unread", *PLACE, *FILTERS, sqlite_where=UNREAD, postgresql_where=UNREAD),
        *(Index(f"ix_study_{one}", one, *PLACE, *_but(one)) for one in FILTERS),
        Index("ix_study_kind", "modality", "body_part", *PLACE, *_but("modality", "body_part")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(UID, unique=True)

    # life
    state: Mapped[StudyState] = mapped_column(String(16), default=StudyState.RECEIVING)
    due_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    leased_by: Mapped[str | None] = mapped_column(String(128))
    fence: Mapped[int] = mapped_column(default=0)
    """Grows with every claim and every arrival; a worker that holds an older one writes nothing."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Claims in this state that came to nothing: crashes and lost leases."""
    tries: Mapped[int] = mapped_column(default=0)
    """Times this step said "try again"."""
    published_at: Mapped[datetime | None]

    # completeness
    received_at: Mapped[datetime]
    last_instance_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    """When the study last came to rest in a final state."""
    generation: Mapped[int] = mapped_column(default=0)
    instance_count: Mapped[int] = mapped_column(default=0)

    # the worklist's columns
    outcome: Mapped[str] = mapped_column(String(16), default="pending")
    priority: Mapped[int] = mapped_column(default=0)
    priority_name: Mapped[str] = mapped_column(String(32), default="")
    rank: Mapped[float | None]
    """1 - p of the decisive detection."""
    score: Mapped[float | None]
    sentence: Mapped[str] = mapped_column(Text, default="")
    reason_code: Mapped[str | None] = mapped_column(String(32))
    reason_detail: Mapped[str | None] = mapped_column(Text)
    opened_at: Mapped[datetime | None]
    """When a reader first opened what it holds now. A trigger empties it with every new outcome
    and every new generation: what nobody has seen is unread."""

    # identity, as received
    patient_id: Mapped[str] = mapped_column(Text, default="")
    issuer_of_patient_id: Mapped[str] = mapped_column(Text, default="")
    patient_name: Mapped[str] = mapped_column(Text, default="")
    patient_birth_date: Mapped[str] = mapped_column(Text, default="")
    patient_sex: Mapped[str] = mapped_column(Text, default="")
    accession_number: Mapped[str] = mapped_column(Text, default="")
    study_date: Mapped[str] = mapped_column(Text, default="")
    study_time: Mapped[str] = mapped_column(Text, default="")
    study_description: Mapped[str] = mapped_column(Text, default="")
    modality: Mapped[str] = mapped_column(Text, default="")
    body_part: Mapped[str] = mapped_column(Text, default="")
    source_ae_title: Mapped[str] = mapped_column(String(16), default="")
    institution_name: Mapped[str] = mapped_column(String(64), default="", server_default=text("''"))


class InstanceRow(Base):
    """One content of one SOP instance, and where its bytes rest."""

    __tablename__ = "instance"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    modality: Mapped[str] = mapped_column(Text, default="")
    sha256: Mapped[str] = mapped_column(SHA256)
    """Of the data set as received, without the file meta information."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    source_ae_title: Mapped[str] = mapped_column(String(16))
    source_address: Mapped[str] = mapped_column(Text, default="")
    received_at: Mapped[datetime]
    copies: Mapped[int] = mapped_column(default=1)
    """How often the same bytes arrived."""


class QuarantineRow(Base):
    """Bytes that were acknowledged but cannot be indexed; kept and shown, never dropped."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(SHA256, unique=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    source_ae_title: Mapped[str] = mapped_column(String(16), default="")
    received_at: Mapped[datetime]
    reason_code: Mapped[str] = mapped_column(String(32))
    reason_detail: Mapped[str] = mapped_column(Text, default="")


class GenerationRow(Base):
    """A closed set of (SOP UID, sha256) of a study: what one analysis speaks about."""

    __tablename__ = "generation"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    number: Mapped[int]
    digest: Mapped[str] = mapped_column(SHA256)
    evidence: Mapped[str] = mapped_column(Text)
    closed_at: Mapped[datetime]


class GenerationMemberRow(Base):
    """One instance of one generation."""

    __tablename__ = "generation_member"

    generation_id: Mapped[int] = mapped_column(ForeignKey("generation.id"), primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id"), primary_key=True)


class DetectionRow(Base):
    """One detector's word on one series of one generation."""

    __tablename__ = "detection"
    __table_args__ = (
        UniqueConstraint("study_id", "generation", "detector", "series_instance_uid"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    generation: Mapped[int]
    fence: Mapped[int]
    detector: Mapped[str] = mapped_column(Text)
    family: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    weights_sha256: Mapped[str] = mapped_column(SHA256)
    artifact_sha256: Mapped[str] = mapped_column(SHA256)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    key_sop_instance_uid: Mapped[str] = mapped_column(UID)
    analysed_count: Mapped[int]
    score: Mapped[float]
    p_value: Mapped[float]
    stratum: Mapped[str] = mapped_column(Text)
    calibration_n: Mapped[int]
    calibration_fallback: Mapped[str] = mapped_column(Text, default="")
    calibration_sha256: Mapped[str] = mapped_column(SHA256)
    at: Mapped[datetime]


class DecisionRow(Base):
    """What one generation came to. The study row carries the latest."""

    __tablename__ = "decision"
    __table_args__ = (UniqueConstraint("study_id", "generation"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    generation: Mapped[int]
    fence: Mapped[int]
    outcome: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int]
    priority_name: Mapped[str] = mapped_column(String(32))
    sentence: Mapped[str] = mapped_column(Text)
    reason_code: Mapped[str | None] = mapped_column(String(32))
    reason_detail: Mapped[str | None] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(String(16))
    """intended_use.mode at the time."""
    thresholds: Mapped[str | None] = mapped_column(Text)
    """JSON: by each priority's name the p-value at or below which it was earned at the time; None
    of a decision that is older than this column."""
    at: Mapped[datetime]


class OutboxRow(Base):
    """One object for one destination: built once, its bytes never change."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination"),
        Index("ix_outbox_work", "destination", "due_at"),
        Index("ix_outbox_state", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    generation: Mapped[int]
    destination: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(32))
    sop_class_uid: Mapped[str] = mapped_column(UID)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str] = mapped_column(SHA256)
    state: Mapped[str] = mapped_column(String(16), default="queued")
    """queued, sent, refused, gave-up or withdrawn."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Times it was begun to be sent."""
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    built_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    # its own life, whatever the study's
    due_at: Mapped[datetime | None]
    """When something is next done about it; empty when nothing is left to do."""
    leased_until: Mapped[datetime | None]
    leased_by: Mapped[str | None] = mapped_column(String(128))
    fence: Mapped[int] = mapped_column(default=0, server_default="0")
    """Grows with every claim; an answer under an older one changes nothing."""
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    """Times the destination was away or busy since it was queued."""
    in_doubt: Mapped[bool] = mapped_column(default=False, server_default=false())
    """The last sending began and no answer is known: ask before the next."""
    commitment: Mapped[str | None] = mapped_column(String(16))
    """Of Storage Commitment: due, asked, committed or overdue; empty where none is wanted."""
    committed_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]
    """When the bytes were deleted here; digest and identifiers stay."""


class TransitionRow(Base):
    """One arrow a study went along, and why. Append-only."""

    __tablename__ = "transition"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    old: Mapped[str] = mapped_column(String(16))
    new: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime]


class AuditRow(Base):
    """One event in the words of PS3.15 A.5. Append-only; no names, no free text from DICOM.

    PostgreSQL keeps a table for each month (UTC): its primary key is (id, at).
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_object", "object_id", "id"),
        Index("ix_audit_at", "at"),
        Index("ix_audit_actor", "actor", "id"),
        Index("ix_audit_event", "event_id", "id"),
        Index(
            "ix_audit_kind", "event_type", "id",
            postgresql_ops={"event_type": "text_pattern_ops"},
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(LONG, primary_key=True)
    at: Mapped[datetime]
    event_id: Mapped[str] = mapped_column(String(16))
    """DCM code of the EventID: 110104 Instances Transferred, 110113 Security Alert ..."""
    event_type: Mapped[str] = mapped_column(String(64), default="")
    """Our own finer word, or the DCM EventTypeCode."""
    action: Mapped[str] = mapped_column(String(1))
    """C, R, U, D or E."""
    outcome: Mapped[int]
    """0 success, 4 minor, 8 serious, 12 major failure."""
    actor: Mapped[str] = mapped_column(Text)
    """User or process."""
    actor_role: Mapped[str] = mapped_column(String(32), default="")
    ae_title: Mapped[str] = mapped_column(String(16), default="")
    network_address: Mapped[str] = mapped_column(Text, default="")
    object_type: Mapped[str] = mapped_column(String(32), default="")
    """study, instance, user, configuration, audit ..."""
    object_id: Mapped[str] = mapped_column(Text, default="")
    """Study Instance UID, or our own id."""
    detail: Mapped[str] = mapped_column(Text, default="{}")
    """JSON of codes and counts."""
    event_uid: Mapped[str | None] = mapped_column(String(36))
    """Of an event journalled outside the database; ``db.once`` has each once."""


class AuditSealRow(Base):
    """The hash chain over the audit rows, in the order of sealing. Append-only."""

    __tablename__ = "audit_seal"

    seq: Mapped[int] = mapped_column(LONG, primary_key=True, autoincrement=False)
    audit_id: Mapped[int] = mapped_column(LONG, unique=True)
    prev_hash: Mapped[str] = mapped_column(SHA256)
    row_hash: Mapped[str] = mapped_column(SHA256)
    """SHA-256 of prev_hash, seq and the row's canonical JSON."""


class UserRow(Base):
    """A person who may sign in."""

    __tablename__ = "user_account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    """argon2id."""
    role: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]
    disabled: Mapped[bool] = mapped_column(default=False)
    failed_logins: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]


class SessionRow(Base):
    """A signed-in browser. The cookie's token is kept only as its hash."""

    __tablename__ = "web_session"

    token_sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    csrf_token: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
