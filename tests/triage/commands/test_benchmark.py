"""A small table is filled, carried on after a kill, shared, and written down as it is."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml

import models
from models import artifact
from tests.triage.commands.cli import triage
from tests.triage.commands.labelled import write_folder
from triage.commands.benchmark import Tally, benchmark
from triage.commands.benchmark_cells import DONE, Outcome, finished, locked
from triage.commands.benchmark_own import KEPT as OWN
from triage.commands.benchmark_own import own
from triage.commands.benchmark_plan import cells, merged, read_table
from triage.commands.benchmark_synthetic import KEPT, synthetic
from triage.commands.measure import prepare, scores
from triage.commands.training_plan import read_pictures
from triage.errors import ConfigError
from triage.settings import PACKAGED, Recipe

SMALL = {"widths": [8, 8, 8, 8], "memory": "vector", "slots": 12, "latent": 8}
SOURCE = {
    "stratum": "DX/CHEST", "licence": "generated", "train": ["train"], "calibrate": ["val"],
}  # fmt: skip


def _table() -> dict[str, Any]:
    def alone(name: str) -> dict[str, Any]:
        subsets = {name: {**SOURCE, "folder": name}}
        return {"data": {"pooled": "ALL", "subsets": subsets}}

    together = {
        name: {**SOURCE, "folder": name, "organ": organ, "modality": "DX"}
        for name, organ in (("left", "chest"), ("right", "head"))
    }
    maddr = {
        "base": "memae", "base_params": SMALL, "organs": ["chest", "head"], "modalities": ["DX"],
        "organ_features": 2, "modality_features": 2,
    }  # fmt: skip
    also = {"title": "own patients", "beside": "elsewhere", "splits": ["val"], "text": "Two."}
    return {
        "name": "small",
        "title": "A small table",
        "text": "Generated pictures.",
        "data": "FOLDER holds left/ and right/.",
        "seeds": [0, 1],
        "training": {
            "version": "1.0.0",
            "recipe": "chest-radiograph",
            "intended_use": "Tests.",
            "limitations": ["Generated pictures."],
            "plan": {"epochs": 1, "batch_size": 8},
        },
        "sets": {
            name: {
                "title": name.title(), "folder": name, "subset": name, "stratum": "DX/CHEST",
                "training": alone(name), "also": further,
            }
            for name, further in (("left", also), ("right", None))
        },
        "together": {"data": {"pooled": "ALL", "subsets": together}},
        "sections": [
            {
                "title": "The table",
                "rows": [
                    {
                        "name": "memae", "title": "MemAE", "trained": "each",
                        "training": {"family": "memae", "params": SMALL}, "paper": {"left": 1.0},
                    },
                    {
                        "name": "maddr", "title": "MADDR + MemAE", "trained": "together",
                        "against": "memae", "training": {"family": "maddr", "params": maddr},
                        "paper": {"left": 99.9},
                    },
                ],
            }
        ],
        "paper": "Everything differs.",
        "stated": [
            {
                "what": "Another", "pictures": "elsewhere", "auroc": 55.5, "where": "its table",
                "row": "memae", "set": "right",
            }
        ],
        "sizes": {"tiny": {"title": "One epoch.", "training": {}, "notes": ["It is a test."]}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/, table.yaml."""
    home = tmp_path_factory.mktemp("benchmark")
    (home / "data").mkdir()
    for name in ("left", "right"):
        lines = [
            *((name, "train", 0, f"{name}-n{i}") for i in range(24)),
            *((name, "val", 0, f"{name}-v{i}") for i in range(24)),
            *((name, "val", 1, f"{name}-a{i}") for i in range(8)),
            *((name, "test", 0, f"{name}-h{i}") for i in range(6)),
            *((name, "test", 1, f"{name}-s{i}") for i in range(6)),
        ]
        write_folder(home / "data" / name, lines)
    _write(home / "table.yaml", _table())
    return home


@pytest.fixture(scope="module")
def filled(home: Path) -> Tally:
    return _run(home, home / "table.yaml")


def _write(path: Path, table: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(table, sort_keys=False))
    return path


def _run(home: Path, table: Path, runs: str = "runs") -> Tally:
    return benchmark(
        table, data=home / "data", size="tiny", runs=home / runs, out=home / "page.md",
        device="cpu",
    )  # fmt: skip


def _outcomes(home: Path) -> Iterator[Outcome]:
    for path in sorted((home / "runs/small/tiny").glob(f"*/{DONE}")):
        found = finished(path.parent)
        assert found
        yield found


