"""The viewer in a real browser: true pixels, keys alone, priors, and no harm by names."""

from base64 import b64decode
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, ViewportSize
from sqlalchemy import select

from db.engine import now
from db.feedback import FeedbackRow
from db.tables import InstanceRow, StudyRow
from tests.triage.files import image
from tests.triage.worklist import imaged
from tests.triage.worklist.browser import House, Scheme, Window, picture, violations
from tests.triage.worklist.builders import add_warning
from tests.triage.worklist.conftest import audited
from tests.triage.worklist.hostile import HOSTILE

SIDE = imaged.SIDE
PATIENCE_MS = 45_000
CANVAS = "document.querySelector('.pane canvas')"
DATA = f"""(() => {{
    const canvas = {CANVAS};
    return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
}})()"""
PLACED = """number => document.querySelector('[data-say=place]').textContent.startsWith(
    `Image ${number} of`)"""
FETCHED = """count => new Set(
    performance.getEntriesByType('resource')
        .filter((one) => one.responseStatus === 200)
        .map((one) => new URL(one.name))
        .filter((one) => one.pathname.includes('/frames/') && !one.searchParams.has('width'))
        .map((one) => one.pathname)
).size >= count"""
PACE = """frames => new Promise((done) => {
    const seen = [];
    document.querySelector('.pane').addEventListener('drawn', function hear() {
        seen.push(performance.now());
        if (seen.length <= frames) return;
        this.removeEventListener('drawn', hear);
        done((seen.at(-1) - seen[0]) / frames);
    });
})"""
RUNS = """async () => {
    const { Cine } = await import('/static/viewer/cine.js');
    let [clock, turn, went] = [0, null, 0];
    performance.now = () => clock;
    window.requestAnimationFrame = (then) => { turn = then; };
    const pane = { index: 0, go() { went += 1; } };
    const cine = new Cine();
    const watch = async (ms) => {
        went = 0;
        for (const end = clock + ms; clock < end;) await turn(clock += 10);
        return went;
    };
    const run = async (stack, faster = 1) => {
        pane.stack = stack;
        cine.toggle(pane);
        cine.pace(stack, faster);
        const found = await watch(1200);
        cine.stop();
        return found;
    };
    const [quick, slow] = [25, 200].map((frame_ms) => ({ frame_ms, frames: [{}, {}] }));
    const found = [];
    for (const [stack, faster] of [[quick], [slow], [slow, 2], [quick], [slow]]) {
        found.push(await run(stack, faster));
    }
    cine.toggle(pane);
    clock += 10_000;
    return [...found, await watch(50)];
}"""
DRAWN = "() => document.querySelector('.pane').dataset.shown !== undefined"


def opened(window: Window, study: int) -> Page:
    """Open the viewer and wait for its first picture."""
    page = window.open(f"/studies/{study}/view")
    page.wait_for_function("() => document.querySelector('[data-say=zoom]').textContent !== ''")
    page.locator(".pane").first.focus()
    return page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def at(page: Page, number: int) -> None:
    """Wait until the viewport is at that image."""
    page.wait_for_function(PLACED, arg=number)


def beside(page: Page, number: int, count: int = 4) -> None:
    """Wait until the prior's viewport is at that image."""
    page.wait_for_function(
        "([number, count]) => document.querySelectorAll('[data-say=place]')[1]"
        ".textContent.startsWith(`Image ${number} of ${count}`)",
        arg=[number, count],
    )


def said(page: Page, part: str, text: str) -> None:
    """Wait until a corner says something."""
    page.wait_for_function(
        "([part, text]) => document.querySelector(`[data-say=${part}]`).textContent.includes(text)",
        arg=[part, text],
    )


