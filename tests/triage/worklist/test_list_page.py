"""The list in Chromium, by keyboard: clocks, claims, news, filters, search; axe's verdict."""

from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from db.engine import now
from db.feedback import FeedbackRow
from db.priors import PriorRow
from db.tables import StudyRow
from tests.triage.worklist.browser import House, Window, picture, violations
from tests.triage.worklist.builders import RESTS, add_result, add_study, add_warning
from triage.worklist.context import DISCLAIMER

pytestmark = pytest.mark.slow
EVIL = "<img src=/static/evil.png onerror=document.body.dataset.evil=1>\u202egnp.exe"
SECOND = "dr.second"
TOP = "row => row.getBoundingClientRect().top"


def fill(house: House) -> None:
    """Put a study of every state on the list, some aged, late, claimable, with priors."""
    with house.database.begin() as session:
        for number, outcome in enumerate(RESTS):
            for part in range(2):
                raised = outcome == "prioritised"
                study = add_study(
                    session, outcome, minutes=5 + 150 * part + number, priority=raised * (part + 1),
                    priority_name=("raised", "high")[part] if raised else "",
                    patient_name=f"FAMILY{number}{part}^GIVEN", patient_birth_date="19600101",
                    patient_sex="F", study_date="20261121", study_time="101500",
                    modality=("CT", "DX")[part], body_part="CHEST", study_description="Chest PA",
                    source_ae_title=f"ROOM_{part}", institution_name=f"H\u00f4pital {part} & Co",
                    accession_number=f"A{number}{part}",
                    sentence="At least as unusual as 990 of 1000 healthy studies.",
                )  # fmt: skip
        aged = add_study(session, "not prioritised", minutes=300, patient_name="AGED^ONE")
        add_warning(session, aged)
        session.add(
            PriorRow(
                study_id=study.id, study_instance_uid="2.25.77", source="", state="here",
                asked_at=now(session), open_until=now(session),
            )
        )  # fmt: skip
        add_study(session, patient_name=EVIL + "x" * 65_536, patient_id=EVIL, minutes=1)


def names(page: Page) -> list[str]:
    return page.locator("#rows a.open").all_text_contents()


def focused(page: Page) -> str | None:
    found = page.evaluate("document.activeElement.closest('tr')?.id ?? null")
    return None if found is None else str(found)


def test_a_reader_finds_claims_and_leaves_a_study_by_keys_alone(house: House) -> None:
    fill(house)
    house.account("dr.first", "radiologist")
    house.account(SECOND, "radiologist")
    reader, other = house.window("dr.first"), house.window(SECOND)
    page, there = reader.open("/studies"), other.open("/studies")
    ids = page.locator("#rows tr").evaluate_all("rows => rows.map(row => row.id)")
    assert page.locator('#rows a.open[tabindex="0"]').count() == 1
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("ArrowDown")
    assert focused(page) == ids[1]
    assert page.locator('#rows a.open[tabindex="0"]').count() == 1
    page.keyboard.press("c")
    expect(page.locator(f"#{ids[1]} .claim")).to_have_text("yours")
    expect(page.locator("#spoken")).to_have_text("Claimed")
    assert focused(page) == ids[1]  # the list was told anew and the focus stayed
    expect(there.locator(f"#{ids[1]} .claim")).to_have_text("dr.first")  # by the stream
    there.locator(f"#{ids[1]} a.open").focus()
    there.keyboard.press("c")
    expect(there.locator("#takeover .owner")).to_have_text("dr.first")
    assert violations(there) == []
    picture(there, "list-take-over")
    there.keyboard.press("2")
    expect(there.locator(f"#{ids[1]} .claim")).to_have_text("yours")
    expect(page.locator(f"#{ids[1]} .claim")).to_have_text(SECOND)
    there.keyboard.press("c")
    expect(page.locator(f"#{ids[1]} .unread")).to_be_visible()
    page.keyboard.press("n")
    page.wait_for_url("**/studies/*?list=unread")
    reader.ready()
    page.keyboard.press("c")
    expect(page.locator(".claiming .is-mine")).to_contain_text("You read this study")
    reader.ready()
    page.keyboard.press("Escape")
    page.wait_for_url("**/studies?list=unread")
    told = [one for one in reader.complaints + other.complaints if "preview.png" not in one]
    assert told == []  # these studies hold no image
    assert (reader.foreign, other.foreign) == ([], [])


