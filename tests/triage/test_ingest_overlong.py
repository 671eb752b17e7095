"""Values of any length: the index keeps as much as their VR allows, the file keeps them whole."""

import warnings
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR
from sqlalchemy import select

from db.custody import CustodyRow
from db.engine import Database
from db.evidence import SeriesArrivalRow
from tests.builders import dx, part10
from tests.triage.ingested import LONG, RULES, overlong, put, quarantined, studies
from tests.workers.house import house
from tests.workers.test_road import NOWHERE
from triage.arrival import LENGTHS, fitted
from triage.ingest import ingest_all
from triage.spool import Spool

KEYED = (
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "AccessionNumber", "StudyDate", "StudyTime", "BodyPartExamined", "Modality", "StationName",
    "InstitutionName", "RequestedProcedurePriority", "StudyDescription", "SeriesDescription",
)  # fmt: skip


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.mark.parametrize("keyword", KEYED)
def test_a_value_of_any_length_is_indexed_and_so_is_what_comes_behind_it(
    database: Database, spool: Spool, keyword: str
) -> None:
    bad, good = overlong(keyword, LONG, study="bad"), dx(study="good", patient="P2")
    put(spool, bad, good)
    assert ingest_all(database, spool, RULES) == 2
    assert set(studies(database)) == {bad.StudyInstanceUID, good.StudyInstanceUID}
    assert quarantined(database) == []
    [kept] = [
        path for path in (spool.root / "store").rglob("*.dcm") if LONG.encode() in path.read_bytes()
    ]
    assert kept.read_bytes() == part10(bad)  # the file keeps the whole of it


def test_two_overlong_patient_ids_that_begin_alike_are_two_patients(
    database: Database, spool: Spool
) -> None:
    one = overlong("PatientID", LONG + "1", study="two", instance=1)
    other = overlong("PatientID", LONG + "2", study="two", instance=2)
    put(spool, one, other)
    ingest_all(database, spool, RULES)
    [study] = studies(database).values()
    assert (study.state, study.reason_code) == ("held", "identity-conflict")
    with database.reading() as session:
        ids = set(session.scalars(select(CustodyRow.patient_id)))
    assert len(ids) == 2
    assert all(len(one) == LENGTHS["LO"] for one in ids)


def test_the_same_overlong_patient_id_is_the_same_patient(database: Database, spool: Spool) -> None:
    put(spool, *(overlong("PatientID", LONG, study="one", instance=number) for number in (1, 2)))
    ingest_all(database, spool, RULES)
    [study] = studies(database).values()
    assert (study.state, study.instance_count) == ("receiving", 2)


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientID", "x" * 64, "x" * 64),
        ("Modality", "CT" * 9, "CT" * 8),
        ("PatientName", f"{'a' * 64}={'b' * 64}={'c' * 64}", f"{'a' * 64}={'b' * 64}={'c' * 64}"),
        ("StudyDescription", f"{'x' * 99} STAT", f"{'x' * 99} STAT"),
        ("StudyInstanceUID", "1" * 65, "1" * 65),
    ],
)
def test_what_a_vr_allows_is_kept(keyword: str, value: str, kept: str) -> None:
    assert fitted(keyword, value) == kept


@pytest.mark.parametrize("keyword", ["PatientID", "AccessionNumber", "PatientBirthDate"])
def test_what_tells_who_it_is_is_never_cut_to_what_another_has(keyword: str) -> None:
    cut = {fitted(keyword, value) for value in (LONG, LONG + "1", LONG[:-1])}
    assert len(cut) == 3
    assert {len(one) for one in cut} == {LENGTHS[dictionary_VR(keyword)]}


def test_a_uid_that_is_too_long_is_refused_and_not_cut(database: Database, spool: Spool) -> None:
    put(spool, overlong("SeriesInstanceUID", "1." * 40 + "1", study="uid"), dx(study="good"))
    assert ingest_all(database, spool, RULES) == 2
    [row] = quarantined(database)
    assert (row.reason_code, row.reason_detail) == ("unparsable", "too long: SeriesInstanceUID")
    assert len(studies(database)) == 1


def test_a_station_name_of_any_length_has_its_pace_and_its_study_is_worked_on(
    database: Database, tmp_path: Path
) -> None:
    with house(database, tmp_path / "site", routes=NOWHERE) as site:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            site.receive(overlong("StationName", LONG, study="station"))
        study = site.work()
        assert (study.outcome, study.reason_code) == ("not analysed", "no-route")
        with database.reading() as session:
            [series] = session.scalars(select(SeriesArrivalRow))
        assert series.station.split("/")[1] == LONG[:16]