def middle(page: Page, side: int = SIDE) -> Any:  # noqa: ANN401 - an array
    """Give the red channel around the middle of the first viewport, one pixel more at each edge.

    The picture stands in the middle, off by up to one pixel where a side is odd.
    """
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    content = page.evaluate(
        f"""side => {{
            const canvas = {CANVAS};
            const [x, y] = [canvas.width, canvas.height].map((one) => Math.floor((one - side) / 2));
            const copy = new OffscreenCanvas(side, side);
            const context = copy.getContext('2d', {{ willReadFrequently: true }});
            context.drawImage(canvas, x, y, side, side, 0, 0, side, side);
            const {{ data }} = context.getImageData(0, 0, side, side);
            return btoa(String.fromCharCode(...data.filter((_, at) => at % 4 === 0)));
        }}""",
        side + 2,
    )
    return np.frombuffer(b64decode(content), np.uint8).reshape(side + 2, side + 2).astype(int)


def gap(shown: Any, wanted: Any) -> float:  # noqa: ANN401 - arrays
    """Give the largest difference of any pixel, where the picture fits best."""
    rows, columns = wanted.shape
    return float(
        min(
            np.abs(shown[y : y + rows, x : x + columns] - wanted).max()
            for y in range(3)
            for x in range(3)
        )
    )


def windowed(values: Any, centre: float, width: float) -> Any:  # noqa: ANN401 - arrays
    """PS3.3 C.11.2.1.2.1."""
    share = (values - (centre - 0.5)) / (width - 1) + 0.5
    return np.rint(np.clip(share, 0, 1) * 255)


def calm(window: Window) -> None:
    assert window.complaints == []
    assert window.foreign == []


def test_the_pixels_on_the_screen_are_the_windowed_values(house: House, window: Window) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(3))
    page = opened(window, study)
    press(page, "0")
    said(page, "zoom", "100 %")
    assert gap(middle(page), windowed(imaged.ramp(0), 40, 400)) <= 1
    press(page, "2")
    said(page, "window", "lung")
    assert gap(middle(page), windowed(imaged.ramp(0), -600, 1500)) <= 1
    press(page, "i")
    said(page, "zoom", "inverted")
    assert gap(255 - middle(page), windowed(imaged.ramp(0), -600, 1500)) <= 1
    press(page, "i", "h", "ArrowDown")
    at(page, 2)
    assert gap(middle(page)[:, ::-1], windowed(imaged.ramp(1), -600, 1500)) <= 1
    press(page, "h", "r")
    turned = np.rot90(windowed(imaged.ramp(1), -600, 1500), -1)
    assert gap(middle(page), turned) <= 1
    calm(window)


def test_a_reader_reads_by_keys_alone(house: House, window: Window) -> None:
    older = imaged.receive(house.settings, house.database, imaged.ct(4))
    study = imaged.receive(house.settings, house.database, imaged.ct(12))
    behind = imaged.receive(house.settings, house.database, imaged.ct(2))
    imaged.prior_of(house.database, study, older)
    for one in (study, behind):
        imaged.judged(house.database, one)
    page = opened(window, study)
    for key, number in (
        ("ArrowDown", 2), ("End", 12), ("ArrowUp", 11), ("Home", 1), ("ArrowUp", 1),
    ):  # fmt: skip
        press(page, key)
        at(page, number)
    press(page, "4")
    said(page, "window", "C 480 W 2500 bone")
    press(page, "Shift+ArrowRight", "Shift+ArrowUp")
    page.wait_for_function(
        "() => !document.querySelector('[data-say=window]').textContent.includes('bone')"
    )
    press(page, "p")
    beside(page, 1)
    press(page, "ArrowDown", "ArrowDown")
    beside(page, 3)
    picture(page, "viewer-prior")
    assert violations(page) == []
    press(page, "y", "ArrowDown")
    at(page, 4)
    assert "Image 3 of 4" in page.locator("[data-say=place]").nth(1).inner_text()
    press(page, "p", " ")
    said(page, "window", "header 1")
    press(page, "d")
    page.wait_for_function(
        "() => document.querySelector('button[value=disagree]').ariaPressed === 'true'"
    )
    with house.database.reading() as session:
        assert [one.verdict for one in session.scalars(select(FeedbackRow))] == ["disagree"]
    assert len(audited(house.database, "viewer.prior")) == 1
    press(page, "C")
    page.wait_for_selector("[data-claim][data-mine=yes]")
    assert len(audited(house.database, "claim.made")) == 1
    with page.expect_navigation():
        press(page, "n")
    window.ready()
    assert page.url.startswith(f"{house.url}/studies/{behind}/view")
    calm(window)


