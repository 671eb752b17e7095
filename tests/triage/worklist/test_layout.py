"""Where things stand on the pages that were found crooked: measured, at the usual widths."""

import pytest
from playwright.sync_api import ViewportSize

from db.accounts import BreakGlassRow
from db.engine import now
from tests.triage.worklist import imaged
from tests.triage.worklist.browser import House, Window, picture
from tests.triage.worklist.builders import add_report, add_result, add_study
from tests.triage.worklist.test_list_page import fill

SIZES = [ViewportSize(width=wide, height=900) for wide in (1280, 1600, 3840)]
BOX = "one => { const { left, right, top, bottom } = one.getBoundingClientRect(); %s }"
LEFT, RIGHT, BOTTOM = (BOX % f"return {side};" for side in ("left", "right", "bottom"))
BESIDE = """one => {
    const range = document.createRange();
    range.setStart(one.lastChild, 1);
    range.setEnd(one.lastChild, 3);
    const [words, dot] = [range, one.firstElementChild].map(part => part.getBoundingClientRect());
    return [words.left - dot.right, dot.bottom - words.top];
}"""
GAP = """one => one.getBoundingClientRect().top
    - one.previousElementSibling.getBoundingClientRect().bottom"""
TEXT_LEFT = """one => {
    const range = document.createRange();
    range.selectNodeContents(one);
    return range.getBoundingClientRect().left;
}"""


def test_the_choices_of_the_emergency_form_stand_beside_their_words(window: Window) -> None:
    page = window.open("/studies/1/emergency")
    for label in page.locator("main label.check").all():
        radio = label.locator("input")
        assert radio.evaluate("one => one.offsetWidth") < 24
        gap = label.evaluate(BESIDE)
        assert 0 < gap[0] < 20, "to its left"
        assert gap[1] > 0, "and not above it"
    assert "Your role does not" not in page.inner_text("main"), "a radiologist's does"


def test_somebody_whose_role_does_not_open_it_is_told_so(house: House) -> None:
    house.account("aud", "auditor")
    page = house.window("aud").open("/studies/1/emergency")
    assert "Your role does not open this study" in page.inner_text("main")


def test_the_emergency_line_stands_above_the_page_and_not_at_the_edge(
    house: House, window: Window
) -> None:
    house.account("aud", "auditor")
    with house.database.begin() as session:
        at = now(session)
        study = add_study(session)
        session.add(
            BreakGlassRow(user_id=2, study_id=study.id, reason="fault x", opened_at=at, until=at)
        )
    page = window.open("/studies")
    line = page.locator(".alert p")
    assert line.inner_text() == "1 study opened in an emergency: look at it"
    assert line.evaluate(LEFT) == page.locator("h1").evaluate(LEFT)


@pytest.mark.parametrize("size", SIZES, ids=["1280", "1600", "3840"])
def test_the_header_and_the_first_column_have_room(house: House, size: ViewportSize) -> None:
    fill(house)
    page = house.window(size=size).open("/studies")
    field = page.locator("#search")
    assert field.evaluate("one => one.offsetWidth") >= 170
    words = (
        "one => one.getBoundingClientRect().right - parseFloat(getComputedStyle(one).paddingRight)"
    )
    assert field.evaluate(words) <= page.locator(".search kbd").evaluate(LEFT)
    assert "description" in (field.get_attribute("aria-label") or "")
    for row in page.locator("#rows tr", has=page.locator(".level")).all():
        assert row.locator("a.open").evaluate(LEFT) - row.locator(".level").evaluate(RIGHT) >= 12


def test_where_there_is_no_search_the_account_still_stands_at_the_right(house: House) -> None:
    house.account("aud", "auditor")
    for name, path in ((None, "/login"), ("aud", "/audit")):
        page = house.window(name).open(path)
        assert page.evaluate("innerWidth") - page.locator("#theme-button").evaluate(RIGHT) < 40
        if name:
            assert page.locator(".who").evaluate(LEFT) > 1000


def test_what_examines_the_installation_is_a_button_like_the_others(window: Window) -> None:
    page = window.open("/admin/health")
    button = page.locator(".act button")
    border = button.evaluate("one => getComputedStyle(one).borderTopColor")
    assert border != "rgba(0, 0, 0, 0)"
    assert button.evaluate(LEFT) == page.locator("#doctor").evaluate(LEFT)


def test_the_viewer_s_state_is_on_its_line_and_the_bar_beside_its_words(
    house: House, window: Window
) -> None:
    built = imaged.ct(1)
    built[0].PixelData = built[0].PixelData[:100]
    study = imaged.receive(house.settings, house.database, built)
    page = window.open(f"/studies/{study}/view")
    wrong = page.locator(".pane .problem").first
    wrong.wait_for()
    assert wrong.evaluate(TEXT_LEFT) - wrong.evaluate(LEFT) < 24
    word, why = page.locator(".whose .word"), page.locator(".whose .why")
    assert abs(word.evaluate(BOTTOM) - why.evaluate(BOTTOM)) <= 2, "one baseline, two sizes"


def test_a_report_is_withdrawn_with_controls_like_the_others(house: House, window: Window) -> None:
    with house.database.begin() as session:
        study = add_study(session, "prioritised", priority=2)
        add_result(session, study)
        session.add(add_report(study, now(session)))
    page = window.open(f"/studies/{study.id}")
    form = page.locator("form.withdraw")
    assert form.locator("select").evaluate("one => getComputedStyle(one).borderRadius") == "8px"
    assert form.evaluate(GAP) >= 8
    picture(page, "study-withdraw", whole=True)


def test_the_print_hint_is_one_line_of_words(house: House, window: Window) -> None:
    with house.database.begin() as session:
        study = add_study(session, "prioritised", priority=2)
        add_result(session, study)
    page = window.open(f"/studies/{study.id}/evidence")
    assert page.locator(".steps .hint").evaluate("one => getComputedStyle(one).display") != "flex"


def test_the_second_factor_is_drawn_dark_on_white_and_codes_are_no_bullets(window: Window) -> None:
    page = window.open("/account")
    page.get_by_role("button", name="Add a second factor").click()
    drawn = page.locator(".qr")
    assert drawn.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
    assert drawn.evaluate("one => one.offsetWidth") < 260
    picture(page, "account-factor", whole=True)
    bullets = "getComputedStyle(Object.assign(document.querySelector('.card').appendChild(%s)%s"
    make = bullets % ("document.createElement('ul')", ", { className: 'codes' })).listStyleType")
    assert page.evaluate(make) == "none"