def test_every_cell_is_filled_and_kept(home: Path, filled: Tally) -> None:
    assert (filled.done, filled.ran, filled.elsewhere, filled.failed) == (6, 6, 0, ())
    found = list(_outcomes(home))
    assert len(found) == 6
    assert {one.seed for one in found} == {0, 1}
    for one in found:
        assert set(one.results) == ({"left", "right"} if one.row == "maddr" else {one.on})
        assert (home / "runs/small/tiny" / one.artifact / "MANIFEST.sha256").is_file()
    left = [one for one in (home / "runs").rglob("*.safetensors") if "artifact" not in one.parts]
    assert left == []  # a checkpoint is several times what it led to


def test_the_page_says_what_the_cells_say(home: Path, filled: Tally) -> None:
    page = Path(filled.page).read_text()
    left = [one.results["left"].auroc.value for one in _outcomes(home) if one.on == "left"]
    numbers = [100 * value for value in left]
    said = f"{mean(numbers):.1f} ({min(numbers):.1f} to {max(numbers):.1f})"
    assert f"| MemAE | {said} |" in page
    assert re.search(r"\| MemAE \| Left \| [\d.]+ \| 1\.00 \| yes \|", page)
    assert re.search(r"\| MADDR \+ MemAE \| Left \| [\d.]+ \| 99\.90 \| (yes|no) \|", page)
    assert re.search(r"Better in \d of 2 pairs of detector and set; on average", page)
    for text in ("One epoch.", "It is a test.", "--size tiny", "*trivial: mean grey*", "centre"):
        assert text in page
    assert "Not complete" not in page
    for images in (1, 32):
        assert re.search(rf"\| MemAE \| cpu \| {images} \| \d+ \| \d+ \| \d+\.\d\d \|", page)
    assert re.search(r"\| MemAE \| [\d,]+ \| \d+\.\d \| \d+\.\d \| \d+\.\d \|", page)
    assert "| *plain autoencoder, 64 px* |" in page
    assert "| Another | elsewhere | 55.5 | its table | MemAE | Right | " in page


def test_a_row_of_some_sets_is_trained_for_these_alone(home: Path) -> None:
    table = _table()
    table["sections"][0]["rows"][0]["sets"] = ["right"]
    found = cells(read_table(_write(home / "some.yaml", table)), "tiny", ["memae"])
    assert [(cell.on, cell.seed) for cell in found] == [("right", 0), ("right", 1)]


def test_synthetic_anomalies_are_of_healthy_calibration_pictures(home: Path, filled: Tally) -> None:
    outcome = next(one for one in _outcomes(home) if one.row == "maddr")
    kept = home / "runs/small/tiny"
    found = json.loads((kept / outcome.name / KEPT).read_bytes())
    assert set(found) == {"left", "right"}
    assert set(found["left"]) == {"score", "centre"}
    assert all(0 <= value <= 1 for each in found.values() for value in each.values())
    # A set without its test pictures gives the same: none is looked at.
    copy = home / "healthy"
    shutil.copytree(home / "data", copy)
    for listed in copy.glob("*/split.csv"):
        lines = listed.read_text().splitlines()
        listed.write_text("\n".join(line for line in lines if ",test," not in line))
    again = home / "again"
    shutil.copytree(kept / outcome.name, again / outcome.name)
    (again / outcome.name / KEPT).unlink()
    table = read_table(home / "table.yaml")
    assert synthetic(again, outcome, table, copy) == found


def test_further_pictures_are_measured_with_the_kept_artifact(home: Path, filled: Tally) -> None:
    kept, table = home / "runs/small/tiny", read_table(home / "table.yaml")
    for outcome in _outcomes(home):
        found = own(kept, outcome, table, home / "data").sets
        assert set(found) == ({"left"} & set(outcome.results))  # of right nothing more is asked
    outcome = next(one for one in _outcomes(home) if one.row == "maddr")
    one = own(kept, outcome, table, home / "data").sets["left"]
    assert (one.healthy, one.abnormal, one.patients) == (24, 8, 32)
    loaded = artifact.load(kept / outcome.artifact)
    recipe = Recipe.model_validate(loaded.card.recipe_for(("DX/CHEST",)))
    lines = [each for each in read_pictures(home / "data/left") if each.split == "val"]
    raw = scores(loaded.detector, prepare(lines, recipe).voxels)
    sick = [value for value, each in zip(raw, lines, strict=True) if each.abnormal]
    well = [value for value, each in zip(raw, lines, strict=True) if not each.abnormal]
    above = mean((s > w) + (s == w) / 2 for s in sick for w in well)
    assert one.auroc.value == pytest.approx(above)
    assert one.auroc.low <= above <= one.auroc.high
    assert "5 nearest thumbnails" in one.baselines
    assert one.baselines != outcome.results["left"].baselines  # of these pictures, not the test's
    # The healthy ones calibrate: no share of flags is said of them.
    assert set(type(one).model_fields) == {
        "artifact_sha256", "splits", "healthy", "abnormal", "patients", "auroc", "baselines",
    }  # fmt: skip


