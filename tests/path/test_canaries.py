"""What a patient is called, and whatever else a data set says in words, stays where it belongs.

A whole run with a PACS, PostgreSQL, Redis and Celery, at DEBUG, of studies that come to every kind
of end. Then every place where such a string must not be is read: logs, the broker's traffic, the
environment of each process, temporary files, the audit trail, addresses, titles, error pages.
"""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis
import yaml
from sqlalchemy import inspect, select, text

from db.engine import Database, now
from db.tables import UserRow
from tests import servers
from tests.path.canaries import MARK, studies
from tests.path.site import Site, site
from triage.worklist import passwords

pytestmark = [pytest.mark.path, pytest.mark.slow, pytest.mark.timeout(600)]
HIDDEN = re.compile(r'name="(csrf_token)" value="([^"]*)"')
NAME, PASSWORD = "canary.reader", "a long password for canaries"
BROKER_PASSWORD = "only" + "for-this-run-of-the-tests"
LIMITED = (
    "--user", "triage", "on", f">{BROKER_PASSWORD}", "~cpu*", "~gpu*", "~_kombu*", "~unacked*",
    "&*", "+@all", "-@admin", "-@dangerous", "+info",
)  # fmt: skip
"""Redis' user of the program: its own queues, and nothing that administers."""
MAY_HOLD = {"study", "outbox", "custody", "series_arrival", "station_pace"}
"""What the worklist shows, what is delivered, whose each content was; and, of equipment, which
station sent what."""
MARKS = tuple(MARK.encode(coding) for coding in ("ascii", "utf-16-le", "utf-16-be"))


