"""What holds of every page: found from the table of routes, so that a new one is looked at too."""

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, ViewportSize
from sqlalchemy.orm import Session

from db.engine import now
from db.states import StudyState
from db.tables import QuarantineRow, TransitionRow
from tests.triage.worklist.browser import House, Window, picture, violations
from tests.triage.worklist.builders import (
    RESTS,
    add_report,
    add_result,
    add_study,
    add_warning,
)
from tests.triage.worklist.hostile import HANDLERS, LONG, SHOWN, TURNING
from triage.worklist.access import ROUTES
from triage.worklist.context import DISCLAIMER

pytestmark = pytest.mark.slow
PARTS: Final = frozenset(
    {
        "/healthz", "/readyz", "/studies/rows", "/studies/stream", "/studies/next", "/api/studies",
        "/dicomweb", "/studies/{study_id}/preview.png", "/studies/{study_id}/view/next",
    }
)  # fmt: skip
"""Answers to GET that are no page: for programs, or parts and pictures of a page."""
NAMED: Final = re.compile(r"/view/(series|frames|heat|priors)")
EVIL: Final = f"{HANDLERS}{SHOWN}" * 240
"""Of a text that no sign parts, so that its handlers come first; 65 kB."""
KEY_IMAGE: Final = "2.25.99887766554433221100"
NARROW, WIDE = ViewportSize(width=1280, height=800), ViewportSize(width=3840, height=2160)
MARKING: Final = re.compile(r"heat|overlay|opacity|arrow|contour|bounding|region of interest")


def pages() -> list[str]:
    """Give the path of every page, of the first study where one is meant."""
    found = [
        path
        for (method, path), _ in ROUTES.items()
        if method == "GET" and path not in PARTS and not NAMED.search(path)
    ]
    return [re.sub(r"\{.*?\}", "1", path) for path in found]


def fill(session: Session, name: str = "DOE^JANE", text: str = "A sentence.") -> None:
    """Add a study in every state, with all that a page may have to show of one."""
    said = {"patient_id": text, "accession_number": text, "study_description": text}
    for outcome in ("prioritised", *RESTS):
        study = add_study(
            session, outcome, minutes=300.0, patient_name=name, sentence=text, priority=2,
            priority_name="high", patient_birth_date="19600101", study_date="20260301",
            reason_code="pixel-data" if outcome in {"failed", "not analysed"} else None,
            reason_detail=text if outcome == "failed" else None, body_part=text[:500],
            institution_name=text[:64],
            received_at=now(session), **said,
        )  # fmt: skip
        add_result(session, study, key_sop_instance_uid=KEY_IMAGE)
        add_warning(session, study, sentence=text)
        refused = add_report(study, now(session), state="refused", last_error=text[:300])
        session.add_all((refused, _failure(session, study.id)))
    session.add(
        QuarantineRow(
            sha256="ef" * 32, size_bytes=7, source_ae_title="ROOM", received_at=now(session),
            reason_code="unparsable", reason_detail=text,
        )
    )  # fmt: skip


def _failure(session: Session, study: int) -> TransitionRow:
    return TransitionRow(
        study_id=study, old=StudyState.READY, new=StudyState.FAILED, reason="no reason",
        actor="worker", at=now(session),
    )  # fmt: skip


@pytest.fixture
def full(house: House) -> House:
    with house.database.begin() as session:
        fill(session)
    return house


@pytest.fixture
def hostile(house: House) -> House:
    with house.database.begin() as session:
        fill(session, LONG, EVIL)
    return house


def visited(window: Window) -> Iterator[tuple[str, Page]]:
    """Open every page, and those that ask before they act."""
    for path in pages():
        yield path, window.open(path)
    page = window.open("/admin/failures")
    page.get_by_role("button", name="Try all again").first.click()
    window.ready()
    yield "/admin/failures/retry", page


def shot(path: str, suffix: str) -> str:
    return f"{path.strip('/').replace('/', '-') or 'home'}-{suffix}"


def test_no_page_has_an_obstacle_a_complaint_a_foreign_request_or_marks_a_location(
    full: House,
) -> None:
    """In triage mode, in both themes; what is not a page is looked at below."""
    window = full.window()
    window.page.emulate_media(reduced_motion="reduce")  # no colour is caught on its way
    wrong = {}
    for path, page in visited(window):
        picture(page, shot(path, "dark"), whole=True)
        found = violations(page)
        page.evaluate("document.documentElement.dataset.theme = 'light'")
        picture(page, shot(path, "light"), whole=True)
        found += [f"light: {one}" for one in violations(page, only=["color-contrast"])]
        if found:
            wrong[path] = found
        assert DISCLAIMER in page.inner_text("body"), path
        assert KEY_IMAGE not in page.content(), path
        assert page.locator("[data-heat], .heat, .overlay, svg.mark, canvas.heat").count() == 0
        assert not MARKING.search(page.inner_text("main").lower()), path
    assert not wrong, "\n".join(f"{path}: {one}" for path, every in wrong.items() for one in every)
    # of a preview that is not there, or a link that was used, Chromium says 404 or 403 aloud
    assert [one for one in window.complaints if "Failed to load resource" not in one] == []
    assert window.foreign == []


