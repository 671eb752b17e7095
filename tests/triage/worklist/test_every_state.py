"""Pages as they stand only sometimes: questions before an act, refusals, lists full or empty."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pyotp
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page
from sqlalchemy import select

from db import conflicts
from db.accounts import BreakGlassRow
from db.engine import now
from db.reader_claims import ReaderClaimRow
from db.tables import UserRow
from tests.triage.worklist.browser import SCREEN, House, Window, picture, serving, violations
from tests.triage.worklist.builders import add_report, add_result, add_study
from tests.triage.worklist.client import NAME, PASSWORD
from triage.settings import Settings
from triage.worklist import auth
from triage.worklist.context import DISCLAIMER

pytestmark = pytest.mark.slow
OTHER: Final = "dr.second"
Step = Callable[[Window], Page]


@pytest.fixture
def lived(house: House) -> House:
    """A house with a study of each trouble: 1 refused by a PACS and claimed, 2 held, 3 opened."""
    house.account(OTHER, "radiologist")
    house.account("warden", "auditor")
    with house.database.begin() as session:
        at, other = now(session), select(UserRow.id).where(UserRow.name == OTHER)
        who = session.scalars(other).one()
        refused, held, opened = (add_study(session, "prioritised") for _ in range(3))
        add_result(session, refused)
        session.add_all((
            add_report(refused, at, state="refused", last_status=0x0122),
            ReaderClaimRow(
                study_id=refused.id, user_id=who, owner=OTHER, claimed_at=at,
                expires_at=at + timedelta(hours=1), changed_at=at,
            ),
            BreakGlassRow(
                user_id=who, study_id=opened.id, opened_at=at, until=at + timedelta(hours=1),
                reason="nobody-there The reader on call does not answer.",
            ),
            BreakGlassRow(
                user_id=who, study_id=held.id, opened_at=at, until=at, reviewed_at=at,
                reviewed_by="boss", reason="fault The pixels cannot be decoded.",
            ),
        ))  # fmt: skip
        conflicts.hold(session, held, "wrong-worklist-entry", "the modality said so", actor="mpps")
    return house


def at(path: str) -> Step:
    """Open a page."""
    return lambda window: window.open(path)


def pressed(path: str, button: str, **chosen: str) -> Step:
    """Fill a page's fields by their names and press its button, where it is in ``main``."""

    def step(window: Window) -> Page:
        page = window.open(path)
        main = page.locator("main")
        for name, value in chosen.items():
            field = main.locator(f"form:has(button:text-is('{button}')) [name='{name}']").first
            if field.evaluate("one => one.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        with page.expect_navigation():
            main.get_by_role("button", name=button, exact=True).first.click()
        window.ready()
        return page

    return step


def taken(window: Window) -> Page:
    """Claim a study that another reads, as the list does where no script runs: without a reason."""
    page = window.open("/studies/1")
    page.evaluate("document.querySelector('.claiming select').required = false")
    with page.expect_navigation():
        page.get_by_role("button", name="Take over").click()
    window.ready()
    return page


def factor_shown(window: Window) -> pyotp.TOTP:
    """Ask for a second factor; gives what an authenticator would hold."""
    page = pressed("/account", "Add a second factor")(window)
    return pyotp.TOTP(page.locator(".card p > code").inner_text().replace("-", "").replace(" ", ""))


def factor_wanted(window: Window) -> Page:
    factor_shown(window)
    return window.page


def factor_given(window: Window) -> Page:
    code = factor_shown(window).now()
    window.page.get_by_label("Code").fill(code)
    with window.page.expect_navigation():
        window.page.get_by_role("button", name="Use this second factor").click()
    window.ready()
    return window.page


def second_step(window: Window) -> Page:
    """Sign in as one who has a second factor."""
    factor_given(window)
    window.page.context.clear_cookies()
    page = window.open("/login")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in", exact=True).click()
    window.ready()
    return page


STATES: Final[dict[str, tuple[str, Step, str]]] = {
    "confirm-resend": ("", pressed("/deliveries", "Send again"), "of study 1, to pacs again?"),
    "confirm-withdraw": (
        "", pressed("/studies/1", "Withdraw the report", reason="wrong-patient"),
        "Withdraw the report of study 1?",
    ),
    "confirm-resolve": (
        "", pressed("/studies/2", "Resolve", choice="release", reason="The entry was right."),
        "Because: The entry was right.",
    ),
    "confirm-looked": (
        "", pressed("/emergencies", "I looked at it"), "The reader on call does not answer.",
    ),
    "confirm-end-access": ("", pressed("/admin/users", "End access"), "cannot sign in"),
    "confirm-examine": (
        "", pressed("/admin/health", "Examine the installation now (triage doctor)"), "stores",
    ),
    "claimed-by-another": ("", taken, "Another reader has this study"),
    "error-404": ("", at("/studies/99"), "There is no such study."),
    "error-403": ("warden", at("/studies"), "Your role may not do this."),
    "error-403-emergency": ("warden", at("/studies/1"), "Open it in an emergency"),
    "emergencies-filled": ("warden", at("/emergencies"), "Looked at by"),
    "audit-found": ("warden", pressed("/audit?ask=who-saw", "Find", text="P1"), "The patient of"),
    "audit-missing": (
        "warden", pressed("/audit?ask=who-saw", "Find", text="nobody"), "No study here has",
    ),
    "conflicts-filled": ("", at("/conflicts"), "took the wrong worklist entry"),
    "study-with-a-doubt": ("", at("/studies/2"), "Doubts about identity or content"),
    "second-factor": ("", factor_wanted, "Let your authenticator read this"),
    "recovery-codes": ("", factor_given, "Each of these codes signs you in once"),
    "second-step": ("", second_step, "The six digits that your authenticator shows now"),
    "list-filtered-empty": ("", at("/studies?modality=MR"), "No study of this list fits"),
}  # fmt: skip
"""What it is called, who sees it ("": a radiologist who is admin), how to get there, its words."""


@pytest.mark.parametrize("name", STATES)
def test_it_has_no_obstacle_in_either_theme_and_says_the_intended_use(
    lived: House, name: str
) -> None:
    who, step, words = STATES[name]
    window = lived.window(who) if who else lived.window()
    window.page.emulate_media(reduced_motion="reduce")
    page = step(window)
    assert words in page.inner_text("main")
    look(window, name)


def look(window: Window, name: str) -> None:
    """Take a state's pictures in both themes, and see that it has no obstacle."""
    page = window.page
    picture(page, f"{name}-dark", whole=True)
    assert violations(page) == []
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    picture(page, f"{name}-light", whole=True)
    assert violations(page, only=["color-contrast"]) == []
    assert page.locator("footer.disclaimer").inner_text() == DISCLAIMER
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Chromium says of an answer of 403, 404 or 409 aloud that it is one
    assert [one for one in window.complaints if "Failed to load resource" not in one] == []
    assert window.foreign == []


def test_the_first_sign_in_has_no_obstacle_nor_has_a_wrong_word_in_it(
    empty_app: FastAPI, settings: Settings, browser: Browser
) -> None:
    with serving(empty_app) as url:
        context = browser.new_context(viewport=SCREEN, reduced_motion="reduce")
        window = Window(context.new_page(), url)
        page = window.open(f"/setup?token={auth.setup_token(settings)}")
        assert "Make the first administrator." in page.inner_text("main")
        look(window, "first-sign-in")
        page.get_by_label("Name").fill("first.admin")
        page.get_by_label("Password", exact=True).fill("a long password")
        page.get_by_label("Password again").fill("another long one")
        with page.expect_navigation():
            page.get_by_role("button", name="Make the account").click()
        window.ready()
        assert "differ" in page.inner_text("main")
        look(window, "first-sign-in-again")
        context.close()


def test_a_claim_says_how_long_ago_it_was_made_in_words_that_fit(lived: House) -> None:
    window = lived.window()
    for path in ("/studies", "/studies/1"):
        text = window.open(path).inner_text("main")
        assert re.search(r"\d+ (s|min) ago", text), path
        assert not re.search(r"since \d+ (s|min) ago", text), path
    picture(window.open("/studies/1/evidence"), "evidence", whole=True)
