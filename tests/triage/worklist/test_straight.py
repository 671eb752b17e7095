"""No text of a data set leaves with marks that turn the writing around it, by any door."""

import csv
import io
import json
from typing import Any

import pytest

from db.engine import Database
from db.priors import PriorRow
from tests.triage.worklist import imaged
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.hostile import TURNING
from triage.settings import Settings
from triage.worklist import words

TURNED = f"CH{TURNING}EST \u05d0\u05d1"
STRAIGHT = "CHEST \u05d0\u05d1"
NAMED = (
    "patient_name", "patient_id", "accession_number", "study_date", "modality", "body_part",
    "study_description",
)  # fmt: skip


def turned(rows: Database) -> None:
    with rows.begin() as session:
        given: dict[str, Any] = dict.fromkeys(NAMED, TURNED)
        add_study(session, **given)


def test_letters_stay_and_marks_go() -> None:
    assert words.straight(TURNED) == STRAIGHT
    assert words.tamed(TURNED) == STRAIGHT
    assert words.straight("\u061c") == ""


def test_the_csv_file_holds_none(client: Client, rows: Database) -> None:
    turned(rows)
    answer = client.post("/studies/export", {"csrf_token": client.csrf()})
    [row] = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    assert {row[name] for name in NAMED} == {STRAIGHT}


def test_a_formula_behind_a_mark_is_none_either(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        add_study(session, patient_name="\u202e=1+1")
    answer = client.post("/studies/export", {"csrf_token": client.csrf()})
    [row] = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    assert row["patient_name"] == "'=1+1"


def test_the_list_for_programs_holds_none(client: Client, rows: Database) -> None:
    turned(rows)
    [study] = client.get("/api/studies").json()["studies"]
    assert {study[name] for name in NAMED if name in study} == {STRAIGHT}


def test_series_windows_and_priors_of_the_viewer_hold_none(
    client: Client, rows: Database, settings: Settings
) -> None:
    built = imaged.ct(
        2, SpecificCharacterSet="ISO_IR 192", SeriesDescription=TURNED, RescaleType=TURNED,
        WindowCenterWidthExplanation=TURNED,
    )  # fmt: skip
    study = imaged.receive(settings, rows, built)
    number = imaged.prior_of(rows, study, study)
    with rows.begin() as session:
        row = session.get_one(PriorRow, number)
        row.body_part, row.study_description, row.modality = TURNED, TURNED * 90, TURNED
    answer = client.get(f"/studies/{study}/view/series")
    text = json.dumps(answer.json(), ensure_ascii=False)
    assert not set(TURNING) & set(text)
    [prior] = answer.json()["priors"]
    assert prior["what"].startswith(f"{STRAIGHT}, {STRAIGHT}")
    assert len(prior["what"]) == 120
    assert [one["description"] for one in answer.json()["series"]] == [STRAIGHT]
    own = client.get(f"/studies/{study}/view/priors/{number}/series")
    assert not set(TURNING) & set(json.dumps(own.json(), ensure_ascii=False))


@pytest.mark.parametrize("path", ["/studies/1", "/studies/1/evidence"])
def test_a_sender_s_long_texts_are_shortened_on_the_pages_of_a_study(
    client: Client, rows: Database, path: str
) -> None:
    with rows.begin() as session:
        names = (*NAMED, "issuer_of_patient_id")
        long: dict[str, Any] = {name: f"{name} {'x' * 60_000}" for name in names}
        add_study(session, **long)
    text = client.get(path).text
    assert len(text) < 20_000
    for name in ("patient_id", "accession_number", "issuer_of_patient_id"):
        assert f"{name} x" in text
