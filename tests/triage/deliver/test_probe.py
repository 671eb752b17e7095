"""What destinations can do: asked by negotiation, and nothing is stored to find out."""

from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage

from tests import servers
from tests.triage.committer import Committer, committing
from tests.triage.deliver.test_stow import Script, scripted_http
from tests.triage.peers import REFUSED, Scripted, destination, scripted
from triage import deliver
from triage.deliver import probe
from triage.destinations import Capability, Mllp
from triage.finding import Document

SR = "1.2.840.10008.5.1.4.1.1.88.34"


def accepted(found: tuple[Capability, ...]) -> set[str]:
    return {one.service for one in found if one.accepted}


def stores(found: tuple[Capability, ...]) -> set[str]:
    return {one.sop_class_uid for one in found if one.service == "store" and one.accepted}


def test_a_pacs_is_asked_for_every_service_and_class_and_stores_nothing() -> None:
    with scripted(script := Scripted()) as to:
        found = probe.probe(to)
    assert accepted(found) == {"tcp", "echo", "find", "store"}
    assert stores(found) == {SR}
    assert script.stored == []
    asked = [one for one in found if one.service == "store"]
    assert len(asked) == 2 * len(probe.STORES)


def test_storage_commitment_is_found() -> None:
    with committing(Committer()) as to:
        assert "commitment" in accepted(probe.probe(to))


def test_a_pacs_that_takes_no_report_says_so() -> None:
    with scripted(Scripted(), storage=(CTImageStorage,), find=False) as to:
        found = probe.probe(to)
    assert accepted(found) == {"tcp", "echo"}
    assert stores(found) == set()


def test_orthanc_takes_all_we_make(tmp_path: Path) -> None:
    with servers.orthanc(tmp_path / "orthanc") as pacs:
        found = probe.probe(destination(pacs.dicom_port, pacs.ae_title))
    assert stores(found) == {str(one) for one in probe.STORES}
    assert {"find", "commitment"} <= accepted(found)


@REFUSED
@pytest.mark.parametrize("kind", ["dimse", "mllp"])
def test_nobody_there_is_one_cross(kind: str) -> None:
    port = servers.free_port()
    to = (
        destination(port, "NOBODY")
        if kind == "dimse"
        else Mllp(name="ris", host="127.0.0.1", port=port)
    )
    [found] = probe.probe(to)
    assert (found.service, found.accepted) == ("tcp", False)
    assert "refused" in found.detail


@pytest.mark.parametrize(("status", "answers"), [(200, True), (404, False)])
def test_a_web_server_is_asked_whether_it_answers_queries(status: int, answers: bool) -> None:
    report = Document("x", "", "2.25.1", b"")
    with scripted_http(Script(query_status=status), report) as to:
        found = probe.probe(to)
    assert {one.service: one.accepted for one in found} == {"tcp": True, "query": answers}


def test_it_is_asked_in_the_sending_process() -> None:
    with scripted(Scripted()) as to:
        assert accepted(deliver.capabilities(to)) == {"tcp", "echo", "find", "store"}
    deliver.stop()
