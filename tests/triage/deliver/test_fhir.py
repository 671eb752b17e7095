"""FHIR transactions: all or nothing, and nothing twice."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.triage.outputs import studies
from tests.triage.receivers.fhir import Server, server
from triage.deliver import Sender, fhir
from triage.destinations import Fhir
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document
from triage.outputs import fhir_bundle


@pytest.fixture(scope="module")
def bundle() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return fhir_bundle.build(assessment, studies.context())


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    one = Sender()
    yield one
    one.stop()


def test_the_server_keeps_one_report_with_its_study_device_and_observations(
    bundle: Document, sender: Sender
) -> None:
    script = Server()
    with server(script) as to:
        assert {sender.send(bundle, to) for _ in range(3)} == {200}
    kinds = [one["resource"]["resourceType"] for one in json.loads(bundle.content)["entry"]]
    assert sorted(key.partition("/")[0] for key in script.kept) == sorted(kinds)
    (report,) = script.of("DiagnosticReport")
    places = {one["reference"] for one in [*report["result"], *report["imagingStudy"]]}
    assert places <= set(script.kept)
    assert {place.partition("/")[0] for place in places} == {"Observation", "ImagingStudy"}


def test_another_report_on_the_study_shares_its_study_and_device(sender: Sender) -> None:
    script = Server()
    path = studies.bundled("CT_small.dcm")
    with server(script) as to:
        for generation in (1, 2):
            assessment = studies.assessed([path], generation=generation)
            sender.send(fhir_bundle.build(assessment, studies.context()), to)
    counts = {kind: len(script.of(kind)) for kind in ("DiagnosticReport", "ImagingStudy", "Device")}
    assert counts == {"DiagnosticReport": 2, "ImagingStudy": 1, "Device": 1}


def test_an_answer_lost_after_the_transaction_makes_no_second_report(
    bundle: Document, sender: Sender
) -> None:
    script = Server(statuses=[-200, 200])
    with server(script) as to:
        with pytest.raises(InDoubt, match="it may have arrived"):
            sender.send(bundle, to)
        assert sender.send(bundle, to, in_doubt=True) == 0
        assert sender.send(bundle, to) == 200
    assert len(script.of("DiagnosticReport")) == 1


def test_one_in_doubt_that_did_not_arrive_is_sent_again(bundle: Document, sender: Sender) -> None:
    script = Server()
    with server(script) as to:
        assert sender.send(bundle, to, in_doubt=True) == 200
    assert [one.method for one in script.arrived] == ["GET", "POST"]


@pytest.mark.parametrize("status", [401, 409, 429, 500, 503])
def test_busy_means_later(status: int, bundle: Document) -> None:
    with server(Server(statuses=[status])) as to, pytest.raises(TryAgain, match=f"{status} "):
        fhir.store(bundle, to)


@pytest.mark.parametrize("status", [302, 400, 404, 412, 422])
def test_a_refusal_is_final(status: int, bundle: Document) -> None:
    with server(Server(statuses=[status])) as to, pytest.raises(Broken, match="refused"):
        fhir.store(bundle, to)


def test_what_is_no_fhir_server_is_told_apart(bundle: Document) -> None:
    with server(Server(statuses=[202])) as to, pytest.raises(Broken, match="the base of FHIR"):
        fhir.store(bundle, to)


def test_nobody_there_means_later(bundle: Document) -> None:
    to = Fhir(name="fhir", url=f"http://127.0.0.1:{free_port()}", deadline_s=2.0)
    with pytest.raises(TryAgain, match="no connection"):
        fhir.store(bundle, to)


def test_a_token_is_read_from_its_file_at_each_use(bundle: Document, tmp_path: Path) -> None:
    script, path = Server(), tmp_path / "token"
    with server(script, token_file=path) as to:
        with pytest.raises(TryAgain, match="put the secret there"):
            fhir.store(bundle, to)
        path.write_text("first\n")
        with pytest.raises(TryAgain, match="chmod 600"):
            fhir.store(bundle, to)
        path.chmod(0o600)
        fhir.store(bundle, to)
        path.write_text("second\n")
        fhir.store(bundle, to)
    given = [one.headers["authorization"] for one in script.arrived]
    assert given == ["Bearer first", "Bearer second"]


def test_a_server_that_drips_its_answer_costs_no_more_than_the_deadline(
    bundle: Document, sender: Sender
) -> None:
    with server(Server()) as well:
        sender.send(bundle, well)
    with dripping() as port:
        to = Fhir(name="fhir", url=f"http://127.0.0.1:{port}", deadline_s=1.5)
        begin = time.monotonic()
        with pytest.raises(InDoubt, match="the sending process was ended"):
            sender.send(bundle, to)
        assert time.monotonic() - begin < 3.0


@contextmanager
def dripping() -> Iterator[int]:
    """Run a server that never is silent for long, and never done."""
    stopped = threading.Event()

    def serve(listening: socket.socket) -> None:
        with suppress(OSError), listening.accept()[0] as peer:
            peer.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stopped.wait(0.2):
                peer.sendall(b"X-Drip: 1\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        stopped.set()
        thread.join(60)