def test_what_is_new_is_announced_and_moves_no_row_under_a_hand(
    house: House, window: Window
) -> None:
    fill(house)
    page = window.open("/studies")
    page.keyboard.press("j")
    page.keyboard.press("j")
    before, here = names(page), focused(page)
    top = page.evaluate("document.activeElement.getBoundingClientRect().top")
    with house.database.begin() as session:
        for number in range(3):
            add_study(session, "prioritised", priority=2, patient_name=f"NEW{number}")
    expect(page.locator("#show-new")).to_have_text("3 new \u2013 show")
    assert names(page) == before
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") == top
    assert page.locator("#spoken").text_content() == "3 new studies"
    picture(page, "list-news")
    page.locator("#show-new").click()
    expect(page.locator("#rows tr")).to_have_count(len(before) + 3)
    assert page.locator("#show-new").is_hidden()
    assert focused(page) in {here, None}
    expect(page.locator("#freshness")).to_have_text("Live")
    assert window.complaints == []


def test_a_key_lets_in_what_is_new_and_leaves_the_reader_at_their_row(
    house: House, window: Window
) -> None:
    fill(house)
    page = window.open("/studies")
    page.keyboard.press("j")
    page.keyboard.press("j")
    before, here = names(page), focused(page)
    page.keyboard.press("s")
    new_study(house, "NEW^ONE")
    expect(page.locator("#show-new")).to_have_text("1 new \u2013 show")
    page.keyboard.press("s")
    expect(page.locator("#rows tr")).to_have_count(len(before) + 1)
    assert focused(page) == here
    new_study(house, "NEW^TWO")
    expect(page.locator("#show-new")).to_have_text("1 new \u2013 show")
    page.keyboard.press("Escape")  # leaves the rows, so what waits is let in
    expect(page.locator("#rows tr")).to_have_count(len(before) + 2)
    assert focused(page) is None
    assert window.complaints == []


def test_a_row_that_another_page_gave_up_is_not_new(house: House, window: Window) -> None:
    with house.database.begin() as session:
        studies = [add_study(session, minutes=100 - n).id for n in range(60)]
    page = window.open("/studies?list=unread")
    assert page.locator("#rows tr").count() == 50
    page.keyboard.press("j")
    page.keyboard.press("j")
    with house.database.begin() as session:
        session.get_one(StudyRow, studies[9]).opened_at = now(session)  # a colleague reads it
    expect(page.locator("#show-new")).to_have_text("The order has changed \u2013 show")
    assert page.locator("#spoken").text_content() == ""
    gone = page.locator(f"#study-{studies[9]} a.open")
    gone.focus()
    page.keyboard.press("a")
    expect(page.locator("#spoken")).to_contain_text("It has left this list: open it.")
    assert words(house) == []
    new_study(house, "NEW^ONE")
    expect(page.locator("#show-new")).to_have_text("1 new \u2013 show")
    assert window.complaints == []


def test_a_choice_by_keys_is_asked_for_by_enter_and_not_on_the_way(
    house: House, window: Window
) -> None:
    fill(house)
    page = window.open("/studies")
    page.locator("#filters select[name=modality]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#filters select[name=modality]").input_value() == "DX"
    page.wait_for_timeout(300)
    assert page.url == f"{house.url}/studies"
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies?modality=DX")


def new_study(house: House, name: str) -> None:
    with house.database.begin() as session:
        add_study(session, "prioritised", priority=2, patient_name=name)


def test_no_row_moves_under_a_pointer_however_long_it_rests(house: House, window: Window) -> None:
    fill(house)
    window.page.clock.install()
    page = window.open("/studies")
    row = page.locator("#rows tr").nth(2)
    row.hover()
    before, top = names(page), row.evaluate(TOP)
    page.clock.run_for(600_000)
    new_study(house, "NEW^ONE")
    page.clock.run_for(31_000)  # a stream may be told late: the page asks by itself
    expect(page.locator("#show-new")).to_have_text("1 new \u2013 show")
    page.clock.run_for(600_000)
    assert names(page) == before
    assert row.evaluate(TOP) == pytest.approx(top, abs=1), "late, says a row above: a line more"
    assert page.locator("#show-new").is_visible()
    page.mouse.move(5, 5)  # the pointer leaves the rows: what waits is let in
    page.clock.run_for(2_000)
    expect(page.locator("#rows tr")).to_have_count(len(before) + 1)
    assert page.locator("#show-new").is_hidden()


