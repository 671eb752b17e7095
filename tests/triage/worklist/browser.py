"""A Chromium driven by Playwright, the application in a thread, and axe-core's verdict on a page.

Fixtures (``conftest``): ``browser`` for a module, ``house`` for a test, ``page`` signed in.
While a module's browser is open, its thread counts as one with a running event loop: its tests
talk to the application through the browser or the rows, not through ``client``.
"""

import functools
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)
from sqlalchemy import select

from db.engine import Database, now
from db.tables import UserRow
from tests.triage.worklist.client import NAME
from triage.settings import Settings
from triage.worklist import sessions

PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS: Final = (
    "--no-sandbox", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
PATIENCE_S: Final = 45.0
expect.set_options(timeout=PATIENCE_S * 1000)
SCREEN: Final = ViewportSize(width=1600, height=950)
VENDOR: Final = Path(__file__).parent / "vendor"
PICTURES: Final = "TRIAGE_SCREENSHOTS"
"""Where ``picture`` writes; nowhere without it."""
RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
Scheme = Literal["dark", "light"]


@dataclass
class House:
    """The application as a browser meets it, and its rows."""

    app: FastAPI
    url: str
    settings: Settings
    database: Database
    password_hash: str
    browser: Browser
    _open: list[BrowserContext] = field(default_factory=list)

    def account(self, name: str, role: str) -> None:
        """Add a person."""
        with self.database.begin() as session:
            session.add(
                UserRow(
                    name=name, password_hash=self.password_hash, role=role, created_at=now(session)
                )
            )

    def window(
        self,
        name: str | None = NAME,
        *,
        scheme: Scheme = "dark",
        size: ViewportSize = SCREEN,
        forced: bool = False,
    ) -> "Window":
        """Open a window of its own, signed in as ``name``, or as nobody.

        ``forced`` takes the system's colours and asks for little motion.
        """
        context = self.browser.new_context(
            color_scheme=scheme,
            viewport=size,
            forced_colors="active" if forced else "none",
            reduced_motion="reduce" if forced else "no-preference",
        )
        self._open.append(context)
        context.set_default_timeout(PATIENCE_S * 1000)
        if name is not None:
            cookie = {"name": "triage", "value": self._token(name), "url": self.url}
            context.add_cookies([cookie])  # type: ignore[list-item] # a TypedDict of theirs
        return Window(context.new_page(), self.url)

    def close(self) -> None:
        """Close every window."""
        for context in self._open:
            context.close()

    def _token(self, name: str) -> str:
        with self.database.begin() as session:
            user = session.scalars(select(UserRow).where(UserRow.name == name)).one()
            return sessions.open_session(session, user)


class Window:
    """One page, what it complains of, and what it asks of others than the application."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("pageerror", lambda why: self.complaints.append(str(why)))
        page.on(
            "console", lambda said: self._hear(said.type, f"{said.text} {said.location['url']}")
        )
        page.on("request", lambda one: self._see(one.url))

    def open(self, path: str) -> Page:
        """Go to a page of ours and wait for its script, where it has one."""
        self.page.goto(self.url + path)
        self.ready()
        return self.page

    def ready(self) -> None:
        """Wait until the page's script has taken hold."""
        self.page.wait_for_function(
            "() => document.readyState === 'complete' && (document.body.dataset.ready === 'yes'"
            ' || !document.querySelector(\'script[src$="/triage.js"], script[src$="/seen.js"]\'))'
        )

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def _see(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:", "about:")):
            self.foreign.append(url)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium that is installed, and end it."""
    assert PROGRAM is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=[*FLAGS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an application from a thread of this process; gives its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, access_log=False,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), "the server")
        assert server.started
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def wait_for(question: Callable[[], bool], what: str) -> None:
    """Ask until yes."""
    deadline = time.monotonic() + PATIENCE_S
    while not question():
        assert time.monotonic() < deadline, f"waited too long for: {what}"
        time.sleep(0.02)


def violations(
    page: Page, *, without: Mapping[str, str] | None = None, only: Sequence[str] = ()
) -> list[str]:
    """Give what axe-core finds wrong with the page as it stands: rule, and the elements.

    ``without`` names rules left out, each with the reason why it does not apply to the page.
    ``only`` names the rules where not all are asked for.
    """
    page.evaluate(f"() => {{ if (!window.axe) {{ {_axe()} }} }}")
    rules = {name: {"enabled": False} for name in without or {}}
    run_only = {"type": "rule", "values": [*only]} if only else {"type": "tag", "values": [*RULES]}
    options = {"runOnly": run_only, "rules": rules}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [f"{one['id']}: {_places(one['nodes'])}" for one in found["violations"]]


def picture(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep what the page looks like, where somebody asked for pictures."""
    folder = os.environ.get(PICTURES)
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)


def _places(nodes: Sequence[Mapping[str, Any]]) -> str:
    return " | ".join(f"{one['target'][0]} {one['failureSummary']}" for one in nodes[:5])


@functools.cache
def _axe() -> str:
    text = (VENDOR / "axe.min.js").read_bytes()
    table = (VENDOR / "VENDORED.md").read_text()
    assert hashlib.sha256(text).hexdigest() in table
    return text.decode()
