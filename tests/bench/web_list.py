"""Time the list and search as a browser asks for them: a server apart, over HTTP, and Chromium.

A request is timed twice: by the clock, and by what it took of the processors in the server and in
PostgreSQL together, which other work on the machine hardly changes.
"""

import http.client
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from db.engine import Database
from tests.bench.web_rows import names
from tests.triage.worklist.browser import chromium

ROUNDS: Final = 40
PAINTED: Final = "performance.getEntriesByName('first-contentful-paint')"
LISTS: Final = {
    "all": "", "unread": "?list=unread", "prioritised": "?list=prioritised",
    "mine": "?list=mine", "not analysed": "?list=not-analysed", "overdue": "?list=overdue",
    "by rank": "?sort=rank", "CT": "?modality=CT",
    "CT chest unread": "?list=unread&modality=CT&body=CHEST", "rare modality": "?modality=PT",
    "one room, last 7 days": "?source=ROOM_3&days=7", "today": "?days=1",
    "small hospital": "?site=Clinic+of+the+Harbour",
    "rare at a small hospital": "?site=Clinic+of+the+Harbour&modality=PT&list=unread",
    "rare modality by rank": "?sort=rank&modality=PT", "nothing": "?modality=MR&body=CHEST",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    name: str
    p50: float
    p95: float
    unit: str = "ms"
    wall_p95: float | None = None
    """By the clock, where the others are processor time."""


class Visitor:
    """One connection that is kept, with a session's cookie."""

    def __init__(self, url: str, token: str) -> None:
        self.host, self.token = urlsplit(url).netloc, token
        self._connection = http.client.HTTPConnection(self.host, timeout=60)
        page = self.get("/studies")
        self.csrf = page.split('name="csrf_token" value="')[1].split('"')[0]

    def get(self, path: str) -> str:
        """Give a page."""
        return self._ask("GET", path, None)

    def post(self, path: str, fields: Mapping[str, str]) -> str:
        """Send a form; gives the page."""
        return self._ask("POST", path, urlencode({"csrf_token": self.csrf, **fields}))

    def _ask(self, method: str, path: str, body: str | None) -> str:
        headers = {"Cookie": f"triage={self.token}"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, f"{method} {path}: {answer.status}"
        return text

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


class Meter:
    """What processes and all their children have taken of the processors (Linux, schedstat)."""

    def __init__(self, *roots: int) -> None:
        self._roots = roots

    def ms(self) -> float:
        """Give it in milliseconds."""
        return sum(self._of(pid) for root in self._roots for pid in self._family(root)) / 1e6

    def _family(self, pid: int) -> Iterator[int]:
        yield pid
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                yield from self._family(int(child))

    def _of(self, pid: int) -> int:
        tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(one.read_text().split()[0]) for one in tasks)


def measure(url: str, token: str, database: Database, meter: Meter) -> Iterator[Figure]:
    """Give the figures of every list, of paging, of search and of the first paint."""
    with visitor(url, token) as who:

        def timed(name: str, ask: Callable[[], object], rounds: int = ROUNDS) -> Figure:
            return _timed(name, ask, meter, rounds)

        sizes = []
        for name, query in LISTS.items():
            sizes.append(len(who.get(f"/studies{query}").encode()))
            yield timed(f"list: {name}", partial(who.get, f"/studies{query}"))
        yield timed("list: told again (rows)", partial(who.get, "/studies/rows"))
        yield timed("list: 20 pages down", partial(who.get, _deep(who, 20)))
        yield Figure("HTML of a list, largest", statistics.median(sizes), max(sizes), "bytes")
        with database.reading() as session:
            typed = list(names(session, ROUNDS))
        words = cycle(typed)
        yield timed(
            "search: names, numbers, parts, nothing",
            lambda: who.post("/studies/search", {"text": next(words)}), len(typed),
        )  # fmt: skip
        short = partial(who.post, "/studies/search", {"text": "~~"})
        yield timed("search: two characters, nothing", short)
    yield paint(url, token)


def paint(url: str, token: str, rounds: int = 30) -> Figure:
    """Give the time to the first contentful paint of the list, in Chromium, by the clock."""
    spent = []
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1600, "height": 950})
        context.add_cookies([{"name": "triage", "value": token, "url": url}])
        page = context.new_page()
        for _ in range(rounds):
            page.goto(f"{url}/studies")
            page.wait_for_function(f"() => {PAINTED}.length > 0")
            spent.append(page.evaluate(f"() => {PAINTED}[0].startTime"))
        context.close()
    return figure("first paint of the list (Chromium)", spent)


def _timed(name: str, ask: Callable[[], object], meter: Meter, rounds: int) -> Figure:
    """Give what asking takes, over some rounds after one that warms."""
    spent, waited = [], []
    ask()
    for _ in range(rounds):
        start, before = time.perf_counter(), meter.ms()
        ask()
        waited.append((time.perf_counter() - start) * 1000)
        spent.append(meter.ms() - before)
    return replace(figure(name, spent), wall_p95=figure(name, waited).p95)


def figure(name: str, spent: list[float], unit: str = "ms") -> Figure:
    """Give the median and the 95th percentile."""
    ordered = sorted(spent)
    return Figure(name, statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))], unit)


@contextmanager
def visitor(url: str, token: str) -> Iterator[Visitor]:
    """Open a connection, and close it."""
    who = Visitor(url, token)
    try:
        yield who
    finally:
        who.close()


def _deep(who: Visitor, pages: int) -> str:
    path = "/studies"
    for _ in range(pages):
        text = who.get(path)
        path = text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    return path
