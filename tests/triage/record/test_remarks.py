"""What a detector said beside its score is written once, with its audit row and the fence."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy import select

from db.engine import Database
from db.remarks import ReadingRow, WarningRow
from db.tables import AuditRow, DetectionRow
from tests.triage.record.test_record import claimed, closed, received
from tests.triage.test_decide import POLICY, detection
from triage import record
from triage.assemble import read
from triage.decide import decide
from triage.finding import Assessment, Look, StudyWarning
from triage.study import StudyRef


def remarked(ref: StudyRef) -> Assessment:
    """Give an assessment of this study with one look, one more score and one warning."""
    look = Look("organ", "HEAD", 0.97, "", None)
    said = replace(detection(0.5), others={"centre": 2.5}, looks=(look,))
    warning = StudyWarning("header-image", "A sentence.", said.detector.name, "1.2")
    return Assessment(read(ref), (said,), decide([said], POLICY), warnings=(warning,))


def test_readings_and_warnings_are_written_with_the_detection_they_belong_to(
    sqlite_database: Database, tmp_path: Path
) -> None:
    number = received(sqlite_database, tmp_path, 1)
    closed(sqlite_database, number, tmp_path)
    with sqlite_database.begin() as session:
        claim = claimed(session, number)
        ref = record.load_generation(session, number, tmp_path)
        record.save_assessment(session, claim, remarked(ref), (), mode="triage")
    with sqlite_database.reading() as session:
        [said] = session.scalars(select(DetectionRow))
        score, organ = session.scalars(select(ReadingRow).order_by(ReadingRow.id))
        [warning] = session.scalars(select(WarningRow))
        kinds = [row.event_type for row in session.scalars(select(AuditRow).order_by(AuditRow.id))]
    assert (score.detection_id, score.kind, score.word, score.value) == (
        said.id, "score", "centre", 2.5
    )  # fmt: skip
    assert (organ.detection_id, organ.word, organ.header, organ.header_value) == (
        said.id, "HEAD", "", None
    )  # fmt: skip
    assert (warning.study_id, warning.generation, warning.fence) == (number, 1, said.fence)
    assert kinds[-2:] == ["study.analysed", "study.warned"]
