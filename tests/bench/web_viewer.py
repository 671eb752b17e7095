"""Time the viewer in Chromium: ``python -m tests.bench.web_viewer``.

A window's change on a slice of 512 x 512, and the next slice once it was asked for ahead, from the
key to the picture; on a made-up CT of 60 noisy slices, served and drawn on this machine.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from playwright.sync_api import Page

from db import schema
from db.engine import now
from db.tables import UserRow
from tests.triage.worklist import imaged
from tests.triage.worklist.browser import House, chromium, serving
from tests.triage.worklist.client import NAME
from triage import settings as noun
from triage.worklist.app import create_app

SLICES: Final = 60
SIDE: Final = 512
ROUNDS: Final = 60
WAIT_MS: Final = 120_000
SEES: Final = "radiologist"
WINDOWS: Final = """async rounds => {
    const pane = document.querySelector('.pane');
    const spent = [];
    for (let n = 0; n < rounds; n += 1) {
        const drawn = new Promise(done => pane.addEventListener('drawn', done, { once: true }));
        pane.dispatchEvent(new KeyboardEvent('keydown',
            { key: n % 2 ? 'ArrowLeft' : 'ArrowRight', shiftKey: true, bubbles: true }));
        spent.push((await drawn).detail.ms);
    }
    return spent;
}"""
SLICES_ON: Final = """async rounds => {
    const pane = document.querySelector('.pane');
    const pause = ms => new Promise(done => setTimeout(done, ms));
    const spent = [];
    for (let n = 0; n < rounds; n += 1) {
        const began = performance.now();
        const drawn = new Promise(done => {
            const hear = event => {
                if (event.detail.index !== n + 1) return;
                pane.removeEventListener('drawn', hear);
                done();
            };
            pane.addEventListener('drawn', hear);
        });
        pane.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }));
        await drawn;
        spent.push(performance.now() - began);
        await pause(250);
    }
    return spent;
}"""


def measure(folder: Path) -> dict[str, float]:
    """Give milliseconds: ``window_p50``, ``window_p95``, ``next_p50``, ``next_p95``."""
    schema.upgrade(f"sqlite:///{folder / 'triage.sqlite'}")
    settings = noun.load(folder)
    app = create_app(settings)
    database = app.state.context.database
    try:
        with database.begin() as session:
            session.add(UserRow(name=NAME, password_hash="", role=SEES, created_at=now(session)))
        study = imaged.receive(settings, database, _noisy())
        with chromium() as browser, serving(app) as url:
            house = House(app, url, settings, database, "", browser)
            page = house.window().open(f"/studies/{study}/view")
            found = _timed(page)
            house.close()
    finally:
        app.state.viewing.close()
        app.state.previews.close()
        database.dispose()
    return found


def _noisy() -> list[Any]:
    dice = np.random.default_rng(7)
    built = imaged.ct(SLICES, side=SIDE)
    for one in built:
        noise = dice.normal(0, 30, (SIDE, SIDE))
        one.PixelData = (imaged.ramp(1, SIDE) / 4 + noise).astype(np.int16).tobytes()
    return built


def _timed(page: Page) -> dict[str, float]:
    page.set_default_timeout(WAIT_MS)
    page.wait_for_function("() => document.querySelector('[data-say=zoom]').textContent !== ''")
    page.wait_for_timeout(3000)
    windows = page.evaluate(WINDOWS, ROUNDS)
    slices = page.evaluate(SLICES_ON, min(ROUNDS, SLICES - 1))
    return {
        "window_p50": statistics.median(windows), "window_p95": _p95(windows),
        "next_p50": statistics.median(slices), "next_p95": _p95(slices),
    }  # fmt: skip


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def main() -> None:
    """Print the figures."""
    folder = Path(tempfile.mkdtemp())
    try:
        for name, ms in measure(folder).items():
            sys.stdout.write(f"{name:12} {ms:7.2f} ms\n")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
