"""A report that is withdrawn is taken back from everybody who was told."""

import json
from pathlib import Path

import hl7

from db.engine import Database
from db.tables import AuditRow, OutboxRow
from tests.builders import dx
from tests.triage.receivers.fhir import Server, server
from tests.triage.receivers.http import Answer, Request, serving
from tests.triage.receivers.mllp import Engine, engine
from tests.workers.house import House, house
from tests.workers.test_withdrawals import SILENT, withdraw
from triage.destinations import Webhook
from triage.record.withdrawals import SUPERSEDED

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def told(site: House) -> list[tuple[str, str, str]]:
    return [(row.destination, row.kind, row.state) for row in site.rows(OutboxRow)]


def test_everybody_is_told_once_that_it_was_wrong(
    sqlite_database: Database, tmp_path: Path
) -> None:
    ris, fhir, pages = Engine(), Server(), list[Request]()
    secret = tmp_path / "webhook.key"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)

    def page(request: Request) -> Answer:
        pages.append(request)
        return Answer(204)

    with engine(ris) as to_ris, server(fhir) as to_fhir, serving(page) as url:
        hook = Webhook(name="pager", url=url, secret_file=secret)
        with house(sqlite_database, tmp_path / "state", to_ris, to_fhir, hook, **SILENT) as site:
            site.receive(dx())
            site.work()
            assert {state for _, _, state in told(site)} == {"sent"}
            withdraw(site)
            site.work()
            site.work()
            after = told(site)
            trail = [row.event_type for row in site.rows(AuditRow)]
    assert [one for one in after if one[2] == "sent"] == [
        (name, "rejection_note", "sent") for name in ("ris", "fhir", "pager")
    ]
    assert "rejection-note.written" in trail
    assert "rejection-note.missing" not in trail
    first, second = (hl7.parse(one) for one in ris.arrived)
    assert {str(one(11)) for one in first.segments("OBX")} == {"P"}
    assert {str(one(11)) for one in second.segments("OBX")} == {"W"}
    [report] = fhir.of("DiagnosticReport")
    assert report["status"] == "entered-in-error"
    assert {one["status"] for one in fhir.of("Observation")} == {"entered-in-error"}
    assert [json.loads(one.content)["type"] for one in pages] == [
        "report.preliminary", "report.withdrawn",
    ]  # fmt: skip
    assert {one.headers["content-type"] for one in pages} == {"application/json"}


def test_what_a_newer_report_replaced_is_not_called_wrong(
    sqlite_database: Database, tmp_path: Path
) -> None:
    ris = Engine()
    with (
        engine(ris) as to_ris,
        house(sqlite_database, tmp_path / "state", to_ris, **SILENT) as site,
    ):
        site.receive(dx())
        site.work()
        withdraw(site, SUPERSEDED)
        site.work()
        trail = [row.event_type for row in site.rows(AuditRow)]
    assert len(ris.arrived) == 1
    assert "rejection-note.missing" not in trail