def test_the_bar_is_in_sight_and_over_no_row_where_the_list_is_scrolled(
    house: House, window: Window
) -> None:
    with house.database.begin() as session:
        for number in range(40):
            add_study(session, minutes=number, patient_name=f"OLD^{number}")
    page = window.open("/studies")
    page.keyboard.press("End")
    page.locator("#rows a.open").nth(35).focus()
    new_study(house, "NEW^ONE")
    bar = page.locator("#show-new")
    expect(bar).to_be_visible()
    expect(bar).to_be_in_viewport()
    assert page.evaluate("scrollY") > 500
    over = """bar => {
        const { left, right, top, bottom } = bar.getBoundingClientRect();
        const head = document.querySelector(".studies thead").getBoundingClientRect();
        return bottom <= head.bottom && top >= head.top && left > 0 && right < innerWidth;
    }"""
    assert bar.evaluate(over)
    picture(page, "list-news-scrolled")
    bar.click()
    expect(page.locator("#rows a.open").first).to_have_text("NEW, ONE")


def test_it_is_not_live_while_the_answers_fail_though_the_stream_beats(
    house: House, window: Window
) -> None:
    fill(house)
    page = window.open("/studies")
    freshness = page.locator("#freshness")
    expect(freshness).to_have_text("Live")
    page.route("**/studies/rows*", lambda route: route.fulfill(status=500))
    page.wait_for_function("window.htmx")
    page.evaluate("window.htmx.trigger(document.getElementById('list'), 'refresh')")
    expect(page.locator("#trouble")).to_contain_text("could not be read")
    expect(freshness).to_contain_text("Not updated for")
    page.wait_for_timeout(2_500)  # the clock of the page has gone round
    assert "Not updated for" in (freshness.text_content() or "")
    page.unroute("**/studies/rows*")
    page.evaluate("window.htmx.trigger(document.getElementById('list'), 'refresh')")
    expect(freshness).to_have_text("Live")


def told_keys(page: Page) -> dict[str, str]:
    """Give what the help says: what a key does, by the key."""
    page.keyboard.press("?")
    rows = page.locator("#help tbody tr").all()
    told = {
        row.locator("kbd").inner_text(): row.locator("th").inner_text() for row in rows
    }  # fmt: skip
    close_help(page)
    return told


def close_help(page: Page) -> None:
    """Leave the help, and wait until keys are the page's again."""
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.wait_for_function("() => !document.activeElement?.closest('dialog')")


def test_the_help_tells_every_key_that_works_on_the_page_and_no_other(
    house: House, window: Window
) -> None:
    with house.database.begin() as session:
        study = add_study(session, "prioritised", priority=2)
        add_result(session, study)
    listed = told_keys(window.open("/studies"))
    assert {
        "j",
        "k",
        "o",
        "n",
        "c",
        "/",
        "?",
        "\u2193 \u2191",
        "Enter",
        "Shift+Enter",
        "Esc",
    } <= set(listed)
    assert {"a", "d", "u", "z"} <= set(listed)
    assert "x" not in listed
    page = window.open(f"/studies/{study.id}")
    assert {"j", "k", "o", "n", "c", "a", "d", "u", "x", "/", "?", "Esc"} == set(told_keys(page))
    page.keyboard.press("u")
    window.ready()
    expect(page.locator("button[value=unsure]")).to_have_attribute("aria-pressed", "true")
    assert "z" in told_keys(page)
    house.account("tech", "technologist")
    other = house.window("tech")
    assert {"a", "c"}.isdisjoint(told_keys(other.open("/studies"))), "it claims and says nothing"
    assert window.complaints == [one for one in window.complaints if "preview.png" in one]


def test_a_word_on_a_row_s_finding_is_one_key_and_undone_by_another(
    house: House, window: Window
) -> None:
    with house.database.begin() as session:
        study = add_study(session, "prioritised", priority=2, patient_name="ONE^A", minutes=1)
        add_result(session, study)
        add_study(session, patient_name="TWO^B", minutes=2)
    page = window.open("/studies")
    told = page.locator("#spoken")
    page.keyboard.press("a")
    page.keyboard.press("j")
    page.keyboard.press("d")
    expect(told).to_contain_text("ONE, A: you said disagree. Undo: z.")
    assert told.evaluate("one => one.getBoundingClientRect().height") > 20
    picture(page, "list-said")
    assert [one.verdict for one in words(house)] == ["disagree"]
    page.keyboard.press("z")
    expect(told).to_contain_text("taken back")
    page.keyboard.press("z")
    expect(told).to_contain_text("no word of yours")
    page.keyboard.press("j")
    page.keyboard.press("u")
    expect(told).to_contain_text("TWO, B: nothing was written.")
    assert [one.verdict for one in words(house)] == ["disagree", "withdrawn"]
    assert not violations(page)
    page.wait_for_function("() => document.getElementById('spoken').matches('.unseen')")
    assert window.complaints == [one for one in window.complaints if "400" in one]


