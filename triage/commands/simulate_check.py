"""Look into the pipeline's database: is everything there that the senders were promised?"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine import Database
from db.states import FINAL
from db.tables import DecisionRow, GenerationRow, InstanceRow, OutboxRow, StudyRow

CHUNK = 500
"""Names in one question: databases limit them."""
SENT = "sent"


@dataclass(frozen=True, slots=True)
class Found:
    """What a database says of one study."""

    state: str
    outcome: str
    decided_at: float | None
    """Seconds since the epoch: when the study's present generation was decided."""
    closed_by: str
    """The kind of evidence on which its present generation was closed; empty where none is."""
    reports: int
    """Documents for its destinations, of every generation."""
    reports_sent: int

    @property
    def rests(self) -> bool:
        """Tell whether nothing more is done to it."""
        return self.state in FINAL


def missing(database: Database, acknowledged: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give what was acknowledged and has no row: (SOP Instance UID, content), sorted."""
    wanted = sorted(acknowledged)
    have: set[tuple[str, str]] = set()
    with database.reading() as session:
        for start in range(0, len(wanted), CHUNK):
            uids = {uid for uid, _ in wanted[start : start + CHUNK]}
            query = select(InstanceRow.sop_instance_uid, InstanceRow.sha256)
            rows = session.execute(query.where(InstanceRow.sop_instance_uid.in_(uids)))
            have |= {(row[0], row[1]) for row in rows}
    return [one for one in wanted if one not in have]


def look(database: Database, studies: Collection[str]) -> dict[str, Found]:
    """Give what is known of these studies, by Study Instance UID."""
    wanted = sorted(studies)
    found: dict[str, Found] = {}
    with database.reading() as session:
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            query = select(StudyRow).where(StudyRow.study_instance_uid.in_(chunk))
            rows = {row.id: row for row in session.scalars(query)}
            found |= _found(session, rows)
    return found


def sent_reports(database: Database, studies: Collection[str]) -> list[str]:
    """Give the SOP Instance UIDs of what was sent for these studies."""
    wanted, found = sorted(studies), set[str]()
    with database.reading() as session:
        for start in range(0, len(wanted), CHUNK):
            query = (
                select(OutboxRow.sop_instance_uid)
                .join(StudyRow, StudyRow.id == OutboxRow.study_id)
                .where(StudyRow.study_instance_uid.in_(wanted[start : start + CHUNK]))
                .where(OutboxRow.state == SENT)
            )
            found |= set(session.scalars(query))
    return sorted(found)


def _found(session: Session, rows: Mapping[int, StudyRow]) -> dict[str, Found]:
    decisions = select(DecisionRow).where(DecisionRow.study_id.in_(rows))
    decided = {
        one.study_id: one.at.timestamp()
        for one in session.scalars(decisions)
        if one.generation == rows[one.study_id].generation
    }
    generations = select(GenerationRow).where(GenerationRow.study_id.in_(rows))
    closed = {
        one.study_id: _kind(one.evidence)
        for one in session.scalars(generations)
        if one.number == rows[one.study_id].generation
    }
    counts = Counter(
        {
            (study_id, state): count
            for study_id, state, count in session.execute(
                select(OutboxRow.study_id, OutboxRow.state, func.count())
                .where(OutboxRow.study_id.in_(rows))
                .group_by(OutboxRow.study_id, OutboxRow.state)
            )
        }
    )
    return {
        row.study_instance_uid: Found(
            state=str(row.state),
            outcome=row.outcome,
            decided_at=decided.get(number),
            closed_by=closed.get(number, ""),
            reports=sum(count for (study, _), count in counts.items() if study == number),
            reports_sent=counts[number, SENT],
        )
        for number, row in rows.items()
    }


def _kind(evidence: str) -> str:
    """Give the kind out of a sentence such as "MPPS: 1 step, 24 of 24 instances are here"."""
    kind, colon, _ = evidence.partition(":")
    return kind if colon else " ".join(evidence.split()[:2])
