"""The dispatcher and a real Redis: numbers on a list, and no harm when it is away."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as client
from sqlalchemy import select

from db import audit, checkpoint
from db.engine import Database, now
from db.states import StudyState
from db.tables import AuditRow, AuditSealRow, StudyRow
from tests import servers
from tests.triage.commands.cli import write_site
from triage.keys import AUDIT_KEY, site_key
from triage.settings import Settings, load
from workers.app import make_app
from workers.dispatch import publish
from workers.housekeeping import remember


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[servers.Redis]:
    with servers.redis(tmp_path / "redis") as one:
        yield one


def settings_with(url: str, state: Path) -> Settings:
    write_site(
        state, broker={"url": url}, work={"republish_s": 60, "reconcile_s": 0.1, "poll_s": 0.05}
    )
    return load(state)


def study(database: Database, uid: str = "1.2.3") -> int:
    with database.begin() as session:
        at = now(session)
        row = StudyRow(
            study_instance_uid=uid, due_at=at, received_at=at, last_instance_at=at,
            patient_name="Canary^Name", patient_id="P1",
        )  # fmt: skip
        session.add(row)
        session.flush()
        return row.id


def published(database: Database) -> list[bool]:
    with database.reading() as session:
        return [row.published_at is not None for row in session.scalars(select(StudyRow))]


def waiting(broker: servers.Redis, queue: str) -> list[bytes]:
    with client.Redis.from_url(broker.url) as one:
        found = one.lrange(queue, 0, -1)
    assert isinstance(found, list)
    return found


def test_a_due_study_is_published_once_an_interval_to_the_queue_of_its_state(
    database: Database, tmp_path: Path, broker: servers.Redis
) -> None:
    settings = settings_with(broker.url, tmp_path)
    app = make_app(broker.url, 60)
    number = study(database)
    assert publish(database, app, settings) == 1
    assert publish(database, app, settings) == 0
    assert len(waiting(broker, "cpu")) == 1
    assert waiting(broker, "gpu") == waiting(broker, "out") == []
    hasty = settings.model_copy(
        update={
            "site": settings.site.model_copy(
                update={"work": settings.site.work.model_copy(update={"republish_s": 0.01})}
            )
        }
    )
    time.sleep(0.05)
    assert publish(database, app, hasty) == 1
    assert len(waiting(broker, "cpu")) == 2
    assert number == 1


def test_a_message_holds_the_number_and_nothing_of_the_study(
    database: Database, tmp_path: Path, broker: servers.Redis
) -> None:
    settings = settings_with(broker.url, tmp_path)
    number = study(database, "1.2.840.7770777077707770777")
    publish(database, make_app(broker.url, 60), settings)
    [raw] = waiting(broker, "cpu")
    message = json.loads(raw)
    assert message["content-type"] == "application/json"
    arguments, named, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments, named) == ([number], {})
    for secret in (b"Canary", b"7770777077707770777", b"P1"):  # longer than a UUID's own digits
        assert secret not in raw
        assert secret not in base64.b64decode(message["body"])


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["deaf", "gone"])
def test_a_broker_that_is_away_costs_seconds_and_the_study_is_published_later(
    sqlite_database: Database, tmp_path: Path, broker: servers.Redis, how: signal.Signals
) -> None:
    settings = settings_with(broker.url, tmp_path)
    app = make_app(broker.url, 60)
    study(sqlite_database)
    os.kill(broker.process.pid, how)
    started = time.monotonic()
    assert publish(sqlite_database, app, settings) == 0
    assert time.monotonic() - started < 8
    assert published(sqlite_database) == [False]
    if how == signal.SIGSTOP:
        os.kill(broker.process.pid, signal.SIGCONT)
        assert publish(sqlite_database, app, settings) == 1
        assert published(sqlite_database) == [True]


def test_a_file_of_heads_that_cannot_be_written_does_not_stop_the_dispatcher(
    sqlite_database: Database, tmp_path: Path
) -> None:
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    write_site(tmp_path, database={"url": url}, work={"reconcile_s": 0.1, "poll_s": 0.05})
    (tmp_path / "audit.checkpoints").mkdir()
    with sqlite_database.begin() as session:
        at = now(session)
        session.add(
            StudyRow(
                study_instance_uid="1.2.3", due_at=at, received_at=at, last_instance_at=at,
                attempts=3,
            )
        )  # fmt: skip
    command = [sys.executable, "-m", "workers", "dispatch"]
    environment = {**os.environ, "TRIAGE_STATE": str(tmp_path)}
    environment.pop("TRIAGE_CONFIG", None)
    with (tmp_path / "log").open("wb") as sink:
        process = subprocess.Popen(command, env=environment, stderr=sink)
    log = tmp_path / "log"
    deadline = time.monotonic() + 20
    while "study.buried" not in log.read_text() or "audit.not-noted" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "Traceback" not in log.read_text()
    with sqlite_database.reading() as session:
        assert session.scalars(select(StudyRow.state)).one() == StudyState.FAILED


def test_the_head_is_noted_in_a_file_for_its_owner_alone(
    database: Database, tmp_path: Path
) -> None:
    settings = load(tmp_path)
    remember(database, settings)
    assert settings.checkpoints.stat().st_mode & 0o077 == 0


def test_it_seals_at_once_and_puts_its_start_and_its_end_on_record(
    sqlite_database: Database, tmp_path: Path
) -> None:
    url = sqlite_database.engine.url.render_as_string(hide_password=False)
    write_site(tmp_path, database={"url": url}, work={"reconcile_s": 3600, "poll_s": 0.05})
    environment = {**os.environ, "TRIAGE_STATE": str(tmp_path)}
    environment.pop("TRIAGE_CONFIG", None)
    with (tmp_path / "log").open("wb") as sink:
        command = [sys.executable, "-m", "workers", "dispatch"]
        process = subprocess.Popen(command, env=environment, stderr=sink)

    def sealed() -> list[str]:
        kinds = (
            select(AuditRow.event_type)
            .join(AuditSealRow, AuditSealRow.audit_id == AuditRow.id)
            .order_by(AuditSealRow.seq)
        )
        with sqlite_database.reading() as session:
            return list(session.scalars(kinds))

    def until_sealed(count: int) -> None:
        deadline = time.monotonic() + 60
        while len(sealed()) < count:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)

    until_sealed(1)
    with sqlite_database.begin() as session:
        entry = audit.Entry(event=audit.Event.EXPORT, kind="x.exported", actor="ada")
        audit.record(session, entry)
    until_sealed(2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert sealed() == ["application.start", "x.exported", "application.stop"]
    settings = load(tmp_path)
    remembered = checkpoint.load(settings.checkpoints, site_key(settings.secrets, AUDIT_KEY))
    assert max(remembered) == 3
