"""The list and a study on paper: black on white from either theme, as wide as the sheet."""

import io

import pytest
from playwright.sync_api import Page, ViewportSize
from pypdf import PdfReader

from db.engine import now
from tests.triage.worklist.browser import House, picture
from tests.triage.worklist.builders import add_report, add_result, add_study
from tests.triage.worklist.test_list_page import fill
from triage.worklist.context import DISCLAIMER

pytestmark = pytest.mark.slow
A4 = ViewportSize(width=718, height=1045)
"""In CSS pixels, less the margins that Chromium leaves."""
OVERPRINTED = """() => {
    const wrong = [];
    for (const row of document.querySelectorAll(".studies tr")) {
        const cells = [...row.children].filter((one) => one.offsetParent !== null);
        cells.forEach((cell, at) => {
            const next = cells[at + 1];
            const wide = Math.max(cell.clientWidth, cell.scrollWidth);
            const right = cell.getBoundingClientRect().left + wide;
            const limit = next ? next.getBoundingClientRect().left : innerWidth;
            if (right > limit + 1) wrong.push(`${row.id} ${cell.textContent}`);
        });
    }
    return wrong;
}"""
COLOURED = """() => [...document.querySelectorAll("main *")]
    .filter((one) => one.checkVisibility() && one.textContent.trim())
    .map((one) => [one.className, getComputedStyle(one).color])
    .filter(([, colour]) => Math.max(...colour.match(/\\d+/g).slice(0, 3).map(Number)) > 0x60)"""


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_list_fits_a_sheet_and_no_word_is_pale_or_over_another(
    house: House, theme: str
) -> None:
    fill(house)
    page = sheet(house, theme, "/studies")
    assert page.locator(".studies thead th").evaluate_all(
        "all => all.filter(one => one.offsetParent !== null).length"
    ) == 8  # fmt: skip
    picture(page, f"print-list-{theme}", whole=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= A4["width"]
    assert page.evaluate(OVERPRINTED) == []
    assert page.evaluate(COLOURED) == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_study_fits_a_sheet_and_no_word_is_pale(house: House, theme: str) -> None:
    with house.database.begin() as session:
        study = add_study(session, "failed", reason_code="pixel-data", reason_detail="x")
        add_result(session, study)
        session.add(add_report(study, now(session)))
    page = sheet(house, theme, f"/studies/{study.id}")
    picture(page, f"print-study-{theme}", whole=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= A4["width"]
    assert page.evaluate(COLOURED) == []


def test_every_printed_sheet_of_a_list_or_a_study_says_the_intended_use(house: House) -> None:
    with house.database.begin() as session:
        for _ in range(40):
            study = add_study(session, sentence="A sentence. " * 30)
    for path, least in (("/studies", 3), (f"/studies/{study.id}", 1)):
        page = sheet(house, "dark", path)
        printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
        texts = [" ".join(one.extract_text().split()) for one in printed.pages]
        assert len(texts) >= least
        assert all(DISCLAIMER in one for one in texts)
        assert f"Page 1 of {len(texts)}" in texts[0]


def sheet(house: House, theme: str, path: str) -> Page:
    """Open a page as the printer of somebody with that theme sees it."""
    window = house.window(size=A4)
    window.page.context.add_cookies([{"name": "triage-theme", "value": theme, "url": house.url}])
    page = window.open(path)
    page.emulate_media(media="print", reduced_motion="reduce")
    return page
