"""The worklist's order separates abnormal from normal exactly as the artifact does offline."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from sqlalchemy import select

from db.tables import StudyRow
from tests.path.site import DATA, site
from triage.commands.demo_studies import radiograph

pytestmark = [pytest.mark.path, pytest.mark.slow, pytest.mark.timeout(900)]
SUBSET, AGE = os.environ.get("TRIAGE_TEST_SUBSET", "nih:040Y").split(":")


def wrapped(row: dict[str, str], folder: Path) -> tuple[str, Path]:
    """One test image as a DX study, pixels unchanged."""
    pixels = np.asarray(Image.open(DATA / "chest-xray" / row["path"]).convert("L"), np.uint16)
    dataset = radiograph(pixels, name="Test^Image", key=row["path"])
    dataset.BitsStored, dataset.HighBit = 8, 7
    dataset.PatientAge = AGE
    del dataset.WindowCenter, dataset.WindowWidth
    path = folder / f"{Path(row['path']).stem}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return str(dataset.StudyInstanceUID), path


def test_the_worklist_order_has_the_artifacts_auc(tmp_path: Path) -> None:
    split = DATA / "chest-xray" / "split.csv"
    if not split.is_file():
        pytest.skip("the shared chest radiographs are not here")
    with split.open() as file:
        rows = [
            row for row in csv.DictReader(file)
            if row["subset"] == SUBSET and row["split"].startswith("test")
        ]  # fmt: skip
    folder = tmp_path / "studies"
    folder.mkdir()
    studies = [wrapped(row, folder) for row in rows]
    abnormal = {uid: int(row["anomaly"]) for (uid, _), row in zip(studies, rows, strict=True)}

    with site(tmp_path, None) as running:
        running.send(*(path for _, path in studies))
        running.settle(len(studies), limit_s=600)
        with running.database.reading() as session:
            order = session.scalars(
                select(StudyRow.study_instance_uid).order_by(StudyRow.rank, StudyRow.score)
            ).all()
    labels = [abnormal[uid] for uid in order]
    online = roc_auc_score(labels, np.arange(len(labels)))

    answer = subprocess.run(
        [sys.executable, "-m", "triage", "run", str(folder), "--json", "--state", str(tmp_path)],
        capture_output=True, check=True,
    )  # fmt: skip
    found = json.loads(answer.stdout)["studies"]
    offline = roc_auc_score(
        [abnormal[one["study_instance_uid"]] for one in found],
        [one["detections"][0]["score"] for one in found],
    )
    assert len(found) == len(studies) > 100
    assert abs(online - offline) <= 0.01
