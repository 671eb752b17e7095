"""One study through every step to a RIS, a FHIR server, a webhook and a mail server."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hl7
import pytest
import torch
from standardwebhooks import Webhook as Verifier

from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, OutboxRow
from tests.builders import dx
from tests.triage.peers import Scripted, scripted
from tests.triage.receivers.fhir import Server, server
from tests.triage.receivers.http import Answer, Request, serving
from tests.triage.receivers.mllp import Engine, engine
from tests.triage.receivers.smtp import Office, office
from tests.workers.house import House, house
from triage.commands.study import describe
from triage.destinations import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass
class Around:
    """Every receiver there is beside the PACS."""

    pacs: Scripted = field(default_factory=Scripted)
    ris: Engine = field(default_factory=Engine)
    fhir: Server = field(default_factory=Server)
    pages: list[Request] = field(default_factory=list)
    office: Office = field(default_factory=Office)

    def page(self, request: Request) -> Answer:
        self.pages.append(request)
        return Answer(204)

    @contextmanager
    def site(self, database: Database, folder: Path) -> Iterator[House]:
        secret = folder / "webhook.key"
        secret.touch(mode=0o600)
        secret.write_text(SECRET)
        with ExitStack() as stack:
            url = stack.enter_context(serving(self.page))
            destinations = (
                stack.enter_context(scripted(self.pacs)),
                stack.enter_context(engine(self.ris)),
                stack.enter_context(server(self.fhir)),
                Webhook(
                    name="pager", url=url, secret_file=secret, outputs=("webhook", "plain_text")
                ),
                stack.enter_context(office(self.office)),
            )
            yield stack.enter_context(house(database, folder / "state", *destinations))


def test_a_study_reaches_every_receiver_once_though_two_of_them_err_at_first(
    sqlite_database: Database, tmp_path: Path
) -> None:
    around = Around(ris=Engine(["AE 207", "AA"]), fhir=Server(statuses=[-200, 200]))
    with around.site(sqlite_database, tmp_path) as site:
        site.receive(dx(rows=128))
        study = site.work()
        waiting = {row.kind for row in site.rows(OutboxRow) if row.state != "sent"}
        assert (study.state, waiting) == (StudyState.ANALYSED, {"hl7_oru", "fhir_bundle"})
        before = {row.kind: row.sha256 for row in site.rows(OutboxRow)}
        study = site.work()
        told = describe(sqlite_database, str(study.id))
        after = {row.kind: row.sha256 for row in site.rows(OutboxRow)}
        trail = "".join(row.detail for row in site.rows(AuditRow))
    assert study.state == StudyState.DELIVERED
    assert before == after
    states = {one["kind"]: (one["state"], one["attempts"]) for one in told["reports"]}
    assert states == {
        "structured_report": ("sent", 1), "hl7_oru": ("sent", 2), "fhir_bundle": ("sent", 2),
        "webhook": ("sent", 1), "plain_text": ("sent", 1), "mail": ("sent", 1),
    }  # fmt: skip
    assert "Canary" not in trail
    assert [len(around.pacs.stored), len(around.pages), len(around.office.arrived)] == [1, 2, 1]
    assert (len(around.ris.arrived), len(around.ris.kept)) == (2, 1)
    _all_say_the_same(around)


def _all_say_the_same(around: Around) -> None:
    [report] = around.fhir.of("DiagnosticReport")
    code = report["conclusionCode"][0]["coding"][0]["code"]
    assert code in {"PRIORITISED", "NOT-PRIORITISED"}
    [message] = around.ris.kept.values()
    results = {
        str(one(5)).partition("^")[0]
        for one in hl7.parse(message).segments("OBX")
        if str(one(3)).startswith("TRIAGE-RESULT")
    }
    assert results == {code}
    hook, text = (
        next(one for one in around.pages if one.headers["content-type"].startswith(kind))
        for kind in ("application/json", "text/plain")
    )
    body = Verifier(SECRET).verify(hook.content, hook.headers)
    assert code in json.dumps(body)
    assert report["identifier"][0]["value"].endswith(body["data"]["report_uid"])
    assert f"={code} 99TRIAGE]".encode() in text.content
    [(_, _, mail)] = around.office.arrived
    assert b"Subject: Triage: " in mail


def test_a_rejected_message_fails_visibly_and_costs_nobody_else(
    sqlite_database: Database, tmp_path: Path
) -> None:
    pacs, ris = Scripted(), Engine(["AR"])
    with (
        scripted(pacs) as archive,
        engine(ris) as to,
        house(sqlite_database, tmp_path / "state", to, archive) as site,
    ):
        site.receive(dx(rows=128))
        study = site.work()
        reports = describe(sqlite_database, str(study.id))["reports"]
    assert (study.state, study.reason_code) == (StudyState.FAILED, "refused")
    [refused] = [one for one in reports if one["state"] == "refused"]
    assert (refused["kind"], refused["last_error"]) == ("hl7_oru", "Ris answered AR")
    assert len(pacs.stored) == 1