def test_further_pictures_are_measured_once_and_other_splits_anew(
    home: Path, filled: Tally, tmp_path: Path
) -> None:
    outcome = next(one for one in _outcomes(home) if one.on == "left")
    shutil.copytree(home / "runs/small/tiny" / outcome.name, tmp_path / outcome.name)
    table = read_table(home / "table.yaml")
    before = own(tmp_path, outcome, table, home / "data")
    assert own(tmp_path, outcome, table, tmp_path / "no-data") == before
    other = _table()
    other["sets"]["left"]["also"]["splits"] = ["test"]
    tested = read_table(_write(tmp_path / "other.yaml", other))
    again = own(tmp_path, outcome, tested, home / "data").sets["left"]
    assert (again.healthy, again.abnormal) == (6, 6)
    assert again.auroc == outcome.results["left"].auroc
    (tmp_path / outcome.name / OWN).write_text("{")
    with pytest.raises(ConfigError, match=r"own\.json is damaged.*remove it"):
        own(tmp_path, outcome, table, home / "data")


def test_a_further_picture_of_a_patient_who_trains_is_refused(
    home: Path, filled: Tally, tmp_path: Path
) -> None:
    outcome = next(one for one in _outcomes(home) if one.on == "left")
    shutil.copytree(home / "runs/small/tiny" / outcome.name, tmp_path / outcome.name)
    (tmp_path / outcome.name / OWN).unlink()
    shutil.copytree(home / "data/left", tmp_path / "left")
    listed = tmp_path / "left/split.csv"
    listed.write_text(re.sub(r"left-a0$", "left-n3", listed.read_text(), flags=re.MULTILINE))
    with pytest.raises(ConfigError, match="and 0 more: the patient trains too"):
        own(tmp_path, outcome, read_table(home / "table.yaml"), tmp_path)
    assert not (tmp_path / outcome.name / OWN).exists()


def test_the_page_shows_the_figure_beside_it_and_both_questions(home: Path, filled: Tally) -> None:
    page = Path(filled.page).read_text()
    assert "(page-cost.svg)" in page
    drawn = (home / "page-cost.svg").read_text()
    assert "MADDR + MemAE" in drawn
    assert "## Left: elsewhere, and own patients" in page
    assert "## Right:" not in page
    assert "- own patients: 24 healthy and 8 abnormal pictures of 32 patients" in page


def test_what_is_finished_is_never_run_again(home: Path, filled: Tally) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.json")}
    again = _run(home, home / "table.yaml")
    assert (again.done, again.ran) == (filled.done, 0)
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*.json")} == before


def test_a_cell_in_another_process_is_left_to_it(home: Path, filled: Tally) -> None:
    table = read_table(home / "table.yaml")
    cell = cells(table, "tiny")[0]
    folder = home / "other/small/tiny" / cell.name
    with locked(folder) as ours:
        assert ours
        with locked(folder) as twice:
            assert not twice
        found = benchmark(
            home / "table.yaml", data=home / "data", size="tiny", runs=home / "other",
            out=home / "other.md", only=["memae"], device="cpu",
        )  # fmt: skip
    assert (found.elsewhere, found.ran) == (1, 3)
    page = (home / "other.md").read_text()
    assert "Not complete: 3 of 6 trainings are done." in page
    assert re.search(r"\| MemAE \| [\d,]+ \| - \| - \| - \| \d", page)
    assert "cost.svg" not in page
    assert not (home / "other-cost.svg").exists()
    assert "| cpu |" not in page  # not measured beside another process's training


