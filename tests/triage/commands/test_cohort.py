"""From DICOM studies to a cohort, and from a cohort to an artifact."""

import csv
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import FileDataset
from sqlalchemy import select

from db.custody import CustodyRow
from db.engine import Database, now
from models import artifact
from tests.builders import renamed, spooled
from tests.triage.commands.cli import Answer, triage
from tests.triage.commands.cohorts import SECRET, radiographs, saved, uids, volumes
from tests.triage.files import bundled
from triage.commands import cohort, cohort_sources
from triage.commands.cohort_series import JOURNAL, Bench, Looked
from triage.commands.cohort_split import Shares
from triage.commands.training_cohort import COHORT, read_cohort
from triage.errors import ConfigError
from triage.ingest import ingest_all
from triage.settings import PACKAGED, Completeness, Settings, load
from triage.spool import Spool
from triage.study import StudyRef

SHARES = ("--early-stop", "0.25", "--calibration", "0.25")


def _key(state: Path) -> None:
    """A key that is always the same, so that patients fall where they fell."""
    (state / "secrets").mkdir(parents=True, mode=0o700)
    (state / "secrets" / "cohort.key").touch(mode=0o600)
    (state / "secrets" / "cohort.key").write_bytes(b"k" * 32)


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    _key(tmp_path / "state")
    return {"TRIAGE_STATE": str(tmp_path / "state")}


@pytest.fixture(scope="module")
def pictures() -> list[FileDataset]:
    return radiographs(26, abnormal=6)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, pictures: list[FileDataset]) -> Path:
    """A folder with a cohort of the pictures, its studies, its lists and its state."""
    folder = tmp_path_factory.mktemp("cohort")
    _key(folder / "state")
    saved(folder / "studies", *pictures)
    (folder / "studies" / "note.txt").write_text("no DICOM")
    answer = triage(
        "cohort", "build", folder / "cohort", folder / "studies", "--json", *SHARES,
        "--normals", uids(folder / "normals.txt", *pictures[:20]),
        "--abnormal", uids(folder / "abnormal.txt", *pictures[20:]),
        TRIAGE_STATE=str(folder / "state"),
    )  # fmt: skip
    assert answer.code == 0, answer.err
    (folder / "answer.json").write_text(answer.out)
    return folder


def _lines(folder: Path) -> list[dict[str, str]]:
    with (folder / COHORT).open(newline="") as file:
        return list(csv.DictReader(file))


def _build(folder: Path, *words: object, **site: str) -> Answer:
    return triage("cohort", "build", folder, *words, *SHARES, **site)


def test_every_split_is_there_and_no_patient_or_abnormal_study_is_in_two(built: Path) -> None:
    lines = _lines(built / "cohort")
    splits: dict[str, set[str]] = {}
    for line in lines:
        splits.setdefault(line["split"], set()).add(line["patient"])
        assert (line["split"] == "test") == (line["anomaly"] == "1")
    assert set(splits) == {"train", "early-stop", "calibration", "test"}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 16
    assert {line["stratum"] for line in lines} == {"DX/CHEST/child"}


def test_the_counts_are_those_of_the_file(built: Path) -> None:
    facts = json.loads((built / "answer.json").read_text())
    assert facts == json.loads((built / "cohort" / "cohort.json").read_text())
    assert sum(row["series"] for row in facts["splits"]) == 26
    assert sum(row["abnormal"] for row in facts["splits"]) == 6
    assert (facts["studies"], facts["not_dicom"], facts["unlabelled"]) == (26, 1, 0)


def test_no_patient_is_written_in_clear_and_nothing_is_left_behind(built: Path) -> None:
    names = {path.name for path in (built / "cohort").iterdir()}
    assert names == {"cohort.csv", "cohort.json"}
    for path in (built / "cohort").iterdir():
        text = path.read_text()
        assert SECRET not in text
        assert "Canary" not in text