def words(house: House) -> list[FeedbackRow]:
    with house.database.reading() as session:
        return list(session.scalars(select(FeedbackRow).order_by(FeedbackRow.id)))


def test_a_key_of_the_list_and_of_a_study_can_be_changed_and_is_told_at_once(
    house: House, window: Window
) -> None:
    with house.database.begin() as session:
        study = add_study(session, "prioritised", priority=2)
        add_result(session, study)
    page = window.open("/studies")
    page.keyboard.press("?")
    picture(page, "list-keys")
    for action, key in (("n", "e"), ("j", "q")):
        page.locator(f"#help [data-action='{action}']").click()
        page.keyboard.press(key)
    close_help(page)
    next_unread = page.locator(".tools .button kbd")
    assert next_unread.inner_text() == "e"
    page.keyboard.press("j")
    assert focused(page) is None
    page.keyboard.press("q")
    assert focused(page) == f"study-{study.id}"
    page = window.open(f"/studies/{study.id}")
    page.keyboard.press("?")
    page.locator("#help [data-action='a']").click()
    page.keyboard.press("g")
    close_help(page)
    agree = page.locator("button[value=agree]")
    assert agree.locator("kbd").inner_text() == "g"
    page.keyboard.press("a")
    page.keyboard.press("g")
    window.ready()
    expect(agree).to_have_attribute("aria-pressed", "true")
    assert agree.locator("kbd").inner_text() == "g"
    page.keyboard.press("?")
    page.locator("#help [data-single-keys]").uncheck()
    close_help(page)
    page.keyboard.press("e")
    assert page.url.startswith(f"{house.url}/studies/{study.id}")


def test_escape_in_a_choice_leaves_the_choice_and_then_the_page(
    house: House, window: Window
) -> None:
    with house.database.begin() as session:
        study = add_study(session, "prioritised", priority=2)
        add_result(session, study)
    page = window.open(f"/studies/{study.id}")
    page.locator("select[name=reason]").first.focus()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    assert page.url.endswith(f"/studies/{study.id}")
    page.keyboard.press("Escape")
    page.wait_for_url("**/studies")


def test_a_filter_is_in_the_url_and_what_is_typed_is_not(house: House, window: Window) -> None:
    fill(house)
    page = window.open("/studies")
    modality = page.locator("#filters select[name=modality]")
    modality.dispatch_event("pointerdown")  # by pointer a choice is asked for at once
    modality.select_option("CT")
    page.wait_for_url("**/studies?modality=CT")
    window.ready()
    assert page.locator("#rows tr").count() == 6
    page.locator("#list-unread").click()
    page.wait_for_url("**/studies?list=unread&modality=CT")
    window.ready()
    for site, found in (("H\u00f4pital 1 & Co", 0), ("H\u00f4pital 0 & Co", 6)):
        page.locator("#filters select[name=site]").select_option(site)
        page.locator("#filters select[name=site]").press("Enter")
        page.wait_for_url("**/studies?list=unread&modality=CT&site=*")
        window.ready()
        assert page.locator("#rows a.open").count() == found
        assert page.locator("#filters select[name=site]").input_value() == site
    page.keyboard.press("/")
    page.keyboard.type("family00")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/search")
    window.ready()
    assert names(page) == ["FAMILY00, GIVEN"]
    assert violations(page) == []
    picture(page, "search")
    assert window.complaints == []


