from pathlib import Path

import pytest

from triage.commands.training_plan import (
    Data,
    Picture,
    Role,
    Subset,
    read_pictures,
    read_training,
    share_out,
)
from triage.errors import ConfigError
from triage.settings import PACKAGED

DATA = Data(
    pooled="DX/CHEST",
    subsets={
        "a": Subset(stratum="DX/CHEST/child", licence="none", train=("train",), test=("test",))
    },
    held_out=0.1,
    calibration=0.2,
)


def _pictures(patients: int, split: str = "train", *, abnormal: bool = False) -> list[Picture]:
    return [
        Picture(Path(f"{split}{patient}-{image}.png"), "a", split, abnormal, f"{split}{patient}")
        for patient in range(patients)
        for image in range(2)
    ]


def test_patients_are_shared_out_whole_and_in_the_wanted_proportions() -> None:
    shared = share_out((*_pictures(1000), *_pictures(5, "test")), DATA, seed=0)
    patients = {role: {picture.patient for picture in found} for role, found in shared.items()}
    assert sum(map(len, patients.values())) == 1005
    assert len(patients[Role.HELD_OUT]) == pytest.approx(100, abs=30)
    assert len(patients[Role.CALIBRATION]) == pytest.approx(200, abs=40)


def test_a_patient_keeps_its_role_when_others_come_and_moves_with_the_seed() -> None:
    few = share_out((*_pictures(200), *_pictures(5, "test")), DATA, seed=0)
    many = share_out((*_pictures(300), *_pictures(5, "test")), DATA, seed=0)
    other = share_out((*_pictures(200), *_pictures(5, "test")), DATA, seed=1)
    assert set(few[Role.CALIBRATION]) <= set(many[Role.CALIBRATION])
    assert set(few[Role.CALIBRATION]) != set(other[Role.CALIBRATION])


def test_an_abnormal_picture_is_only_ever_tested_on() -> None:
    pictures = (
        *_pictures(100),
        *_pictures(3, "test", abnormal=True),
        Picture(Path("x.png"), "a", "train", True, "x"),
    )
    shared = share_out(pictures, DATA, seed=0)
    assert {picture.patient for picture in shared[Role.TEST]} == {"test0", "test1", "test2"}
    assert all(not picture.abnormal for role in list(Role)[:3] for picture in shared[role])


def test_a_source_without_patients_counts_every_picture_as_one(tmp_path: Path) -> None:
    lines = ["path,subset,anomaly,split,patient", "1.png,a,0,train,", "2.png,a,1,test,p"]
    (tmp_path / "split.csv").write_text("\n".join(lines))
    first, second = read_pictures(tmp_path)
    assert (first.patient, first.abnormal) == ("1.png", False)
    assert (second.patient, second.abnormal) == ("p", True)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("path,subset\n1.png,a\n")
    with pytest.raises(ConfigError, match="anomaly, patient, split"):
        read_pictures(tmp_path)


@pytest.mark.parametrize("content", ["name: [", "name: 3"])
def test_a_training_file_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        read_training(tmp_path / "x.yaml")


@pytest.mark.parametrize("path", sorted((PACKAGED / "detectors").glob("*.yaml")), ids=str)
def test_every_packaged_training_file_is_valid_and_named_like_its_detector(path: Path) -> None:
    assert read_training(path).name == path.stem


def test_a_wrong_key_comes_with_its_line_and_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\nversion: '1'\nfamily: memae\nparams: {}\nrecipe: r\ndata:\n  pooled: P\n"
        "  subsets:\n    a:\n      stratum: S\n      licence: L\n      spilt: [train]\n"
        "intended_use: none\nlimitations: []\n"
    )
    with pytest.raises(ConfigError, match=r"x\.yaml line 12: data\.subsets\.a\.spilt: no such key"):
        read_training(path)
    path.write_text(path.read_text().replace("      spilt: [train]\n", "      repeat: 0\n"))
    with pytest.raises(ConfigError, match=r"x\.yaml line 12: data\.subsets\.a\.repeat: .*greater"):
        read_training(path)
    path.write_text("a: b\n c: d\n")
    with pytest.raises(ConfigError, match=r"x\.yaml line 2 is not valid YAML"):
        read_training(path)


def test_a_training_without_tests_is_shared_out(tmp_path: Path) -> None:
    data = DATA.model_copy(
        update={"subsets": {"a": Subset(stratum="S", licence="none", train=("train",))}}
    )
    shared = share_out(_pictures(100), data, seed=0)
    assert shared[Role.TEST] == ()
    assert shared[Role.TRAIN]
