import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from db.engine import Database, connect, now
from db.feedback import FeedbackRow
from db.tables import DetectionRow
from tests.triage.worklist import chromium
from tests.triage.worklist.builders import RESTS, add_result, add_study
from tests.triage.worklist.client import NAME, PASSWORD
from tests.triage.worklist.conftest import ROLES
from triage.settings import Settings
from triage.worklist.auth import create_user

ROOT = Path(__file__).parents[3]
SERVER = """
    import sys
    from pathlib import Path
    from triage import settings
    from triage.worklist.app import serve
    serve(settings.load(Path(sys.argv[1])), port=0, ready=lambda port: print(port, flush=True))
"""
EVIL = "<img src=/static/evil.png onerror=document.body.dataset.evil=1>"


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


class Server:
    """The worklist in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self.process = python(SERVER, str(settings.state))
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=20)
        return said


def fill(database: Database) -> None:
    with database.begin() as session:
        create_user(session, NAME, PASSWORD, ROLES)
        for outcome in RESTS:
            study = add_study(session, outcome, patient_name=EVIL, sentence=EVIL)
            if "prioritised" in outcome:
                add_result(session, study)


def test_importing_and_making_the_app_leaves_tensors_out(settings: Settings) -> None:
    code = """
        import sys
        from pathlib import Path
        from triage import settings
        from triage.worklist.app import create_app
        create_app(settings.load(Path(sys.argv[1])))
        print(sorted({"torch", "monai", "models", "celery"} & set(sys.modules)))
    """
    assert python(code, str(settings.state)).communicate(timeout=60)[0].strip() == "[]"


def test_the_server_tells_its_port_and_stops_at_sigterm(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/healthz", timeout=60) as answer:
        assert answer.read() == b"alive"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "server" not in answer.headers
    server.stop()
    assert server.process.returncode in {0, -signal.SIGTERM}


@pytest.fixture
def server(settings: Settings) -> Iterator[Server]:
    database = connect(settings.database_url)
    fill(database)
    database.dispose()
    running = Server(settings)
    yield running
    running.stop()


@pytest.fixture
def tab(server: Server, tmp_path: Path) -> Iterator[chromium.Tab]:
    """A browser that has signed in, at the list."""
    with chromium.browser(tmp_path / "profile") as tab:
        tab.open(f"{server.url}/login")
        tab.evaluate(f"document.querySelector('[name=name]').value = '{NAME}'")
        tab.evaluate(f"document.querySelector('[name=password]').value = '{PASSWORD}'")
        tab.evaluate("document.querySelector('main form').submit()")
        tab.wait("location.pathname === '/studies' && document.body.dataset.ready === 'yes'")
        yield tab


@pytest.mark.slow
@pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium is not installed")
def test_a_browser_shows_the_list_obeys_the_keys_and_has_nothing_to_complain_of(
    tab: chromium.Tab, settings: Settings
) -> None:
    focused = "document.activeElement.closest('tr')?.id"
    rows = tab.evaluate("[...document.querySelectorAll('#rows tr')].map(row => row.id)")
    tab.press("j")
    assert tab.evaluate(focused) == rows[0]
    tab.press("j")
    tab.press("k")
    tab.press("j")
    assert tab.evaluate(focused) == rows[1]
    _a_new_study_moves_no_row_under_the_hand(tab, settings, rows)
    tab.press("Enter")
    tab.wait(f"location.pathname === '/studies/{rows[1].removeprefix('study-')}'")
    tab.wait("document.body.dataset.ready === 'yes'")
    tab.press("Escape")
    tab.wait("location.pathname === '/studies' && document.body.dataset.ready === 'yes'")
    tab.press("/")
    assert tab.evaluate("document.activeElement.id") == "search"
    assert tab.evaluate("document.body.dataset.evil ?? 'unharmed'") == "unharmed"
    complaints = [one for one in tab.complaints if "preview.png" not in one]
    assert complaints == []


@pytest.mark.slow
@pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium is not installed")
def test_one_key_says_what_the_reader_thinks_and_one_takes_it_back(
    tab: chromium.Tab, settings: Settings
) -> None:
    database = connect(settings.database_url)
    with database.reading() as session:
        study = session.scalars(select(DetectionRow.study_id).limit(1)).one()

    def said() -> list[str]:
        with database.reading() as session:
            return list(session.scalars(select(FeedbackRow.verdict).order_by(FeedbackRow.id)))

    tab.evaluate(f"location.assign('/studies/{study}')")
    pressed = "document.querySelector('button[aria-pressed=true]')?.value"
    for key, verdict in (("d", "disagree"), ("a", "agree")):
        tab.wait("location.pathname.length > 9 && document.body.dataset.ready === 'yes'")
        tab.press(key)
        tab.wait(f"{pressed} === '{verdict}' && document.body.dataset.ready === 'yes'")
    tab.press("z")
    tab.wait(f"{pressed} === undefined && document.body.dataset.ready === 'yes'")
    tab.evaluate("document.querySelector('#search').focus()")
    tab.press("x")
    assert said() == ["disagree", "agree", "withdrawn"]
    database.dispose()
    assert [one for one in tab.complaints if "preview.png" not in one] == []


def _a_new_study_moves_no_row_under_the_hand(
    tab: chromium.Tab, settings: Settings, before: list[str]
) -> None:
    """Put a study above all others while a row has the focus; then let it in by the button."""
    shown = "[...document.querySelectorAll('#rows tr')].map(row => row.id)"
    place = "document.activeElement.getBoundingClientRect().top"
    top = tab.evaluate(place)
    database = connect(settings.database_url)
    with database.begin() as session:
        study = add_study(session, "prioritised", priority=2, received_at=now(session))
    database.dispose()
    tab.wait("!document.getElementById('show-new').hidden")
    assert tab.evaluate(shown) == before
    assert tab.evaluate(place) == top
    assert tab.evaluate("document.getElementById('spoken').textContent") == "1 new study"
    tab.evaluate("document.getElementById('show-new').click()")
    tab.wait(f"document.querySelector('#rows tr').id === 'study-{study.id}'")
    assert tab.evaluate("document.getElementById('show-new').hidden") is True
    tab.evaluate(f"document.querySelector('#{before[1]} a.open').focus()")