@dataclass(frozen=True)
class Run:
    """What a run has left behind."""

    site: Site
    folder: Path
    traffic: Path
    postgres_log: Path
    trap: socket.socket
    """Where the addresses in the data sets lead."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "tmp").mkdir()
    with (
        servers.orthanc(folder / "orthanc") as pacs,
        servers.redis(folder / "redis", *LIMITED) as broker,
        servers.postgres() as postgres,
        (folder / "traffic").open("wb") as traffic,
        socket.create_server(("127.0.0.1", 0)) as trap,
    ):
        trap.setblocking(False)
        address = f"http://127.0.0.1:{trap.getsockname()[1]}/instances/1"
        listening = subprocess.Popen(
            [servers.binary("redis-cli"), "-p", str(broker.port), "monitor"], stdout=traffic
        )
        url = broker.url.replace("redis://", f"redis://triage:{BROKER_PASSWORD}@")
        database = postgres.new_database("canaries")
        variables = {"TRIAGE_LOG_LEVEL": "DEBUG", "TMPDIR": str(folder / "tmp")}
        try:
            with site(
                folder, pacs, variables=variables, database_url=database, broker_url=url
            ) as running:
                for path in studies(folder / "sent", address):
                    running.send(path, check=False)
                running.settle(5, limit_s=240)
                yield Run(running, folder, folder / "traffic", postgres.socket_folder / "log", trap)
        finally:
            servers.end(listening)


def leaks(*paths: Path) -> list[str]:
    """Give the files that hold a canary, in their name or their content."""
    files = [one for path in paths for one in (path.rglob("*") if path.is_dir() else [path])]
    return [
        str(path)
        for path in files
        if path.is_file() and (MARK in path.name or _holds(path.read_bytes()))
    ]


def _holds(content: bytes) -> bool:
    return any(mark in content for mark in MARKS)


def test_the_studies_came_to_every_kind_of_end(run: Run) -> None:
    rows = run.site.studies().values()
    assert {"held", "not analysed"} <= {row.outcome for row in rows}
    assert {row.outcome for row in rows} & {"prioritised", "not prioritised"}
    assert any(row.patient_name.startswith(MARK) for row in rows)


def test_the_search_finds_canaries_where_they_are(run: Run) -> None:
    """A scan that finds nothing anywhere would prove nothing."""
    assert leaks(run.folder / "sent")
    assert leaks(run.site.state / "spool" / "store")
    assert "study" in tables_with_canaries(run.site.database)


def test_no_log_and_no_file_but_the_spool_holds_one(run: Run) -> None:
    kept = [run.site.state / "spool" / name for name in ("in", "store", "quarantine")]
    state = [one for one in run.site.state.rglob("*") if one.is_file()]
    others = [one for one in state if not any(one.is_relative_to(keep) for keep in kept)]
    assert [one for one in others if one.suffix == ".log"]
    assert leaks(*others) == []
    assert leaks(run.folder / "up.log", run.folder / "tmp", run.postgres_log) == []
    assert not list(run.site.state.rglob("core*"))


def test_the_broker_never_saw_one(run: Run) -> None:
    deadline = time.monotonic() + 30
    while b"triage.run" not in run.traffic.read_bytes():
        assert time.monotonic() < deadline, "no task went through the broker"
        time.sleep(0.2)
    assert leaks(run.traffic) == []


def tables_with_canaries(database: Database) -> set[str]:
    found = set()
    with database.reading() as session:
        for table in inspect(database.engine).get_table_names():
            rows = session.execute(text(f'SELECT * FROM "{table}"')).all()
            if any(MARK in str(value) or _holds(bytes(value) if isinstance(value, memoryview)
                   else value if isinstance(value, bytes) else b"")
                   for row in rows for value in row):  # fmt: skip
                found.add(table)
    return found


def test_no_audit_row_nor_any_other_but_the_studies_own_holds_one(run: Run) -> None:
    assert tables_with_canaries(run.site.database) <= MAY_HOLD


def test_no_process_has_one_in_its_arguments_or_its_environment(run: Run) -> None:
    pids = run.site.pids_of("")
    assert len(pids) >= 6
    for pid in pids:
        for name in ("environ", "cmdline"):
            assert not _holds(Path(f"/proc/{pid}/{name}").read_bytes()), (pid, name)


def test_the_broker_lets_us_do_no_more_than_we_need(run: Run) -> None:
    url = yaml.safe_load((run.site.state / "configs" / "site.yaml").read_text())["broker"]["url"]
    with redis.Redis.from_url(url) as ours:
        assert ours.ping()
        for asked in (lambda: ours.config_get("dir"), lambda: ours.get("others"), ours.flushall):
            with pytest.raises(redis.exceptions.NoPermissionError):
                asked()


def test_no_secret_is_in_an_environment_an_argument_or_a_log(run: Run) -> None:
    keys = [path.read_bytes() for path in (run.site.state / "secrets").glob("*.key")]
    assert keys
    secrets = [*keys, *(key.hex().encode() for key in keys), BROKER_PASSWORD.encode()]
    places = [
        *(Path(f"/proc/{pid}/{name}") for pid in run.site.pids_of("")
          for name in ("environ", "cmdline")),
        *(run.site.state / "logs").glob("*.log"), run.folder / "up.log", run.traffic,
    ]  # fmt: skip
    for place in places:
        content = place.read_bytes()
        assert not [one for one in secrets if one in content], place


def test_no_address_that_a_data_set_names_was_called(run: Run) -> None:
    port = str(run.trap.getsockname()[1]).encode()
    assert any(port in path.read_bytes() for path in (run.folder / "sent").glob("*.dcm"))
    with pytest.raises(BlockingIOError):
        run.trap.accept()


@pytest.fixture(scope="module")
def browser(run: Run) -> Iterator[httpx.Client]:
    """Somebody who is signed in."""
    with run.site.database.begin() as session:
        session.add(
            UserRow(
                name=NAME, password_hash=passwords.digest(PASSWORD), role="admin radiologist",
                created_at=now(session),
            )
        )  # fmt: skip
    base = f"http://127.0.0.1:{run.site.web_port}"
    with httpx.Client(base_url=base, timeout=60, follow_redirects=True) as client:
        fields = dict(HIDDEN.findall(client.get("/login").text))
        form = {"name": NAME, "password": PASSWORD, "csrf_token": fields["csrf_token"]}
        assert client.post("/login", data=form).status_code == 200
        yield client


def test_pages_show_names_in_their_text_and_nowhere_else(run: Run, browser: httpx.Client) -> None:
    numbers = [row.id for row in run.site.studies().values()]
    pages = [browser.get(path) for path in ("/studies", *(f"/studies/{one}" for one in numbers))]
    assert all(page.status_code == 200 for page in pages)
    assert any(MARK in page.text for page in pages)
    for page in pages:
        assert MARK not in str(page.url)
        assert MARK not in str(page.headers)
        titles = re.findall(r"<title>(.*?)</title>", page.text, re.DOTALL)
        assert titles
        assert MARK not in " ".join(titles)
        places = re.findall(r'(?:href|src|action|hx-\w+|id|name)="([^"]*)"', page.text)
        assert not [place for place in places if MARK in place]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_and_metrics_tell_of_nobody(browser: httpx.Client, path: str) -> None:
    assert MARK not in browser.get(path).text


def test_no_error_page_says_again_what_was_asked(run: Run, browser: httpx.Client) -> None:
    fields = dict(HIDDEN.findall(browser.get("/studies").text))
    asked = [
        browser.get(f"/studies/{MARK}"),
        browser.get(f"/{MARK}"),
        browser.get("/studies", params={"cursor": MARK}),
        browser.post(f"/studies/{MARK}/feedback", data={"csrf_token": fields["csrf_token"]}),
        browser.post("/login", data={"name": MARK, "password": MARK, "csrf_token": MARK}),
    ]
    assert any(one.status_code >= 400 for one in asked)
    for one in asked:
        rows = re.sub(r"<table.*?</table>", "", one.text, flags=re.DOTALL)
        assert MARK not in (rows if one.status_code >= 400 else ""), one.url
    assert leaks(run.site.state / "logs", run.folder / "up.log") == []


def test_what_was_looked_at_left_no_name_in_the_audit_trail(
    run: Run, browser: httpx.Client
) -> None:
    assert browser.get("/studies").status_code == 200
    assert tables_with_canaries(run.site.database) <= MAY_HOLD
    with run.site.database.reading() as session:
        assert session.scalar(select(UserRow.id)) is not None
