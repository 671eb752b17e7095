from datetime import timedelta

from sqlalchemy import select

from db.among import among
from db.engine import Database, now
from db.tables import StudyRow

FOUND = select(StudyRow.id).where(among(StudyRow.id, "studies")).order_by(StudyRow.id)


def test_the_rows_among_the_numbers_are_found_however_many_they_are(database: Database) -> None:
    with database.begin() as session:
        at = now(session)
        studies = [
            StudyRow(
                study_instance_uid=f"2.25.{number}", due_at=at, received_at=at,
                last_instance_at=at - timedelta(seconds=number),
            )
            for number in range(5)
        ]  # fmt: skip
        session.add_all(studies)
        session.flush()
        ids = sorted(study.id for study in studies)
        for wanted in ([], ids[:1], ids[1:4], [*ids, max(ids) + 1], [max(ids) + 1]):
            found = session.scalars(FOUND, {"studies": wanted}).all()
            assert found == [one for one in ids if one in wanted]
