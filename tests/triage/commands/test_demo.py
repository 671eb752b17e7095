"""The demonstration, from nothing and again on what is there; and studies on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest

from triage.commands import demo_studies
from triage.commands.pacs import kept


def triage(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept_variables = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    return subprocess.run(
        [sys.executable, "-m", "triage", *words], capture_output=True, text=True, check=False,
        timeout=200, env={**kept_variables, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def left_behind(state: Path) -> list[str]:
    """Command lines of processes that were told of this state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                if f"TRIAGE_STATE={state}\0".encode() in environment:
                    found.append((entry / "cmdline").read_bytes().decode())
            except OSError:
                continue
    return found


@pytest.mark.slow
@pytest.mark.path
def test_the_demo_holds_twice_on_one_state_and_leaves_no_process(tmp_path: Path) -> None:
    state, answers = tmp_path / "demo", []
    elsewhere = f"sqlite:///{tmp_path / 'another.sqlite'}"
    for _ in range(2):
        ended = triage("demo", "--check", "--state", str(state), TRIAGE__DATABASE__URL=elsewhere)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert left_behind(state) == []
        answers.append(json.loads(ended.stdout))
    first, second = answers
    assert first["ok"] is second["ok"] is True
    assert first["outcomes"] == second["outcomes"]
    assert first["analysed"] == first["reports_at_pacs"] == second["reports_at_pacs"] > 0
    assert first["files_refused"] == 1
    assert len(kept(state / "pacs")) == first["analysed"]
    assert (state / "triage.sqlite").exists()
    assert not (tmp_path / "another.sqlite").exists()  # a site's own database stays untouched


def run(tmp_path: Path, *words: str) -> tuple[int, Any]:
    ended = triage("run", "--json", "--state", str(tmp_path / "state"), *words)
    return ended.returncode, json.loads(ended.stdout)


@pytest.mark.slow
def test_studies_on_disk_are_analysed_and_their_reports_can_be_read(tmp_path: Path) -> None:
    folder, reports = tmp_path / "studies", tmp_path / "reports"
    made = demo_studies.make(folder)
    (folder / "letter.txt").write_text("no DICOM")
    code, answer = run(tmp_path, "--sr", str(reports), str(folder))
    studies = {one["study_instance_uid"]: one for one in answer["studies"]}
    assert code == 0
    assert answer["not_dicom"] == 1
    assert len(studies) == len(made)
    analysed = [one for one in studies.values() if one["detections"]]
    assert len(analysed) == demo_studies.HEALTHY + demo_studies.WITH_OPACITY
    for one in analysed:
        assert 0 < one["detections"][0]["p_value"] <= 1
        report = highdicom.sr.srread(one["report"])
        assert report.StudyInstanceUID == one["study_instance_uid"]
    for one in studies.values():
        assert one["sentence"]
        assert bool(one["report"]) == (one in analysed)
    assert len(list(reports.iterdir())) == len(analysed)
    assert "Demo^" not in json.dumps(answer)


def test_a_path_that_is_not_there_is_a_wrong_argument(tmp_path: Path) -> None:
    assert triage("run", str(tmp_path / "none")).returncode == 2


def test_the_demo_makes_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = (demo_studies.make(tmp_path / name) for name in "ab")
    for one, other in zip(first, second, strict=True):
        for here, there in zip(one.files, other.files, strict=True):
            assert here.read_bytes() == there.read_bytes()
    assert sum(not one.accepted for one in first) == 1
    whole = [path for one in first if one.accepted for path in one.files]
    assert all(pydicom.dcmread(path).StudyInstanceUID for path in whole)