def test_beside_a_prior_both_viewports_have_what_comes_next(house: House, window: Window) -> None:
    slices = 18  # the first and the last, and the eight beside each
    older = imaged.receive(house.settings, house.database, imaged.ct(slices))
    study = imaged.receive(house.settings, house.database, imaged.ct(slices))
    imaged.prior_of(house.database, study, older)
    asked: list[str] = []
    window.page.on("request", lambda one: asked.append(one.url) if "/frames/" in one.url else None)
    page = opened(window, study)
    press(page, "p")
    beside(page, 1, slices)
    page.wait_for_function(FETCHED, arg=slices)
    press(page, "End")
    beside(page, slices, slices)
    page.wait_for_function(FETCHED, arg=2 * slices)
    before = len(asked)
    press(page, "ArrowUp")
    at(page, slices - 1)
    beside(page, slices - 1, slices)
    assert len(asked) == before, "the next slice was there on both sides"
    calm(window)


def test_what_one_viewport_wants_ahead_stops_only_with_it(house: House, window: Window) -> None:
    page = opened(window, imaged.receive(house.settings, house.database, imaged.ct(1)))
    found = page.evaluate(
        """async () => {
            const { Frames } = await import('/static/viewer/frames.js');
            const asked = [];
            const stopped = [];
            window.fetch = (url, { signal }) => new Promise(() => {
                asked.push(url[0]);
                signal.addEventListener('abort', () => stopped.push(url[0]));
            });
            const frames = new Frames();
            const of = (...names) => names.map((url) => ({ url }));
            frames.prefetch('study', of('a', 'b', 'c', 'd', 'e', 'f'));
            frames.prefetch('prior', of('b', 'x'));
            frames.prefetch('study', of('d', 'e', 'f'));
            const told = [asked.join(''), stopped.join('')];
            frames.prefetch('prior', []);
            return [...told, asked.join(''), stopped.join('')];
        }"""
    )
    assert found == ["abcdex", "ac", "abcdexf", "acbx"]
    calm(window)


def test_a_distance_is_measured_by_keys_in_millimetres_where_they_are_known(
    house: House, window: Window
) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(1))
    page = opened(window, study)
    press(page, "0", "t", "Enter")
    for _ in range(5):
        press(page, "Shift+ArrowRight")
    press(page, "Enter")
    found = page.evaluate(
        """async () => {
            const { distance } = await import('/static/viewer/measure.js');
            const at = (look) => distance({ regions: [], ...look }, [10, 10], [13, 14]);
            return [
                at({ spacing_mm: [0.5, 0.5], spacing_kind: 'patient' }),
                at({ spacing_mm: [0.1, 0.2], spacing_kind: 'detector' }),
                at({ spacing_mm: null, spacing_kind: '' }),
                at({ regions: [{ box: [0, 0, 40, 40], spacing_mm: [1, 1] }] }),
                at({ regions: [{ box: [0, 0, 11, 40], spacing_mm: [1, 1] }], spacing_mm: [1, 1] }),
            ];
        }"""
    )
    assert found == [
        "2.5 mm", "0.7 mm at detector", "5.0 px (size of a pixel unknown)",
        "5.0 mm (ultrasound region)", "5.0 px (size of a pixel unknown)",
    ]  # fmt: skip
    yellow = page.evaluate(
        f"""() => {{
            const {{ data }} = {DATA};
            let count = 0;
            for (let n = 0; n < data.length; n += 4) count += data[n] > 200 && data[n + 2] < 100;
            return count;
        }}"""
    )
    assert yellow > 20, "the line stands on the picture"
    picture(page, "viewer-measure")
    calm(window)