def test_the_clock_runs_without_asking_and_says_late(house: House, window: Window) -> None:
    with house.database.begin() as session:
        study = add_study(session, "prioritised", priority=2, minutes=10)
    for place in ("rows*", "stream"):  # nothing is asked: the page is alone with its clock
        window.page.route(f"**/studies/{place}", lambda route: route.abort())
    page = window.open("/studies")
    turn = page.locator(f"#study-{study.id} .turn")
    assert turn.text_content() == "0:10 / 0:30"
    later = (now_of(house) + timedelta(minutes=22)).isoformat()
    page.evaluate("at => { document.getElementById('list').dataset.now = at; }", later)
    page.evaluate("import('/static/triage.js').then(one => { one.setClock(); one.tick(); })")
    expect(turn).to_have_text("0:32 / 0:30")
    assert page.locator(f"#study-{study.id} .turn-word").text_content() == "late"


def now_of(house: House) -> datetime:
    with house.database.reading() as session:
        return now(session)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_on_the_list_in_any_state(house: House, theme: str) -> None:
    window = house.window()
    window.page.context.add_cookies([{"name": "triage-theme", "value": theme, "url": house.url}])
    wrong = {}
    page = window.open("/studies")
    picture(page, f"list-empty-{theme}")
    wrong["empty"] = violations(page)
    fill(house)
    page = window.open("/studies")
    assert page.locator("html").get_attribute("data-theme") == theme
    assert DISCLAIMER in (page.text_content("footer") or "")
    picture(page, f"list-{theme}", whole=True)
    wrong["full"] = violations(page)
    assert page.evaluate("document.body.dataset.evil ?? 'unharmed'") == "unharmed"
    page.keyboard.press("?")
    picture(page, f"list-help-{theme}")
    wrong["help"] = violations(page)
    assert {key: found for key, found in wrong.items() if found} == {}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_on_the_sign_in_page(house: House, theme: str) -> None:
    window = house.window(None)
    window.page.context.add_cookies([{"name": "triage-theme", "value": theme, "url": house.url}])
    page = window.open("/login")
    picture(page, f"login-{theme}")
    assert violations(page) == []


@pytest.mark.parametrize("scripted", [True, False])
def test_every_row_is_drawn_and_printed_whether_a_script_runs_or_not(
    house: House, window: Window, scripted: bool
) -> None:
    with house.database.begin() as session:
        for number in range(40):
            add_study(session, minutes=number, patient_name=f"ROW{number}^ONE")
    page = window.page
    page.set_viewport_size({"width": 1600, "height": 950})
    if not scripted:
        page.route("**/static/**/*.js", lambda route: route.abort())
    page.goto(window.url + "/studies")
    cells = "[...document.querySelectorAll('#rows td')]"
    assert page.evaluate(f"{cells}.length") >= 40 * 7
    page.wait_for_function(f"() => {cells}.every(cell => cell.checkVisibility())")
    page.emulate_media(media="print")
    ways = (
        f"[...new Set({cells}.map(one => getComputedStyle(one.parentElement).contentVisibility))]"
    )
    assert page.evaluate(ways) == ["visible"]


def test_a_server_that_is_gone_is_told_and_the_rows_stay(house: House, window: Window) -> None:
    fill(house)
    page = window.open("/studies")
    expect(page.locator("#freshness")).to_have_text("Live")
    before = names(page)
    page.route("**/studies/rows*", lambda route: route.abort())
    page.wait_for_function("window.htmx")
    page.evaluate("window.htmx.trigger(document.getElementById('list'), 'refresh')")
    expect(page.locator("#trouble")).to_contain_text("The server does not answer")
    assert names(page) == before
    assert violations(page) == []
    picture(page, "list-trouble")
    with page.expect_request("**/studies/rows*"):
        page.locator("#trouble button").click()  # in vain
    page.unroute("**/studies/rows*")
    # In one step: the page asks by itself, too, and the button goes once it is answered.
    page.evaluate("document.querySelector('#trouble button')?.click()")
    expect(page.locator("#trouble")).to_be_hidden()


def test_colours_of_the_system_and_a_wide_and_a_narrow_screen_hold_the_list(house: House) -> None:
    fill(house)
    for width, forced in ((1280, False), (3840, False), (1600, True)):
        window = house.window(size={"width": width, "height": 900}, forced=forced)
        page = window.open("/studies")
        sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(sideways) <= 0, width
        picture(page, f"list-{width}-{'forced' if forced else 'plain'}")


def test_the_theme_is_one_press_away_and_stays(house: House, window: Window) -> None:
    page = window.open("/studies")
    page.locator("#theme-button").click()
    assert page.locator("html").get_attribute("data-theme") == "light"
    page = window.open("/studies")
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert page.locator("#theme-button").text_content() == "Dark"