def test_the_light_theme_is_kept_and_comes_with_the_first_byte(full: House) -> None:
    window = full.window()
    page = window.open("/studies")
    assert 'data-theme="dark"' in page.context.request.get(full.url + "/studies").text()
    page.get_by_role("button", name="Change to the light theme").click()
    for path in ("/studies", "/studies/1", "/admin", "/nowhere"):
        answer = page.context.request.get(full.url + path).text()
        assert 'data-theme="light"' in answer, path
        assert '<meta name="color-scheme" content="light">' in answer, path
    page = window.open("/studies/1")
    light = page.evaluate("getComputedStyle(document.documentElement).colorScheme")
    assert light == "light"


NAMING: Final = ("/studies", "/studies/1", "/studies/1/evidence", "/studies/1/view")
"""Pages that show a patient's name."""
STANDS: Final = """() => {
    const line = document.querySelector('footer.disclaimer').getBoundingClientRect();
    return line.height > 0 && line.top >= 0 && line.bottom <= innerHeight + 1;
}"""


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["1280", "3840"])
def test_a_name_of_html_script_and_64_kb_does_no_harm(hostile: House, size: ViewportSize) -> None:
    window = hostile.window(size=size)
    wanted = pages() if size == NARROW else [*NAMING, "/admin/detectors"]
    for path in wanted:
        page = window.open(path)
        assert "harmed" not in page.title(), path
        assert page.locator("[data-evil], img[src*=evil], main script, main [onload]").count() == 0
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, (path, over)
        assert page.evaluate(STANDS), path
        assert page.locator("footer.disclaimer").inner_text() == DISCLAIMER
        shown = page.locator("main").inner_text()
        assert not set(TURNING) & set(shown), path
        if path in NAMING:
            assert "<script>document.querySelector" in shown, path
            assert "<b data-evil>{{7*7}}" in shown, path
            assert "gnorw\u0627" in shown, path
        picture(page, shot(path, f"hostile-{size['width']}"))
    assert [one for one in window.complaints if "Failed to load resource" not in one] == []
    assert window.foreign == []


def test_the_verdict_is_not_pushed_away_by_a_sender_s_long_texts(hostile: House) -> None:
    window = hostile.window(size=NARROW)
    for path in ("/studies/1", "/studies/1/evidence"):
        verdict = window.open(path).locator("section.verdict").bounding_box()
        assert verdict is not None
        assert verdict["y"] < NARROW["height"], (path, verdict["y"])


def test_in_triage_mode_no_export_and_no_answer_to_a_program_marks_a_location(full: House) -> None:
    window = full.window()
    token = window.open("/studies").evaluate("document.body.dataset.csrf")
    request = window.page.context.request
    rows = request.get(f"{full.url}/api/studies")
    assert rows.ok
    assert KEY_IMAGE not in rows.text()
    export = request.post(f"{full.url}/studies/export", form={"csrf_token": token})
    assert export.ok
    assert KEY_IMAGE not in export.text()
    assert DISCLAIMER in export.text()
    assert request.get(f"{full.url}/studies/1/view/heat/{KEY_IMAGE}/1").status in {403, 404}


def test_the_system_s_colours_and_little_motion_are_honoured(full: House) -> None:
    window = full.window(forced=True)
    moving = "document.getAnimations().filter(one => one.playState === 'running').length"
    lasting = """[...document.querySelectorAll('a, button, .tab')]
        .filter(one => getComputedStyle(one).transitionDuration.split(',')
            .some(time => parseFloat(time) > 0)).length"""
    for path in ("/studies", "/studies/1", "/studies/1/view", "/admin/users", "/admin/health"):
        page = window.open(path)
        assert page.evaluate("matchMedia('(forced-colors: active)').matches")
        assert (page.evaluate(moving), page.evaluate(lasting)) == (0, 0), path
        picture(page, shot(path, "forced"))
    page = window.open("/studies")
    marks = page.locator("#rows .state")
    assert marks.count() == len(RESTS) + 1
    for mark in marks.all():
        assert mark.evaluate("one => getComputedStyle(one).borderTopStyle") == "solid"
        assert mark.locator(".word").inner_text()


def test_what_has_the_focus_is_seen_and_not_hidden_behind_the_bars(full: House) -> None:
    window = full.window(size=NARROW)
    hidden = """() => {
        const one = document.activeElement.getBoundingClientRect();
        const at = document.elementFromPoint(
            Math.min(innerWidth - 2, Math.max(1, one.left + one.width / 2)),
            Math.min(innerHeight - 2, Math.max(1, one.top + one.height / 2)));
        return Boolean(at && (at.closest('.disclaimer') || at.closest('thead'))
            && !at.contains(document.activeElement) && !document.activeElement.contains(at));
    }"""
    for path in ("/studies", "/studies/1", "/admin/users"):
        page = window.open(path)
        for _ in range(40):
            page.keyboard.press("Tab")
            assert not page.evaluate(hidden), path