def test_the_mouse_windows_zooms_pans_and_leafs(house: House, window: Window) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(9))
    page = opened(window, study)
    box = page.locator(".pane").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = page.locator("[data-say=window]").first.inner_text()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 30, steps=4)
    page.mouse.up()
    assert page.locator("[data-say=window]").first.inner_text() != before
    page.mouse.wheel(0, 120)
    at(page, 2)
    zoom = page.locator("[data-say=zoom]").first.inner_text()
    page.mouse.down(button="right")
    page.mouse.move(x, y - 60, steps=3)
    page.mouse.up(button="right")
    page.wait_for_function(
        "before => document.querySelector('[data-say=zoom]').textContent !== before", arg=zoom
    )
    page.mouse.move(x, y)
    said_value = page.locator("[data-say=value]")
    page.mouse.move(x + 1, y)
    page.wait_for_function("() => document.querySelector('[data-say=value]').textContent !== ''")
    assert "HU" in said_value.inner_text()
    calm(window)


def test_keys_can_be_changed_and_switched_off(house: House, window: Window) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(3))
    page = opened(window, study)
    press(page, "?")
    page.wait_for_selector("dialog[open]")
    assert violations(page) == []
    picture(page, "viewer-keys")
    page.locator("button[data-action=invert]").focus()
    press(page, "Enter", "e", "Escape")
    page.wait_for_selector("dialog[open]", state="hidden")
    page.locator(".pane").first.focus()
    press(page, "e")
    said(page, "zoom", "inverted")
    page.reload()
    window.ready()
    page.locator(".pane").first.focus()
    press(page, "i", "e")
    said(page, "zoom", "inverted")
    press(page, "?")
    page.locator("[data-single-keys]").uncheck()
    press(page, "Escape")
    page.wait_for_selector("dialog[open]", state="hidden")
    page.locator(".pane").first.focus()
    press(page, "e", "ArrowDown")
    at(page, 2)
    assert "inverted" in page.locator("[data-say=zoom]").first.inner_text()
    calm(window)


def test_every_button_tells_the_key_it_was_given(house: House, window: Window) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(3))
    imaged.judged(house.database, study)
    page = opened(window, study)
    invert, agree = (
        page.locator(f"{one} kbd") for one in ("[data-do=invert]", "button[value=agree]")
    )
    assert (invert.inner_text(), agree.inner_text()) == ("i", "a")
    press(page, "?")
    for action, key in (("invert", "q"), ("agree", "g")):
        page.locator(f"button[data-action={action}]").click()
        press(page, key)
    assert (invert.text_content(), agree.text_content()) == ("q", "g")
    page.locator("button[data-action=rotate]").click()
    press(page, "Backspace", "Escape")
    assert page.locator("[data-do=rotate] kbd").is_hidden(), "it has no key any more"
    page = opened(window, study)
    assert (invert.inner_text(), agree.inner_text()) == ("q", "g")
    press(page, "?")
    page.locator("[data-reset-keys]").click()
    assert (invert.text_content(), agree.text_content()) == ("i", "a")
    calm(window)


def test_windows_and_the_pace_are_reached_without_single_keys(house: House, window: Window) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(6))
    page = opened(window, study)
    press(page, "?")
    page.locator("[data-single-keys]").uncheck()
    press(page, "Escape")
    windows = page.get_by_label("Window preset")
    assert windows.locator("option:checked").inner_text() == "header 1"
    windows.select_option("lung")
    said(page, "window", "C -600 W 1500 lung")
    windows.focus()
    press(page, "Escape")
    assert page.evaluate("document.activeElement.classList.contains('pane')")
    press(page, "Shift+ArrowRight")
    page.wait_for_function(
        "() => document.querySelector('[data-presets] option:checked').textContent === 'own window'"
    )
    page.get_by_role("button", name="Faster").click()
    page.get_by_role("button", name="Run", exact=False).first.click()
    page.wait_for_function("() => document.querySelector('[data-do=cine]').ariaPressed === 'true'")
    page.get_by_role("button", name="Slower").click()
    assert page.locator("[data-do=cine]").get_attribute("aria-pressed") == "true"
    assert violations(page) == []
    calm(window)


