"""The heat map on the page, in a real browser."""

import pytest

from tests.triage.worklist import imaged
from tests.triage.worklist.browser import House, Window, picture, violations
from tests.triage.worklist.conftest import audited
from tests.triage.worklist.test_viewer_page import calm, gap, middle, opened, press, said, windowed
from triage.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return imaged.in_research(settings)


def test_on_the_page_it_is_off_until_pressed_and_says_what_it_is(
    house: House, window: Window
) -> None:
    study, _ = imaged.with_map(house.settings, house.database)
    page = opened(window, study)
    assert page.locator(".research").is_visible()
    assert page.locator("#heat").is_hidden()
    assert audited(house.database, "viewer.heat") == []
    press(page, "0")
    said(page, "zoom", "100 %")
    plain = windowed(imaged.ramp(0), 40, 400)
    assert gap(middle(page), plain) <= 1
    press(page, "m")
    page.wait_for_function(
        "() => document.querySelector('[data-heat=size]').textContent.includes('map 8')"
    )
    assert "rarer than 98.7 % of 500 healthy studies" in page.locator("#heat").inner_text()
    press(page, "0")
    warm = middle(page)
    assert gap(warm[2:14, 2:14], plain[3:13, 3:13]) > 30
    assert gap(warm[30:], plain[34:]) <= 1, "what is under the limit is not drawn"
    press(page, "]")
    assert page.locator("#heat input").input_value() == "50"
    picture(page, "viewer-heat")
    assert violations(page) == []
    press(page, "m")
    page.wait_for_selector("#heat", state="hidden")
    calm(window)


def test_its_colours_say_how_many_healthy_studies_have_a_point_as_strong(
    house: House, window: Window
) -> None:
    healthy = [1.0] * 30 + [5.0] * 4
    study, _ = imaged.with_map(
        house.settings, house.database, healthy=healthy, alike=imaged.references()
    )
    page = opened(window, study)
    press(page, "m")
    page.wait_for_function("() => document.querySelector('[data-heat=strongest]').textContent")
    said_here = page.locator("#heat").inner_text()
    assert "As strong a point is in 1 of 2 healthy studies" in said_here
    assert "in none of 34, from the mark on" in said_here
    assert "Strongest here: as strong in 4 of 34" in said_here
    assert "series rarer than 98.7 % of 500 healthy studies" in said_here
    assert "distance 0.50" in said_here
    assert "usually 0.63 from the next one" in said_here
    loaded = "() => [...document.querySelectorAll('.alike img')].every((one) => one.naturalWidth)"
    page.wait_for_function(loaded)
    assert violations(page) == []
    picture(page, "viewer-heat-calibrated")
    calm(window)
