"""A start is on record with the clock's state, and with what is configured otherwise since."""

import json
from pathlib import Path
from typing import Any

from db.engine import Database
from db.tables import AuditRow
from tests.triage.commands.cli import write_site
from tests.triage.worklist.conftest import audited
from triage.settings import Settings, load
from triage.trail import clock, starts


def start(database: Database, settings: Settings) -> list[str]:
    with database.begin() as session:
        return starts.started(session, settings, actor="dispatcher")


def detail(row: AuditRow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.detail)
    return found


def test_a_start_and_a_stop_carry_the_clocks_state(database: Database, tmp_path: Path) -> None:
    assert start(database, load(tmp_path)) == []
    with database.begin() as session:
        starts.stopped(session, actor="dispatcher")
    for kind in (starts.STARTED, starts.STOPPED):
        (row,) = audited(database, kind)
        assert row.event_id == "110100"
        assert detail(row)["clock"]["synchronised"] in (True, False, None)


def test_the_kernel_tells_whether_anything_disciplines_the_clock() -> None:
    found = clock.state()
    assert found["synchronised"] in (True, False)
    assert found["max_error_us"] >= 0


def test_another_threshold_and_another_model_are_on_record_once(
    database: Database, tmp_path: Path
) -> None:
    settings = load(tmp_path)
    start(database, settings)
    assert start(database, settings) == []
    levels = list(settings.policy.levels)
    levels[0] = levels[0].model_copy(update={"p_at_most": levels[0].p_at_most / 2})
    policy = settings.policy.model_copy(update={"levels": tuple(levels)})
    changed = settings.model_copy(update={"policy": policy})
    (name, *_) = {one for route in settings.routes.routes for one in route.detectors}
    (tmp_path / "artifacts" / name).mkdir(parents=True)
    (tmp_path / "artifacts" / name / starts.MANIFEST).write_text("another")
    assert start(database, changed) == [f"model {name}", "policy"]
    assert start(database, changed) == []
    model, threshold = audited(database, starts.CHANGED)
    assert (threshold.event_id, threshold.object_type) == ("110113", "configuration")
    told = detail(threshold)
    assert told["was"] != told["now"]
    assert told["policy"]["levels"][0]["p_at_most"] == levels[0].p_at_most
    assert model.object_id == f"model {name}"


def test_a_password_of_the_site_has_no_hash_there(tmp_path: Path) -> None:
    found = []
    for password, port in (("one", 104), ("two", 104), ("two", 105)):
        url = f"postgresql://u:{password}@h/d"
        write_site(tmp_path, database={"url": url}, listener={"port": port})
        found.append(starts.facts(load(tmp_path)))
    assert found[0] == found[1]
    assert found[1] != found[2]