def test_a_large_projection_is_a_preview_until_one_looks_closer(
    house: House, window: Window
) -> None:
    pixels = np.zeros((3000, 2400), np.uint16)
    pixels[::2] = 1000
    built = image(
        "DX", pixels, SOPInstanceUID=imaged.uid(), StudyInstanceUID=imaged.uid(),
        ImagerPixelSpacing=[0.14, 0.14], PatientOrientation=["L", "F"], WindowCenter=500,
        WindowWidth=1000,
    )  # fmt: skip
    study = imaged.receive(house.settings, house.database, [built])
    page = opened(window, study)
    said(page, "quality", "compressed preview, not for diagnosis")
    assert page.locator("[data-say=right]").first.inner_text() == "L"
    picture(page, "viewer-projection")
    press(page, "0")
    page.wait_for_function("() => document.querySelector('[data-say=quality]').textContent === ''")
    assert np.abs(np.diff(middle(page)[:, 0])).min() > 250, "every line is there"
    calm(window)


def test_a_colour_cine_runs_and_stops(house: House, window: Window) -> None:
    study = imaged.receive(house.settings, house.database, [imaged.colour(6)])
    page = opened(window, study)
    assert not page.evaluate("document.querySelector('[data-do=cine]').ariaPressed === 'true'")
    press(page, "c")
    at(page, 4)
    press(page, "c")
    page.wait_for_function("() => document.querySelector('[data-do=cine]').ariaPressed === 'false'")
    press(page, "End")
    at(page, 6)
    page.wait_for_function(
        f"""() => {{
            const canvas = {CANVAS};
            const at = [canvas.width / 2, canvas.height / 2, 1, 1];
            return [...canvas.getContext('2d').getImageData(...at).data].join() === '50,20,200,255';
        }}"""
    )
    calm(window)


def test_each_series_runs_at_its_own_pace(house: House, window: Window) -> None:
    quick, slow = (imaged.colour(6) for _ in range(2))
    slow.StudyInstanceUID, slow.FrameTime = quick.StudyInstanceUID, "900"
    quick.SeriesNumber, slow.SeriesNumber = 1, 2
    page = opened(window, imaged.receive(house.settings, house.database, [quick, slow]))
    for key, frames, least, most in (("PageUp", 6, 0, 450), ("PageDown", 2, 600, 9000)):
        press(page, key, "c")
        assert least < page.evaluate(PACE, frames) < most
    press(page, "PageUp", "c")
    assert page.evaluate(PACE, 6) < 450
    press(page, "c")
    calm(window)


def test_the_mean_pace_is_right_and_nothing_races_after_a_pause(
    house: House, window: Window
) -> None:
    page = opened(window, imaged.receive(house.settings, house.database, imaged.ct(1)))
    assert page.evaluate(RUNS) == [48, 6, 12, 48, 12, 1]
    calm(window)


def test_undo_takes_back_the_word_on_the_finding_whose_buttons_these_are(
    house: House, window: Window
) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(1))
    imaged.judged(house.database, study)
    page = opened(window, study)
    undo = page.locator("[data-undo-button]")
    missed = "fetch(place, { method: 'POST', body: new URLSearchParams({ verdict, csrf_token }) })"
    page.evaluate(
        f"""async place => {{
            const [verdict, csrf_token] = ['missed', document.body.dataset.csrf];
            await {missed};
        }}""",
        f"/studies/{study}/feedback",
    )
    page = opened(window, study)
    assert undo.is_hidden(), "nothing was said of the finding"
    press(page, "a")
    undo.click()
    undo.wait_for(state="hidden")
    assert page.locator("button[value=agree]").get_attribute("aria-pressed") == "false"
    with house.database.reading() as session:
        words = [(one.verdict, one.subject) for one in session.scalars(select(FeedbackRow))]
    assert [verdict for verdict, _ in words] == ["missed", "agree", "withdrawn"]
    assert words[2][1] == words[1][1]
    calm(window)


