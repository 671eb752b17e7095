"""What tests of the ingestor ask of it: values as peers may send them, and what came of them."""

import secrets
import warnings
from pathlib import Path

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from sqlalchemy import select

from db.engine import Database
from db.tables import AuditRow, QuarantineRow, StudyRow
from tests.builders import dx, spooled
from triage.settings import Completeness
from triage.spool import Spool

RULES = Completeness(quiet_s=3600)
LONG = secrets.token_urlsafe(9000)
"""It cannot be compressed: an index of PostgreSQL takes no such key."""


def overlong(keyword: str, value: str, *, study: str, instance: int = 1) -> FileDataset:
    """Give a radiograph with a value as a peer may send it, however long."""
    dataset = dx(study=study, instance=instance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tag = tag_for_keyword(keyword)
        assert tag is not None
        dataset[tag] = DataElement(tag, dictionary_VR(keyword), value, validation_mode=0)
    return dataset


def put(spool: Spool, *datasets: FileDataset) -> list[Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return spooled(spool, *datasets)


def studies(database: Database) -> dict[str, StudyRow]:
    with database.reading() as session:
        return {one.study_instance_uid: one for one in session.scalars(select(StudyRow))}


def quarantined(database: Database) -> list[QuarantineRow]:
    with database.reading() as session:
        return list(session.scalars(select(QuarantineRow)))


def alerts(database: Database) -> list[AuditRow]:
    with database.reading() as session:
        which = select(AuditRow).where(AuditRow.event_id == "110113").order_by(AuditRow.id)
        return list(session.scalars(which))
