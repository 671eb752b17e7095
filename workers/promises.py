"""Keep our word: verify what others ask us to keep, and report it to them (PS3.4 J)."""

from db.engine import Database
from triage import log
from triage.destinations import Dimse
from triage.dimse import Remote
from triage.errors import Broken, TryAgain
from triage.evidence import promises
from triage.evidence.promises import ASKED, Errand
from triage.nodes import answer_to
from triage.settings import Settings


class Promises:
    """Requests for Storage Commitment, one after the other."""

    name = "promises"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._spool = settings.spool
        self._rules = settings.site.commitment
        self._peers = {
            one.ae_title: one for one in settings.site.destinations if isinstance(one, Dimse)
        } | {one.ae_title: one for one in self._rules.requesters}

    def step(self) -> bool:
        """Verify or report one request that is due; False when there is none."""
        with self._database.reading() as session:
            if not promises.is_due(session):
                return False
        with self._database.begin() as session:
            errand = promises.claim(session, self._rules)
        if errand is None:
            return False
        if errand.state == ASKED:
            self._verify(errand)
        else:
            self._report(errand)
        return True

    def _verify(self, errand: Errand) -> None:
        with self._database.reading() as session:
            contents = promises.kept(session, errand)
        failures = promises.verify(errand, contents, self._spool)
        with self._database.begin() as session:
            done = promises.verified(session, errand, failures)
        if done:
            log.get().info(
                "promise.verified", request=errand.request_id, instances=len(errand.items),
                failed=len(failures),
            )  # fmt: skip

    def _report(self, errand: Errand) -> None:
        error = ""
        try:
            promises.report(errand, self._address(errand))
        except TryAgain as why:
            error = str(why)
        except Broken as why:
            error = why.reason.sentence
        with self._database.begin() as session:
            promises.reported(session, errand, error, self._rules)
        log.get().info("promise.reported", request=errand.request_id, error=error)

    def _address(self, errand: Errand) -> Remote:
        """Give where the asking AE title listens.

        Raises:
            TryAgain: nobody said; a person may, and then the report leaves.
        """
        peer = self._peers.get(errand.ae_title)
        if peer is None:
            msg = f"where {errand.ae_title} listens is not known: {answer_to(errand.ae_title)}"
            raise TryAgain(msg)
        return Remote(
            peer.ae_title, peer.host, peer.port, errand.called_ae_title or "TRIAGE",
            peer.deadline_s, peer.tls,
        )  # fmt: skip
