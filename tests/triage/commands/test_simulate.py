"""The hospital in a box, whole: nothing that was acknowledged is missing, and a loss is seen."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from db.engine import Database
from tests.triage.commands.cli import triage
from tests.triage.commands.test_demo import left_behind
from tests.triage.receive.conftest import running_listener
from triage.commands.simulate_ledger import Answer, Ledger
from triage.commands.simulate_page import page
from triage.commands.simulate_run import Hospital, Run
from triage.commands.simulate_site import Site
from triage.commands.simulate_studies import Maker
from triage.commands.simulate_summary import moments, summarise
from triage.dimse import Remote
from triage.worklist.context import DISCLAIMER

LOG = """time,modality,body_part,images,abnormal
0,CT,HEAD,4,no
0,MR,HEAD,3,yes
0,CT,CHEST,5,no
0,MR,HEAD,3,no
1,CT,CHEST,4,no
1,CT,HEAD,2,yes
"""


def simulated(tmp_path: Path, *words: str) -> tuple[int, Any]:
    log = tmp_path / "arrivals.csv"
    log.write_text(LOG, encoding="utf-8")
    given = ("--arrivals", str(log), "--speed", "0", "--size-px", "16", "--json", *words)
    ended = triage("simulate", *given, OMP_NUM_THREADS="1")
    return ended.code, json.loads(ended.out or "null") or ended.err


@pytest.mark.slow
@pytest.mark.path
@pytest.mark.timeout(400)
def test_a_hostile_day_in_a_pipeline_of_its_own_loses_nothing(tmp_path: Path) -> None:
    out, state = tmp_path / "out", tmp_path / "state"
    code, said = simulated(
        tmp_path, "--hostile", "--seed", "16", "--pacs", "small", "--quiet-s", "1", "--reads",
        "6000", "--state", str(state), "--out", str(out), "--limit-s", "200",
    )  # fmt: skip
    assert code == 0, said
    assert said["problems"] == []
    assert said["studies"]["at rest"] == said["studies"]["acknowledged"] == 6
    assert said["studies"]["opened"] > 0
    assert said["images"]["missing"] == said["images"]["given up"] == 0
    assert said["images"]["in the database"] == said["images"]["different"] >= 21
    assert {"repeated", "late", "two patients", "cut"} & set(said["tricks"])
    assert said["mpps"]["completed"] == 6
    assert said["evidence"]["MPPS"] > 0
    assert said["decided_s"]["n"] > 0
    assert said["decided_s"]["p50"] > 0
    assert left_behind(state) == []
    lines = (out / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == sum(said["images"][one] for one in ("stored", "refused", "unknown"))
    text = (out / "simulation.html").read_text()
    assert text.count("<svg") == 2
    assert "Everything held." in text
    assert [one["name"] for one in said["waiting"]["orders"]][1:] == [
        "by priority", "by priority, with the limit",
    ]  # fmt: skip
    assert "than by arrival." in text


def test_what_was_acknowledged_and_is_not_in_the_database_is_exit_1(
    tmp_path: Path, migrated_file: Path
) -> None:
    with running_listener(tmp_path / "listener", peers="any") as listener:
        to = ("--to", f"TRIAGE@127.0.0.1:{listener.port}", "--stations", "1")
        code, said = simulated(tmp_path, *to, "--seed", "1")
        assert code == 0  # only the sending can be judged
        assert said["images"]["stored"] == len(listener.waiting()) == 21
        assert said["images"]["missing"] is None
        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(migrated_file, other / "triage.sqlite")
        code, said = simulated(tmp_path, *to, "--state", str(other), "--limit-s", "1")
        assert code == 1
        assert said["images"]["missing"] == 21
        assert said["problems"][0] == "21 acknowledged images are missing"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--to", "nowhere"), 2),
        (("--pacs", "paper"), 2),
        (("--to", "A@127.0.0.1:1", "--web", "http://127.0.0.1:1"), 2),
        (("--studies", "."), 3),
    ],
    ids=["to", "pacs", "no password", "no study"],
)
def test_wrong_words_are_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    assert simulated(tmp_path, *words)[0] == code


def test_a_lost_image_is_a_problem_and_the_page_says_so(
    sqlite_database: Database, tmp_path: Path
) -> None:
    hospital = Hospital((), Maker(tmp_path, 0, 16))
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.note("1.2", "1.2.3", "aa", Answer.STORED)
        ledger.note("1.2", "1.2.4", "bb", Answer.REFUSED)
        run = Run(hospital, Site(Remote("X", "127.0.0.1", 1), sqlite_database), ledger)
        run.look()
        summary = summarise(run)
    assert not summary["ok"]
    assert summary["missing"] == ["1.2.3"]
    assert "1 acknowledged images are missing" in summary["problems"]
    text = page(summary, moments(run))
    assert "1 acknowledged images are missing" in text
    assert DISCLAIMER in text
    assert "What the order of reading changes" not in text, "no log of arrivals was given"
