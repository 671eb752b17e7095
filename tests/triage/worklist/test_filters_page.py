"""Filters in Chromium where a hospital has hundreds of sites and rooms."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.triage.worklist.browser import House, Window, violations
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.test_filters import MANY, fill, sites

pytestmark = pytest.mark.slow


def test_choices_that_come_later_are_there_for_the_keyboard(house: House, window: Window) -> None:
    fill(house.database, sites(MANY))
    page = window.open("/studies?modality=CT")
    select = page.locator("#filters select[name=site]")
    expect(select.locator("option")).to_have_count(MANY + 1)
    expect(page.locator("select[data-later]")).to_have_count(0)
    assert violations(page) == []
    select.focus()
    page.keyboard.type("Hospital 07")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies?modality=CT&site=*")
    window.ready()
    chosen = sites(MANY)[70]
    expect(select).to_have_value(chosen)
    expect(select.locator("option")).to_have_count(MANY + 1)
    assert page.locator("#rows a.open").count() == 1
    page = window.open("/studies/filters?list=unread")
    assert violations(page) == []
    page.locator("#filters select[name=site]").select_option(chosen)
    page.get_by_role("button", name="Filter", exact=True).click()
    page.wait_for_url("**/studies?list=unread&*site=*")
    assert page.locator("#rows a.open").count() == 1
    assert window.complaints == []


def test_a_study_is_opened_within_a_filter_too_long_for_every_row(
    house: House, window: Window
) -> None:
    fill(house.database, [sites(1)[0]] * 2)
    query = urlencode({"modality": "CT", "site": sites(1)[0]})
    page = window.open(f"/studies?{query}")
    with house.database.begin() as session:
        add_study(session, institution_name=sites(1)[0], modality="CT", minutes=0)
    expect(page.locator("#rows tr")).to_have_count(3)  # and after the list was told anew
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/*?{query}")
    window.ready()
    page.keyboard.press("Escape")
    page.wait_for_url(f"**/studies?{query}")
    told = [one for one in window.complaints if "preview.png" not in one]
    assert told == []  # these studies hold no image


def test_choices_that_did_not_come_are_asked_for_again(house: House, window: Window) -> None:
    fill(house.database, sites(MANY))
    page = window.page
    page.route("**/studies/filters", lambda route: route.abort())
    window.open("/studies")
    select = page.locator("#filters select[name=site]")
    expect(select.locator("option")).to_have_count(1)
    page.unroute("**/studies/filters")
    select.focus()
    expect(select.locator("option")).to_have_count(MANY + 1)
