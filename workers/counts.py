"""Ask the sources how many instances their studies have: one thread a source, within its budget."""

from db.engine import Database
from triage import log
from triage.completeness import Source
from triage.errors import Broken, TryAgain
from triage.evidence import counts
from triage.settings import Settings


class Counts:
    """The way to one source of counts."""

    def __init__(self, database: Database, settings: Settings, source: Source) -> None:
        self._database = database
        self._rules = settings.site.completeness
        self._source = source

    @property
    def name(self) -> str:
        """Give what its thread is called."""
        return f"count-{self._source.name}"

    def step(self) -> bool:
        """Ask one question that is due; False when there is none."""
        with self._database.reading() as session:
            if not counts.is_due(session, self._source):
                return False
        with self._database.begin() as session:
            question = counts.claim(session, self._source)
        if question is None:
            return False
        answer, error = None, ""
        try:
            answer = counts.ask(question, self._source)
        except TryAgain as why:
            error = str(why)
        except Broken as why:
            error = why.reason.sentence
        with self._database.begin() as session:
            done = counts.answered(session, question, answer, error, self._rules)
        log.get().info(
            "count.asked", source=self._source.name, study=question.study_id, answer=answer,
            complete=done, error=error,
        )  # fmt: skip
        return True
