"""The browser itself: it opens our pages, hears their complaints, and axe-core speaks."""

import pytest

from tests.triage.worklist.browser import House, Window, violations
from tests.triage.worklist.builders import add_study

pytestmark = pytest.mark.slow


def test_a_window_is_signed_in_and_hears_what_a_page_complains_of(
    house: House, window: Window
) -> None:
    with house.database.begin() as session:
        add_study(session)
    page = window.open("/studies")
    assert page.locator("#rows tr").count() == 1
    assert window.complaints == []
    page.evaluate("console.error('heard')")
    page.evaluate("fetch('http://127.0.0.2:1/').catch(() => 0)")
    assert any(one.startswith("heard") for one in window.complaints)
    assert any("Content Security Policy" in one for one in window.complaints)
    page.route("**/elsewhere", lambda route: route.fulfill(body="ours no more"))
    page.goto("http://127.0.0.2:1/elsewhere")
    assert window.foreign == ["http://127.0.0.2:1/elsewhere"]


def test_nobody_is_led_to_the_sign_in_page(house: House) -> None:
    page = house.window(None).open("/studies")
    assert page.url.endswith("/login?next=/studies")


def test_axe_finds_an_image_without_words(house: House, window: Window) -> None:
    page = window.open("/studies")
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert any(one.startswith("image-alt") for one in violations(page))
