from pathlib import Path

import pytest

from triage.commands.training_pictures import Dialect, read_pictures
from triage.errors import ConfigError

LABELS = {"normal": False, "tumour": True}


def _write(folder: Path, *lines: str) -> Path:
    (folder / "split.csv").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_a_folder_without_subset_and_patient_is_one_subset_of_its_groups(tmp_path: Path) -> None:
    _write(tmp_path, "path,anomaly,split,group", "a.png,0,train,g1", "b.png,1,test,g2")
    first, second = read_pictures(tmp_path)
    assert (first.subset, first.patient) == (tmp_path.name, "g1")
    assert (second.subset, second.abnormal) == (tmp_path.name, True)
    assert second.where == f"{tmp_path / 'split.csv'} line 3"


def test_the_patient_column_and_the_subset_are_those_that_are_named(tmp_path: Path) -> None:
    _write(tmp_path, "path,anomaly,split,patient,who", "a.png,0,train,p,w")
    [found] = read_pictures(tmp_path, Dialect(patient_column="who", subset="brain"))
    assert (found.subset, found.patient) == ("brain", "w")


def test_a_column_subset_wins_over_the_name(tmp_path: Path) -> None:
    _write(tmp_path, "path,subset,anomaly,split,patient", "a.png,x,0,train,p")
    assert read_pictures(tmp_path, Dialect(subset="y"))[0].subset == "x"


def test_labels_in_words_take_the_place_of_the_anomaly(tmp_path: Path) -> None:
    _write(tmp_path, "path,label,split,group", "a.png,normal,train,g", "b.png,tumour,test,h")
    found = read_pictures(tmp_path, Dialect(labels=LABELS))
    assert [picture.abnormal for picture in found] == [False, True]


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("path,anomaly,split,patient", "a.png,healthy,train,p", r"line 3: anomaly is neither 0"),
        ("path,anomaly,split,patient", "a.png,,train,p", r"line 3: anomaly is neither 0"),
        ("path,anomaly,split,patient", ",0,train,p", r"line 3: path or split is empty"),
        ("path,anomaly,split,patient", "a.png,0,train", r"line 3 has not as many cells"),
        ("path,anomaly,split,patient", "a.png,0,train,p,q", r"line 3 has not as many cells"),
    ],
)
def test_a_wrong_line_is_named_with_what_to_do(
    tmp_path: Path, header: str, line: str, message: str
) -> None:
    _write(tmp_path, header, "fine.png,0,train,p", line)
    with pytest.raises(ConfigError, match=rf"split\.csv {message}"):
        read_pictures(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,cyst,1,train,p", r"line 2: its label is none of .*\(normal, tumour\)"),
        ("a.png,tumour,0,train,p", r"line 2: label and anomaly contradict"),
    ],
)
def test_a_label_that_the_training_file_does_not_expect_stops(
    tmp_path: Path, line: str, message: str
) -> None:
    _write(tmp_path, "path,label,anomaly,split,patient", line)
    with pytest.raises(ConfigError, match=message) as why:
        read_pictures(tmp_path, Dialect(labels=LABELS))
    assert "cyst" not in str(why.value)  # a label is a value of the data


def test_missing_columns_are_named_and_may_be_named_otherwise(tmp_path: Path) -> None:
    _write(tmp_path, "path,split,person", "a.png,train,p")
    with pytest.raises(ConfigError, match=r"lacks: anomaly, patient; .*patient_column"):
        read_pictures(tmp_path)
    with pytest.raises(ConfigError, match=r"lacks: label, who;"):
        read_pictures(tmp_path, Dialect(patient_column="who", labels=LABELS))


def test_a_file_that_is_no_csv_in_utf_8_or_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_bytes(b"path,anomaly\n\xff\xfe,0\n")
    with pytest.raises(ConfigError, match=r"split\.csv is no CSV file in UTF-8"):
        read_pictures(tmp_path)
    _write(tmp_path, "path,anomaly,split,patient")
    with pytest.raises(ConfigError, match="holds no line below its header"):
        read_pictures(tmp_path)