def test_a_cohort_is_trained_on_to_an_artifact(built: Path, tmp_path: Path) -> None:
    _trained(tmp_path, built / "cohort", family_of_radiographs())
    loaded = artifact.load(tmp_path / "run" / "ours-1" / "artifact")
    lines = _lines(built / "cohort")
    assert set(loaded.calibration.strata) == {"DX/CHEST", "DX/CHEST/child"}
    calibrated = [line for line in lines if line["split"] == "calibration"]
    facts = loaded.calibration.facts["DX/CHEST"]
    assert facts.studies == facts.images == len(calibrated)
    assert facts.patients == len({line["patient"] for line in calibrated})
    assert len(loaded.calibration.strata["DX/CHEST"]) == facts.patients
    assert {word.partition("=")[0] for word in facts.seen} == {"band", "scanner", "site", "view"}
    [taught] = loaded.card.fingerprint.trained_on
    assert taught.images == sum(line["split"] == "train" for line in lines)
    assert taught.patients == len({x["patient"] for x in lines if x["split"] == "train"})


def family_of_radiographs() -> dict[str, Any]:
    return {
        "name": "ours", "version": "1", "family": "memae", "recipe": "chest-radiograph",
        "params": {"widths": [8, 8, 8, 8], "memory": "vector", "slots": 12, "latent": 4},
        "data": {
            "pooled": "DX/CHEST",
            "subsets": {"ours": {"stratum": "DX/CHEST", "licence": "made"}},
        },
        "plan": {"epochs": 2, "batch_size": 8},
        "intended_use": "Tests.", "limitations": [],
    }  # fmt: skip


def _trained(folder: Path, data: Path, training: dict[str, Any]) -> None:
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(training))
    answer = triage(
        "train", path, "--data", data, "--runs", folder / "run", "--json", "--device", "cpu",
        TRIAGE_STATE=str(folder / "state"),
    )  # fmt: skip
    assert answer.code == 0, answer.err


