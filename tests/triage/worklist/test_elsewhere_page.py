"""From the worklist, a study and the viewer into the PACS's own viewer, by one key."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page

from db.tables import StudyRow
from tests.triage.worklist import imaged
from tests.triage.worklist.browser import House, Window
from tests.triage.worklist.builders import shown_by
from triage.settings import Settings

pytestmark = pytest.mark.slow


class Viewer(BaseHTTPRequestHandler):
    """A PACS's viewer: it shows what it is asked for."""

    def do_GET(self) -> None:  # the name is http.server's
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>PACS</title><p>the study")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def pacs() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Viewer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/show"
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(settings: Settings, pacs: str) -> Settings:
    return shown_by(settings, pacs + "?studyUID={StudyInstanceUID}&patient={PatientID}")


def opened(page: Page) -> Page:
    with page.context.expect_page() as other:
        page.keyboard.press("Shift+Enter")
    other.value.wait_for_load_state()
    return other.value


def test_shift_and_enter_open_it_from_the_list_the_study_and_the_viewer(
    house: House, window: Window, pacs: str
) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(1))
    with house.database.reading() as session:
        uid = session.get_one(StudyRow, study).study_instance_uid
    for path in ("/studies", f"/studies/{study}", f"/studies/{study}/view"):
        page = window.open(path)
        if path == "/studies":
            page.keyboard.press("j")
        elif path == f"/studies/{study}":
            page.get_by_role("heading", name="Detectors").click()
        other = opened(page)
        assert other.title() == "PACS", path
        assert other.url.startswith(f"{pacs}?studyUID={uid}&"), path
        assert other.evaluate("[document.referrer, window.opener]") == ["", None]
        other.close()
        page.keyboard.press("?")
        page.get_by_text("open it in the PACS's viewer").wait_for()
        page.keyboard.press("Escape")
    assert not window.complaints
