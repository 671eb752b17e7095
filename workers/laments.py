"""Reports of failures that were not reported when they happened, because the worker died."""

from db.engine import Database
from triage import log, record
from triage.assemble import read
from triage.decide import failed
from triage.errors import CodedError, Reason, TryAgain
from triage.finding import Assessment
from triage.record import failures
from triage.settings import Settings
from workers.bench import Bench
from workers.lease import owner


class Laments:
    """Reports one failure after the other, where the site wants such reports."""

    name = "laments"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._bench = Bench(settings)

    def step(self) -> bool:
        """Report one failure; False when none waits."""
        if not self._bench.reports_failed or not self._settings.site.destinations:
            return False
        with self._database.reading() as session:
            if not failures.is_due(session):
                return False
        with self._database.begin() as session:
            found = failures.begin_report(session, owner())
        if found is None:
            return False
        study_id, reason = found
        try:
            self._report(study_id, reason)
        except (CodedError, TryAgain) as why:  # the failure itself stands in the worklist
            log.get().warning("lament.failed", study=study_id, why=type(why).__name__)
        return True

    def _report(self, study_id: int, reason: Reason) -> None:
        with self._database.reading() as session:
            ref = record.load_generation(session, study_id, self._settings.spool)
            former = record.load_former_reports(session, study_id)
            accepted = record.load_accepted(session)
        assessment = Assessment(read(ref), (), failed(reason))
        documents = self._bench.report(assessment, former, accepted=accepted)
        with self._database.begin() as session:
            count = failures.save_report_of_failure(session, study_id, assessment, documents)
        log.get().info("lament.queued", study=study_id, documents=count)