def test_a_reason_that_keys_pass_on_the_way_is_not_written(house: House, window: Window) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(1))
    imaged.judged(house.database, study)
    page = opened(window, study)
    press(page, "d")
    page.locator("button[value=disagree][aria-pressed=true]").wait_for()
    reason = page.locator("#viewer-words select")
    reason.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    chosen = reason.input_value()
    assert chosen
    with page.expect_response("**/feedback"):
        page.keyboard.press("Escape")
    with house.database.reading() as session:
        found = session.scalars(select(FeedbackRow).order_by(FeedbackRow.id)).all()
        assert [one.reason_code for one in found] == [None, chosen]
    calm(window)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_header_says_what_the_list_warns_of(house: House, scheme: Scheme) -> None:
    study = imaged.receive(house.settings, house.database, imaged.ct(3))
    with house.database.begin() as session:
        row = session.get_one(StudyRow, study)
        row.received_at = now(session) - timedelta(hours=5)
        add_warning(session, row, generation=row.generation)
    window = house.window(scheme=scheme, size=ViewportSize(width=1280, height=900))
    page = opened(window, study)
    flags = page.locator(".whose .flag").all_inner_texts()
    assert "promoted: waited > 4 h" in flags
    assert page.locator(".whose .flag.is-warning").count() == 1
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    canvas = page.locator(".pane canvas").first.bounding_box()
    assert canvas is not None
    assert canvas["height"] > 400, "the picture keeps its room"
    picture(page, f"viewer-flags-{scheme}")
    calm(window)


def test_what_cannot_be_shown_says_why_in_its_place(house: House, window: Window) -> None:
    built = imaged.ct(2)
    built[0].PixelData = built[0].PixelData[:100]
    study = imaged.receive(house.settings, house.database, built)
    page = window.open(f"/studies/{study}/view")
    said(page, "reason", "could not be decoded")
    picture(page, "viewer-undecodable")
    page.locator(".pane").first.focus()
    press(page, "ArrowDown")
    page.wait_for_function("() => document.querySelector('[data-say=zoom]').textContent !== ''")
    assert page.locator("[data-say=reason]").first.is_hidden()
    with house.database.reading() as session:
        for sha256 in session.scalars(select(InstanceRow.sha256)):
            imaged.stored(house.settings, sha256).unlink()
    page = window.open(f"/studies/{study}/view")
    said(page, "reason", "The file is not kept here any more.")
    assert violations(page) == []
    assert window.foreign == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing_and_names_do_no_harm(house: House, scheme: str) -> None:
    built = imaged.ct(3, SeriesDescription="<b>HEAD</b>\u202e", SpecificCharacterSet="ISO_IR 192")
    study = imaged.receive(house.settings, house.database, built)
    imaged.judged(house.database, study)
    with house.database.begin() as session:
        row = session.get_one(StudyRow, study)
        row.patient_name = (HOSTILE + "\u202e\u0627") * 800
        row.study_description = HOSTILE * 700
        assert len(row.patient_name.encode()) > 65_536
    window = house.window()
    page = opened(window, study)
    if scheme == "light":
        page.locator("#theme-button").click()
        page.reload()
        window.ready()
        said(page, "zoom", "%")
    assert violations(page) == []
    assert "harmed" not in page.title()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("footer.disclaimer").is_visible()
    canvas = page.locator(".pane canvas").first.bounding_box()
    assert canvas is not None
    assert canvas["height"] > 400, "the picture keeps its room"
    picture(page, f"viewer-{scheme}")
    assert page.locator("[data-do=heat]").count() == 0
    calm(window)
