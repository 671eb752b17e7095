"""STOW-RS: to Orthanc's DICOMweb plugin, and to a server that answers what a test tells it to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage

from tests import servers
from tests.triage.outputs import studies
from triage.deliver import Sender, stow
from triage.destinations import Stow
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document
from triage.outputs import structured_report

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture(scope="module")
def report() -> Document:
    assessment = studies.assessed([studies.bundled("CT_small.dcm")])
    return structured_report.build(assessment, studies.context())


def told(report: Document, *, failure: int | None = None, warning: int | None = None) -> str:
    """Give a store response (PS3.18 Annex I) about the report."""
    item: dict[str, Any] = {
        "00081150": {"vr": "UI", "Value": [str(Comprehensive3DSRStorage)]},
        "00081155": {"vr": "UI", "Value": [report.sop_instance_uid]},
    }
    if failure is not None:
        item["00081197"] = {"vr": "US", "Value": [failure]}
        return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}})
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    return json.dumps({"00081199": {"vr": "SQ", "Value": [item]}})


@dataclass
class Script:
    """What the server answers, and what it was sent."""

    status: int = 200
    body: str = ""
    found: bool = False
    query_status: int = 200
    hang_up: bool = False
    posts: list[tuple[str, bytes]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)


@contextmanager
def scripted_http(script: Script, report: Document) -> Iterator[Stow]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script.authorizations.append(self.headers.get("Authorization", ""))
            content = self.rfile.read(int(self.headers["Content-Length"]))
            script.posts.append((self.headers["Content-Type"], content))
            if script.hang_up:
                self.close_connection = True
                return
            self._answer(script.status, script.body)

        def do_GET(self) -> None:
            script.queries.append(self.path)
            match = [{"00080018": {"vr": "UI", "Value": [report.sop_instance_uid]}}]
            self._answer(script.query_status, json.dumps(match if script.found else []))

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield at(f"http://127.0.0.1:{server.server_port}/dicom-web")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def at(url: str, **more: object) -> Stow:
    return Stow.model_validate({"name": "web", "url": url, "deadline_s": 10.0, **more})


def test_orthanc_keeps_one_report_however_often_it_is_sent(
    report: Document, tmp_path: Path
) -> None:
    if not PLUGIN.exists():
        pytest.skip("orthanc-dicomweb is not installed")
    web = {"Enable": True, "Root": "/dicom-web/"}
    sender = Sender()
    with servers.orthanc(tmp_path / "orthanc", Plugins=[str(PLUGIN)], DicomWeb=web) as pacs:
        to = at(f"http://127.0.0.1:{pacs.http_port}/dicom-web")
        assert not stow.holds(report, to)
        assert sender.send(report, to) == 0
        assert stow.holds(report, to)
        sender.send(report, to)
        sender.send(report, to, in_doubt=True)
        [kept] = pacs.find("Instance", SOPInstanceUID=report.sop_instance_uid)
        assert pacs.get(f"/instances/{kept['ID']}/simplified-tags")["Modality"] == "SR"
    sender.stop()


def test_the_very_bytes_travel_as_one_part(report: Document) -> None:
    with scripted_http(script := Script(body="{}"), report) as to:
        assert stow.store(report, to) == 0
    [(kind, content)] = script.posts
    boundary = kind.rpartition("boundary=")[2]
    assert kind.startswith('multipart/related; type="application/dicom"')
    head, part, tail = content.split(f"--{boundary}".encode())
    assert (head, tail) == (b"", b"--\r\n")
    assert part == b"\r\nContent-Type: application/dicom\r\n\r\n" + report.content + b"\r\n"


@pytest.mark.parametrize("warning", [0xB000, 0xB006, 0xB007], ids=hex)
def test_a_warning_is_stored_and_kept(report: Document, warning: int) -> None:
    script = Script(202, told(report, warning=warning))
    with scripted_http(script, report) as to:
        assert stow.store(report, to) == warning


@pytest.mark.parametrize("failure", [0xA700, 0x0110, 0x0213], ids=hex)
@pytest.mark.parametrize("status", [202, 409])
def test_busy_means_later(report: Document, status: int, failure: int) -> None:
    script = Script(status, told(report, failure=failure))
    with scripted_http(script, report) as to, pytest.raises(TryAgain) as caught:
        stow.store(report, to)
    assert caught.value.status == failure


@pytest.mark.parametrize("failure", [0xA900, 0xC000, 0x0122, 0x0124], ids=hex)
def test_a_refusal_is_final(report: Document, failure: int) -> None:
    script = Script(409, told(report, failure=failure))
    with scripted_http(script, report) as to, pytest.raises(Broken) as caught:
        stow.store(report, to)
    assert caught.value.status == failure


def test_a_duplicate_that_is_there_is_stored(report: Document) -> None:
    script = Script(409, told(report, failure=0x0111), found=True)
    with scripted_http(script, report) as to:
        assert stow.store(report, to) == 0x0111
    assert len(script.queries) == 1


def test_a_duplicate_that_is_not_there_is_tried_again(report: Document) -> None:
    script = Script(409, told(report, failure=0x0111))
    with scripted_http(script, report) as to, pytest.raises(TryAgain, match="does not find"):
        stow.store(report, to)


@pytest.mark.parametrize("found", [True, False])
def test_a_conflict_without_reason_is_asked_about(report: Document, found: bool) -> None:
    script = Script(409, "", found=found)
    with scripted_http(script, report) as to:
        if found:
            assert stow.store(report, to) == 0
        else:
            with pytest.raises(Broken, match="named no reason"):
                stow.store(report, to)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_a_server_in_trouble_means_later(report: Document, status: int) -> None:
    with scripted_http(Script(status), report) as to, pytest.raises(TryAgain) as caught:
        stow.store(report, to)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [302, 400, 404, 415])
def test_any_other_status_is_final(report: Document, status: int) -> None:
    with scripted_http(Script(status), report) as to, pytest.raises(Broken) as caught:
        stow.store(report, to)
    assert caught.value.status == status


def test_a_server_that_hangs_up_leaves_doubt(report: Document) -> None:
    with scripted_http(Script(hang_up=True), report) as to, pytest.raises(InDoubt):
        stow.store(report, to)


def test_nobody_there_leaves_no_doubt(report: Document) -> None:
    with pytest.raises(TryAgain, match="no connection") as caught:
        stow.store(report, at(f"http://127.0.0.1:{servers.free_port()}"))
    assert not isinstance(caught.value, InDoubt)


def test_what_is_no_dicom_never_leaves(report: Document) -> None:
    with scripted_http(script := Script(), report) as to, pytest.raises(Broken, match="no DICOM"):
        stow.store(Document("x", "", "1.2", b"no DICOM" * 30), to)
    assert script.posts == []


@pytest.mark.parametrize("how", ["token", "password"])
def test_it_says_who_it_is(report: Document, tmp_path: Path, how: str) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    with scripted_http(script := Script(body="{}"), report) as plain:
        more = {"token_file": path} if how == "token" else {"user": "u", "password_file": path}
        stow.store(report, at(plain.url, **more))
    [sent] = script.authorizations
    assert sent == ("Bearer s3cret" if how == "token" else "Basic dTpzM2NyZXQ=")