def test_a_cohort_of_volumes_teaches_slices_and_calibrates_by_series(
    tmp_path: Path, site: dict[str, str]
) -> None:
    volumes(tmp_path / "studies", 9)
    answer = _build(
        tmp_path / "cohort", tmp_path / "studies", "--all-normal", "--json", "--route", "head-ct",
        **site,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    rows = {row["split"]: row for row in answer.json["splits"]}
    assert all(row["slices"] == 10 * row["series"] for row in rows.values())
    training = family_of_radiographs() | {"recipe": "head-ct"}
    training["params"] |= {"size_px": 128, "widths": [8, 8, 8, 8]}
    training["data"] = {
        "pooled": "CT/HEAD", "subsets": {"ct": {"stratum": "CT/HEAD", "licence": "made"}}
    }  # fmt: skip
    training["plan"] = {"epochs": 1, "batch_size": 32}
    _trained(tmp_path, tmp_path / "cohort", training)
    loaded = artifact.load(tmp_path / "run" / "ours-1" / "artifact")
    assert len(loaded.calibration.strata["CT/HEAD"]) == rows["calibration"]["series"]
    assert loaded.card.recipe["name"] == "head-ct"


def test_one_picture_under_two_patients_makes_them_one_person(
    tmp_path: Path, site: dict[str, str], pictures: list[FileDataset]
) -> None:
    twins = radiographs(20)
    for study in twins[1::2]:  # the second study of each patient: the next one's first picture
        study.PixelData = twins[(twins.index(study) + 1) % 20].PixelData
    saved(tmp_path / "studies", *twins)
    answer = _build(tmp_path / "cohort", tmp_path / "studies", "--all-normal", **site)
    assert "fell to" in answer.err  # all ten are chained into one person
    assert not (tmp_path / "cohort" / COHORT).exists()


def test_one_picture_that_is_healthy_and_abnormal_is_refused(
    tmp_path: Path, site: dict[str, str], pictures: list[FileDataset]
) -> None:
    other = renamed(radiographs(1)[0])
    other.StudyInstanceUID, other.PatientID = "1.2.3.4", "SOMEBODY"
    saved(tmp_path / "studies", *pictures[:20], other)
    sick = uids(tmp_path / "sick.txt", other)
    answer = _build(
        tmp_path / "cohort", tmp_path / "studies", "--all-normal", "--abnormal", sick, **site
    )
    assert answer.code == 3
    assert "show one picture" in answer.err
    assert "1.2.3.4" in answer.err


def test_a_build_that_was_killed_goes_on_and_ends_the_same(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(built / "state", PACKAGED)
    found = cohort_sources.in_folders([built / "studies"])
    wanted = cohort.Wanted(
        cohort_sources.read_uids(built / "normals.txt"),
        cohort_sources.read_uids(built / "abnormal.txt"),
        shares=Shares(0.25, 0.25),
    )
    looked: list[str] = []
    true = Bench.look

    def look(self: Bench, ref: StudyRef) -> Looked:
        if len(looked) == 9:
            raise KeyboardInterrupt
        looked.append(ref.study_instance_uid)
        return true(self, ref)

    monkeypatch.setattr(Bench, "look", look)
    with pytest.raises(KeyboardInterrupt):
        cohort.build(tmp_path / "cohort", found, wanted, settings)
    journal = tmp_path / "cohort" / JOURNAL
    assert SECRET not in journal.read_text()
    with journal.open("a") as file:
        file.write('{"key": "cut sho')
    looked += ["x"] * 10
    cohort.build(tmp_path / "cohort", found, wanted, settings)
    assert len(looked) == 19 + 26 - 9
    assert (tmp_path / "cohort" / COHORT).read_text() == (built / "cohort" / COHORT).read_text()


def _early(lines: list[dict[str, str]]) -> dict[str, str]:
    """The first of the two studies of a patient who stops the training."""
    return next(line for line in lines if line["split"] == "early-stop")


def _move(lines: list[dict[str, str]]) -> None:
    _early(lines)["split"] = "train"


def _copy(lines: list[dict[str, str]]) -> None:
    taught = next(line for line in lines if line["split"] == "train")
    taught["pixels"] = _early(lines)["pixels"]


def _misspell(lines: list[dict[str, str]]) -> None:
    lines[4]["split"] = "trian"


def _doubt(lines: list[dict[str, str]]) -> None:
    lines[4]["anomaly"] = "maybe"


def _divide(lines: list[dict[str, str]]) -> None:
    lines.insert(5, lines[4] | {"stratum": "CT/CHEST", "study_instance_uid": "1.2"})


def _cut(lines: list[dict[str, str]]) -> None:
    for line in lines:
        del line["pixels"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_move, r"line \d+ \(.*\) and .*line \d+ \(.*\) are of one patient"),
        (_copy, r"line \d+ \(.*\) and .*line \d+ \(.*\) are of one picture"),
        (_misspell, r"line 6: split is none of train"),
        (_doubt, r"line 6: anomaly is neither 0 nor 1"),
        (_divide, r"line 7: study_instance_uid is not that of line 6, the same series"),
        (_cut, r"lacks: pixels; build the cohort again"),
    ],
)
def test_a_cohort_changed_by_hand_is_refused_by_line(
    built: Path, tmp_path: Path, change: Callable[[list[dict[str, str]]], None], message: str
) -> None:
    lines = _lines(built / "cohort")
    change(lines)
    with (tmp_path / COHORT).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    with pytest.raises(ConfigError, match=message):
        read_cohort(tmp_path)


def test_a_file_that_changed_after_the_build_is_refused(built: Path, tmp_path: Path) -> None:
    lines = _lines(built / "cohort")
    text = (built / "cohort" / COHORT).read_text()
    wrong = text.replace(lines[0]["sha256"], "0" * 64)
    (tmp_path / "changed").mkdir()
    (tmp_path / "changed" / COHORT).write_text(wrong)
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(family_of_radiographs()))
    answer = triage(
        "train", path, "--data", tmp_path / "changed", TRIAGE_STATE=str(tmp_path / "state")
    )
    assert answer.code == 3
    assert "line 2: corrupt" in answer.err
    assert "build the cohort again" in answer.err


def test_a_training_by_another_recipe_is_refused(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(family_of_radiographs() | {"recipe": "chest-ct"}))
    answer = triage("train", path, "--data", built / "cohort", TRIAGE_STATE=str(tmp_path / "state"))
    assert "was chosen for recipe chest-radiograph" in answer.err