def test_a_killed_benchmark_is_carried_on_and_repeats_nothing(home: Path, tmp_path: Path) -> None:
    runs, state = tmp_path / "runs", tmp_path / "state"
    command = [
        sys.executable, "-m", "triage", "benchmark", home / "table.yaml", "--data", home / "data",
        "--size", "tiny", "--only", "memae", "--runs", runs, "--out", tmp_path / "page.md",
        "--device", "cpu", "--state", state,
    ]  # fmt: skip
    process = subprocess.Popen(
        [*map(str, command)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (done := list(runs.rglob(DONE))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = list(runs.rglob(DONE))
    before = {path: path.stat().st_mtime_ns for path in done}
    found = benchmark(
        home / "table.yaml", data=home / "data", size="tiny", runs=runs,
        out=tmp_path / "page.md", only=["memae"], device="cpu",
    )  # fmt: skip
    assert found.ran == 4 - len(done)
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert len(list(runs.rglob(DONE))) == 4


def test_a_cell_that_fails_is_told_of_and_the_others_go_on(home: Path, tmp_path: Path) -> None:
    table = _table()
    table["seeds"] = [0]
    table["sections"][0]["rows"][0]["training"] = {"family": "memae", "params": {"slotz": 3}}
    path = _write(tmp_path / "table.yaml", table)
    answer = triage(
        "benchmark", path, "--data", home / "data", "--size", "tiny", "--runs", tmp_path / "runs",
        "--out", tmp_path / "page.md", "--state", tmp_path / "state", "--device", "cpu",
    )  # fmt: skip
    assert answer.code == 1
    assert answer.err.count("failed: memae-") == 2
    assert "1 cells are done" in answer.out
    assert "Not complete: 1 of 3" in (tmp_path / "page.md").read_text()


def test_another_training_file_never_meets_an_old_result(home: Path) -> None:
    table = read_table(home / "table.yaml")
    changed = table.model_copy(update={"training": merged(table.training, {"plan": {"epochs": 2}})})
    names = [{cell.name for cell in cells(one, "tiny")} for one in (table, changed)]
    assert not names[0] & names[1]


def test_a_share_of_the_epochs_is_at_least_one(home: Path) -> None:
    table = read_table(home / "table.yaml")
    size = table.sizes["tiny"].model_copy(
        update={"training": {"plan": {"epochs": 10}}, "shares": {"memae": 0.25, "maddr": 0.01}}
    )
    found = cells(table.model_copy(update={"sizes": {"tiny": size}}), "tiny")
    assert {cell.training["plan"]["epochs"] for cell in found if cell.row.name == "memae"} == {2}
    assert {cell.training["plan"]["epochs"] for cell in found if cell.row.name == "maddr"} == {1}


def test_parts_are_merged_key_by_key() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2]}) == {
        "a": {"b": 1, "c": 3},
        "d": [2],
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"seeds": "all"}, "seeds"),
        ({"sets": {}}, "no row or set is called left"),
    ],
)
def test_a_wrong_table_is_refused_by_its_key(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = _write(tmp_path / "table.yaml", {**_table(), **change})
    with pytest.raises(ConfigError, match=f"table.yaml.*{said}"):
        read_table(path)


def test_an_unknown_size_or_row_is_refused_with_those_there_are(home: Path) -> None:
    table = read_table(home / "table.yaml")
    with pytest.raises(ConfigError, match="no size 'huge', only tiny"):
        cells(table, "huge")
    with pytest.raises(ConfigError, match="no row dpa, only memae, maddr"):
        cells(table, "tiny", ["dpa"])


def test_a_damaged_result_is_refused_and_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / DONE).write_text("{}")
    with pytest.raises(ConfigError, match=r"cell\.json is damaged.*remove it"):
        finished(tmp_path)


def test_the_row_of_the_detector_that_ships_is_trained_as_it_was() -> None:
    card = json.loads(
        (Path(models.__file__).parent / "zoo" / "chest-radiograph-memae" / "card.json").read_text()
    )
    table = read_table(PACKAGED / "benchmarks" / "reconstruction.yaml")
    cell = next(one for one in cells(table, "reduced") if one.row.name == "memae-shipped")
    params = models.load(cell.training["family"])(**cell.training["params"]).params
    assert {name: params[name] for name in card["params"]} == card["params"]
    plan = cell.training["plan"]
    said = ("epochs", "batch_size", "learning_rate", "average", "patience")
    assert {name: plan[name] for name in said} == {
        name: card["fingerprint"]["plan"][name] for name in said
    }


def test_the_house_s_own_table_holds() -> None:
    table = read_table(PACKAGED / "benchmarks" / "reconstruction.yaml")
    found = cells(table, "full")
    assert len({cell.name for cell in found}) == len(found)
    main = table.sections[0]
    both = {"memae", "ganomaly", "dpa", "f-anogan"}
    assert {row.against for row in main.rows if row.against} == both
    alone = {row.name for row in main.rows if not row.against}
    anchors = {"anchor", "paste-net", "ensemble"}
    assert alone == {*both, "memae-shipped", "mama-net", "memmc-mae", "simsid", *anchors}
    assert table.seeds == (0, 1, 2)
    also = {name: one.also for name, one in table.sets.items() if one.also}
    assert set(also) == {"zhanglab"}
    assert also["zhanglab"].splits == ("val",)
