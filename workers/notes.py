"""Rejection notes: written for what was withdrawn, and queued for whoever has it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from db.engine import Database
from db.lifecycle import StaleStudyError
from db.tables import OutboxRow
from triage import log
from triage.errors import Broken
from triage.finding import Document
from triage.keys import site_key
from triage.outputs.context import ReportContext
from triage.record import withdrawals
from triage.record.outbox import Errand
from triage.record.withdrawals import REASONS, Pending, Reason
from triage.settings import Settings
from workers.lease import owner


class Notes:
    """Writes the notes of one withdrawal after the other."""

    name = "notes"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def step(self) -> bool:
        """Write the notes of one withdrawal; False when none waits."""
        with self._database.reading() as session:
            pending = withdrawals.next_pending(session)
        if pending is None:
            return False
        notes = self._written(pending)
        try:
            with self._database.begin() as session:
                withdrawals.save_notes(session, pending, notes, owner())
        except StaleStudyError:
            log.get().info("notes.stale", study=pending.study_id)
        return True

    def _written(self, pending: Pending) -> dict[str, Document]:
        """Give a note for each destination about exactly what it has; one may be impossible."""
        reason, notes = REASONS[pending.reason], {}
        for destination, documents in pending.held.items():
            try:
                notes[destination] = self._note(documents, reason)
            except Broken as why:
                log.get().error("note.failed", study=pending.study_id, why=str(why))
        return notes

    def _note(self, documents: Sequence[Document], reason: Reason) -> Document:
        """Give an archive the note on its objects, and others the same document marked as wrong."""
        from triage.outputs import rejection_note, retraction

        objects = [one for one in documents if one.sop_class_uid]
        if objects:
            return rejection_note.build(objects, reason.title, reason.words, self._context())
        return retraction.build(documents[0], reason.words, self._context())

    def _context(self) -> ReportContext:
        site = self._settings.site
        return ReportContext(
            site_key=site_key(self._settings.secrets),
            reporting=site.reporting,
            mode=site.intended_use.mode,
            version=version("triage"),
            now=datetime.now(UTC),
        )


def supersede(database: Database, errand: Errand) -> None:
    """Take back the older reports of a study whose latest has arrived."""
    with database.begin() as session:
        row = session.get_one(OutboxRow, errand.outbox_id)
        withdrawals.supersede(session, row.study_id, owner())