class TestTheSpool:
    @pytest.fixture
    def spooled_site(
        self, url: str, database: Database, tmp_path: Path, pictures: list[FileDataset]
    ) -> dict[str, str]:
        spool = Spool(tmp_path / "state" / "spool")
        spooled(spool, *pictures[:16], source="XRAY1")
        spooled(spool, *pictures[16:20], source="XRAY2")
        ingest_all(database, spool, Completeness(quiet_s=60, quiet_s_by_modality={}))
        return {"TRIAGE__DATABASE__URL": url}

    def test_it_is_asked_by_what_was_received_and_the_question_is_audited(
        self, spooled_site: dict[str, str], site: dict[str, str], tmp_path: Path
    ) -> None:
        words = ("--from-spool", "--modality", "dx", "--body-part", "CHEST", "--source", "XRAY1")
        answer = _build(
            tmp_path / "cohort", *words, "--since", "2020-01-01", "--all-normal", "--json",
            **site, **spooled_site,
        )  # fmt: skip
        assert answer.code == 0, answer.err
        assert answer.json["studies"] == 16
        stored = str(tmp_path / "state" / "spool" / "store")
        assert all(line["path"].startswith(stored) for line in _lines(tmp_path / "cohort"))
        audit = triage("audit", "query", "--json", **site, **spooled_site)
        assert any(row["event_type"] == "cohort.asked" for row in audit.json)

    @pytest.mark.usefixtures("spooled_site")
    def test_a_study_of_which_something_was_deleted_is_left_out(
        self, database: Database, tmp_path: Path
    ) -> None:
        spool, query = tmp_path / "state" / "spool", cohort_sources.Query(source=("XRAY1",))
        with database.begin() as session:
            for number, custody in enumerate(session.scalars(select(CustodyRow)).all()):
                custody.purged_at = now(session) if number < 2 else None
                custody.set_aside = number == 1  # which then counts for nothing
        found = cohort_sources.in_spool(database, spool, query, actor="test")
        assert len(found.studies) == 15

    def test_what_does_not_fit_gives_no_cohort(
        self, spooled_site: dict[str, str], site: dict[str, str], tmp_path: Path
    ) -> None:
        words = ("--from-spool", "--until", "2020-01-01", "--all-normal")
        answer = _build(tmp_path / "cohort", *words, **site, **spooled_site)
        assert answer.code == 3
        assert "no healthy series fell to train" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--all-normal",), "name PATHS, or say --from-spool"),
        (("PATH",), "--normals"),
        (("PATH", "--all-normal", "--route", "knee"), "no route knee"),
        (("PATH", "--all-normal", "--calibration", "0.5", "--test", "0.5"), "nobody to train on"),
        (("PATH", "--normals", "LIST"), "line 2 is no Study Instance UID"),
    ],
)
def test_a_wrong_question_is_answered_with_the_fix(
    tmp_path: Path, site: dict[str, str], words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "list.txt").write_text("1.2.3\nJohn Doe\n")
    meant = {"PATH": str(tmp_path), "LIST": str(tmp_path / "list.txt")}
    answer = triage(
        "cohort", "build", tmp_path / "out", *(meant.get(word, word) for word in words), **site
    )
    assert answer.code in (2, 3)
    assert message in " ".join(answer.err.replace("│", "").split())
    assert "John" not in answer.err


def test_a_folder_of_all_sorts_is_told_apart_in_silence(
    tmp_path: Path, site: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "all sorts"
    folder.mkdir()
    for name in ("CT_small.dcm", "rtplan.dcm", "examples_ybr_color.dcm", "DICOMDIR"):
        shutil.copy(bundled(name), folder)
    odd = radiographs(1)[0]
    odd.InstanceNumber = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd.StudyInstanceUID = f"1.2.{SECRET}"
        odd.save_as(folder / "odd.dcm", enforce_file_format=True)
    answer = _build(tmp_path / "cohort", folder, "--all-normal", **site)
    assert answer.code == 3
    assert "1 are too few" in answer.err
    assert "2 no-route" in answer.err
    assert SECRET not in answer.err + "".join(capfd.readouterr())


def test_a_cohort_is_not_written_over(built: Path) -> None:
    settings: Settings = load(built / "state", PACKAGED)
    found = cohort_sources.Found(())
    with pytest.raises(ConfigError, match="holds a cohort already"):
        cohort.build(built / "cohort", found, cohort.Wanted(None), settings)
