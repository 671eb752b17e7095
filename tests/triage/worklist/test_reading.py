"""A reader's whole way by keys alone, and what a second reader sees of it."""

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from db.feedback import FeedbackRow
from db.reader_claims import ReaderClaimRow
from tests.triage.worklist import imaged
from tests.triage.worklist.browser import House, Window, picture
from tests.triage.worklist.client import NAME, PASSWORD
from tests.triage.worklist.conftest import audited

pytestmark = pytest.mark.slow
SECOND = "dr.second"
PATIENCE_MS = 45_000
PRESSED = "() => document.querySelector('button[value=agree]')?.ariaPressed === 'true'"


def type_in(page: Page, text: str) -> None:
    page.keyboard.type(text)
    page.keyboard.press("Tab")


def go(window: Window, key: str) -> Page:
    """Press a key that leads to another page."""
    with window.page.expect_navigation():
        window.page.keyboard.press(key)
    window.ready()
    return window.page


def says(page: Page, part: str, text: str) -> None:
    """Wait until a corner of the viewer says something."""
    expect(page.locator(f"[data-say={part}]").first).to_contain_text(text, timeout=PATIENCE_MS)


def test_a_reader_signs_in_reads_claims_says_goes_on_and_a_second_sees_the_claim(
    house: House,
) -> None:
    studies = [
        imaged.receive(house.settings, house.database, imaged.ct(count)) for count in (6, 2, 1)
    ]
    for study, priority in zip(studies, (3, 2), strict=False):
        imaged.judged(house.database, study, priority)
    first, second, _routine = studies
    house.account(SECOND, "radiologist")
    window = house.window(None)
    _signs_in(window)
    _opens_and_looks(window, first)
    _claims(house, window, first)
    _says(house, window)
    page = go(window, "n")
    picture(page, "reading-next")
    assert f"/studies/{second}" in page.url, "the claimed and the routine one come later"
    other = house.window(SECOND)
    row = other.open("/studies").locator(f"#study-{first}")
    assert row.get_attribute("data-claim") == NAME
    picture(other.page, "reading-second")
    assert f"{NAME} reads this study" in other.open(f"/studies/{first}").inner_text("main")
    assert [*window.foreign, *other.foreign] == []
    # of a preview that is not there Chromium says 404 aloud
    said = [*window.complaints, *other.complaints]
    assert [one for one in said if "Failed to load resource" not in one] == []


def _signs_in(window: Window) -> None:
    page = window.open("/login?next=/studies")
    assert page.evaluate("document.activeElement.name") == "name"
    type_in(page, NAME)
    page.keyboard.type(PASSWORD)
    go(window, "Enter")
    assert page.url.endswith("/studies")
    picture(page, "reading-list")


def _opens_and_looks(window: Window, first: int) -> None:
    page = window.page
    page.keyboard.press("j")
    expect(page.locator(f"#study-{first} a.open")).to_be_focused(timeout=PATIENCE_MS)
    go(window, "Enter")
    assert page.url.endswith(f"/studies/{first}")
    picture(page, "reading-study")
    go(window, "o")
    says(page, "place", "Image 1 of 6")
    for number in (2, 3):
        page.keyboard.press("ArrowDown")
        says(page, "place", f"Image {number} of 6")
    page.keyboard.press("2")
    says(page, "window", "lung")
    picture(page, "reading-viewer")
    go(window, "Escape")
    assert page.url.endswith(f"/studies/{first}")


def _claims(house: House, window: Window, first: int) -> None:
    go(window, "c")
    expect(window.page.locator(".claiming")).to_contain_text(
        "You read this study", timeout=PATIENCE_MS
    )
    with house.database.reading() as session:
        [claim] = session.scalars(select(ReaderClaimRow))
        assert (claim.study_id, claim.owner) == (first, NAME)


def _says(house: House, window: Window) -> None:
    window.page.keyboard.press("a")
    window.page.wait_for_function(PRESSED)
    window.ready()
    picture(window.page, "reading-said")
    with house.database.reading() as session:
        [word] = session.scalars(select(FeedbackRow))
        assert (word.verdict, word.reader) == ("agree", NAME)
    assert {row.actor for row in audited(house.database, "study.seen")} == {NAME}
