"""``triage simulate --waiting``: a site's own log of arrivals, read in three orders."""

from pathlib import Path
from typing import Any

import pytest

from tests.triage.commands.cli import triage
from triage.commands.simulate import tell
from triage.commands.simulate_arrivals import Arrival
from triage.commands.simulate_page import page
from triage.commands.simulate_waiting import Detecting, Reading, cases, changes, run
from triage.worklist.context import DISCLAIMER

LOG = "time,modality,body_part,images,abnormal,flagged\n" + "".join(
    f"{60 * n},DX,CHEST,1,{'yes' if n % 5 == 0 else 'no'},{'yes' if n % 10 == 0 else 'no'}\n"
    for n in range(300)
)


def groups(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [one["groups"] for one in found["orders"]]


def told(tmp_path: Path, *words: object) -> dict[str, Any]:
    log = tmp_path / "arrivals.csv"
    log.write_text(LOG, encoding="utf-8")
    given = ("simulate", "--arrivals", log, "--waiting", "--readers", 2, "--reads", 26, "--seed", 1)
    answer = triage(*given, "--state", tmp_path / "state", *words)
    assert answer.code == 0, answer.err
    found: dict[str, Any] = answer.json
    return found


def test_a_log_shows_what_the_flagged_gain_and_the_others_lose(tmp_path: Path) -> None:
    found = told(tmp_path, "--json")
    plain, by_priority, _limited = groups(found)
    assert found["orders"][0]["name"] == "by arrival"
    assert plain["prioritised"]["n"] == 30
    assert plain["prioritised"]["gained"] == 0
    assert by_priority["prioritised"]["gained"] > 1
    assert by_priority["not prioritised"]["gained"] < 0
    assert by_priority["abnormal, not prioritised"]["n"] == 30
    assert found["disclaimer"] == DISCLAIMER
    assert not (tmp_path / "state").exists()


def test_the_limit_is_the_policy_s_and_bounds_the_longest_wait(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "policy.yaml").write_text(
        "levels: [{name: raised, p_at_most: 0.05, priority: 1}]\npromote_after_s: 300\n"
    )
    found = told(tmp_path, "--json", "--config", configs)
    _, by_priority, limited = groups(found)
    assert found["limit_minutes"] == 5
    assert found["orders"][2]["promoted"] > 0
    assert limited["prioritised"]["gained"] < by_priority["prioritised"]["gained"]
    assert limited["not prioritised"]["longest"] <= by_priority["not prioritised"]["longest"]


def test_it_prints_a_table_and_writes_a_page(tmp_path: Path) -> None:
    log = tmp_path / "arrivals.csv"
    log.write_text(LOG, encoding="utf-8")
    answer = triage(
        "simulate", "--arrivals", log, "--waiting", "--out", tmp_path / "out", "--state", tmp_path
    )
    assert "by priority, with the limit" in answer.out
    assert DISCLAIMER in answer.out
    page = (tmp_path / "out" / "waiting.html").read_text()
    assert DISCLAIMER in page
    assert "by arrival" in page


@pytest.mark.parametrize(("sensitivity", "flagged"), [(0.0, 0), (1.0, 10)])
def test_where_the_log_does_not_say_the_detector_flags_by_chance(
    sensitivity: float, flagged: int
) -> None:
    arrivals = [Arrival(float(n), "DX", "CHEST", 1, n % 2 == 0) for n in range(20)]
    found = cases(arrivals, Detecting(sensitivity, 0.0), Reading(1, 20.0, 60.0), seed=0)
    assert sum(one.priority for one in found) == flagged


ARRIVALS = [Arrival(60.0 * n, "DX", "CHEST", 1, n % 5 == 0, n % 10 == 0) for n in range(300)]
NOTHING: dict[str, Any] = {"n": 0, "p50": None, "p95": None, "p99": None, "each": []}


def a_day() -> dict[str, Any]:
    """Give the summary of a day whose log of arrivals was read in other orders, too."""
    names = ("studies", "images", "reports", "mpps", "evidence", "outcomes", "tricks")
    waiting = run(ARRIVALS, Detecting(), Reading(2, 26.0, 1800.0), seed=1)
    parts: dict[str, Any] = {name: {} for name in names}
    return parts | {
        "problems": [], "ok": True, "seconds": 1.0, "decided_s": NOTHING, "opened_s": NOTHING,
        "waiting": waiting,
    }  # fmt: skip


def test_it_is_said_what_the_flagged_gain_and_the_others_lose_with_the_limit_off_and_on() -> None:
    off, on = changes(a_day()["waiting"])
    assert off.startswith("Read by priority, 30 flagged wait ")
    assert " min less and 270 others wait " in off
    assert off.endswith(" min more on average than by arrival.")
    assert on.startswith("Read by priority, with the limit, 30 flagged wait ")
    assert on != off


def test_a_day_s_summary_and_page_say_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    summary = a_day()
    tell(summary, None)
    printed = capsys.readouterr().out
    text = page(summary, {"sent": [], "decided": [], "opened": []})
    for sentence in changes(summary["waiting"]):
        assert sentence in printed
        assert sentence in text
    assert DISCLAIMER in printed
    assert text.count(DISCLAIMER) == 1
