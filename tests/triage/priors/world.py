"""A study at hand in our rows, older ones in a PACS, and the settings between."""

from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import FileDataset
from sqlalchemy import select

from db.audit import Event
from db.engine import Database
from db.priors import PriorInstanceRow, PriorRow, PriorSearchRow
from db.tables import AuditRow, InstanceRow, QuarantineRow, StudyRow
from tests import builders
from tests.servers import Orthanc
from triage.ingest import ingest_all
from triage.prior_sources import Priors
from triage.priors.lane import Lane, want
from triage.settings import Settings
from triage.spool import Spool, digest

PRIOR_TITLE = "TRIAGE_PRIOR"


def radiograph(
    study: str, date: str, *, patient: str = "P1", birth: str = "19700101", part: str = "CHEST",
    instance: int = 1, name: str = "Canary^Name",
) -> FileDataset:  # fmt: skip
    dataset = builders.dx(study=study, patient=patient, instance=instance)
    dataset.StudyDate, dataset.PatientBirthDate = date, birth
    dataset.BodyPartExamined, dataset.PatientName = part, name
    return dataset


@dataclass
class World:
    """Our side."""

    settings: Settings
    database: Database
    spool: Spool

    def with_priors(self, **given: object) -> "World":
        priors = Priors.model_validate(given)
        site = self.settings.site.model_copy(update={"priors": priors})
        settings = self.settings.model_copy(update={"site": site})
        return World(settings, self.database, self.spool)

    def present(self, dataset: FileDataset) -> int:
        """Receive a study; gives its number."""
        builders.spooled(self.spool, dataset)
        ingest_all(self.database, self.spool, self.settings.site.completeness)
        uid = StudyRow.study_instance_uid == str(dataset.StudyInstanceUID)
        with self.database.reading() as session:
            return session.scalars(select(StudyRow.id).where(uid)).one()

    def search(self, study_id: int) -> str:
        with self.database.begin() as session:
            want(session, study_id)
        return self.lane().search(study_id)

    def lane(self) -> Lane:
        return Lane(self.settings, self.database, "tester")

    def priors(self, study_id: int) -> list[PriorRow]:
        asked = select(PriorRow).where(PriorRow.study_id == study_id).order_by(PriorRow.id)
        with self.database.reading() as session:
            return list(session.scalars(asked))

    def search_row(self, study_id: int) -> PriorSearchRow:
        with self.database.reading() as session:
            return session.get_one(PriorSearchRow, study_id)

    def instances(self, prior: PriorRow) -> list[PriorInstanceRow]:
        asked = select(PriorInstanceRow).where(PriorInstanceRow.prior_id == prior.id)
        with self.database.reading() as session:
            return list(session.scalars(asked))

    def received(self) -> set[str]:
        with self.database.reading() as session:
            return set(session.scalars(select(InstanceRow.sop_instance_uid)))

    def audited(self, kind: str) -> list[AuditRow]:
        asked = select(AuditRow).where(AuditRow.event_type == kind).order_by(AuditRow.id)
        with self.database.reading() as session:
            return list(session.scalars(asked))

    def quarantined(self) -> list[QuarantineRow]:
        """Give what is in quarantine; each file of it is there."""
        with self.database.reading() as session:
            rows = list(session.scalars(select(QuarantineRow).order_by(QuarantineRow.id)))
        for row in rows:
            assert digest(self.spool.root / "quarantine" / f"{row.sha256}.dcm") == row.sha256
        return rows

    def alerts(self) -> list[str]:
        asked = select(AuditRow.event_type).where(AuditRow.event_id == Event.SECURITY_ALERT)
        with self.database.reading() as session:
            return list(session.scalars(asked))


def source(pacs: Orthanc, **given: object) -> dict[str, object]:
    return {
        "name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.dicom_port,
        "timeout_s": 10, **given,
    }  # fmt: skip


def hold(pacs: Orthanc, *datasets: FileDataset) -> None:
    for one in datasets:
        pacs.post("/instances", builders.part10(one))


def files(root: Path) -> list[Path]:
    return sorted((root / "priors").glob("*/*.dcm"))


def point_at_us(pacs: Orthanc, port: int) -> None:
    """Tell the PACS where the AE title of priors is."""
    where = f'{{"AET": "{PRIOR_TITLE}", "Host": "127.0.0.1", "Port": {port}}}'
    pacs._request("PUT", "/modalities/us", where.encode())
