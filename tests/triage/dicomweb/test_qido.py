"""Queries on a real server, by a client that is not ours, and by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from sqlalchemy import select

from db.tables import AuditRow
from tests import builders
from tests.triage.dicomweb.service import Service, served

STUDIES = (
    ("P1", "Doe^Jane", "20240105", "A100", ("CT", "CT", "SR")),
    ("P2", "Roe^Richard", "20240210", "A200", ("DX",)),
    ("P3", "D\xf6rr^J\xfcrgen", "20250301", "", ("MR",)),
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Service]:
    with served(tmp_path_factory.mktemp("qido") / "state", migrated_file) as one:
        for index, (patient, name, date, accession, modalities) in enumerate(STUDIES, 1):
            for number, modality in enumerate(modalities, 1):
                dataset = builders.dx(study=f"q{index}", patient=patient, instance=number)
                dataset.SpecificCharacterSet = "ISO_IR 192"
                dataset.PatientName, dataset.StudyDate = name, date
                dataset.AccessionNumber, dataset.Modality = accession, modality
                dataset.ReferringPhysicianName = f"Ref{index}^Dr"
                dataset.StudyInstanceUID = f"1.2.{index}"
                dataset.SeriesInstanceUID = f"1.2.{index}.{modalities.index(modality) + 1}"
                dataset.SeriesNumber, dataset.StudyID = number, f"S{index}"
                builders.spooled(one.spool, dataset)
        one.ingest()
        yield one


@pytest.fixture(scope="module")
def client(filled: Service) -> Iterator[DICOMwebClient]:
    with requests.Session() as session:
        session.headers.update(filled.bearer("reader"))
        yield DICOMwebClient(filled.url, session=session)


def uids(found: list[dict[str, Any]], tag: str = "0020000D") -> list[str]:
    return sorted(one[tag]["Value"][0] for one in found)


def test_the_client_finds_every_study_with_the_attributes_of_the_standard(
    client: DICOMwebClient,
) -> None:
    found = client.search_for_studies()
    assert uids(found) == ["1.2.1", "1.2.2", "1.2.3"]
    [first] = [one for one in found if one["0020000D"]["Value"] == ["1.2.1"]]
    assert first["00080061"]["Value"] == ["CT", "SR"]
    assert first["00201206"]["Value"] == [2]
    assert first["00201208"]["Value"] == [3]
    assert first["00100010"]["Value"] == [{"Alphabetic": "Doe^Jane"}]
    assert first["00080090"]["Value"] == [{"Alphabetic": "Ref1^Dr"}]
    assert first["00200010"]["Value"] == ["S1"]
    assert first["00080056"]["Value"] == ["ONLINE"]
    assert first["00081190"]["Value"][0].endswith("/dicomweb/studies/1.2.1")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"PatientID": "P1"}, ["1.2.1"]),
        ({"00100020": "P?"}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"PatientName": "doe*"}, ["1.2.1"]),
        ({"PatientName": "D*r*"}, ["1.2.3"]),
        ({"PatientName": "Doe"}, []),
        ({"StudyDate": "20240105"}, ["1.2.1"]),
        ({"StudyDate": "20240101-20241231"}, ["1.2.1", "1.2.2"]),
        ({"StudyDate": "-20240131"}, ["1.2.1"]),
        ({"StudyDate": "20240201-"}, ["1.2.2", "1.2.3"]),
        ({"AccessionNumber": "A*"}, ["1.2.1", "1.2.2"]),
        ({"AccessionNumber": "*"}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"ModalitiesInStudy": "SR"}, ["1.2.1"]),
        ({"ModalitiesInStudy": "US"}, []),
        ({"StudyInstanceUID": "1.2.1,1.2.3"}, ["1.2.1", "1.2.3"]),
        ({"ReferringPhysicianName": "ref2*"}, ["1.2.2"]),
        ({"StudyID": "S3"}, ["1.2.3"]),
        ({"StudyID": ""}, ["1.2.1", "1.2.2", "1.2.3"]),
        ({"PatientID": "P1", "StudyDate": "2025*"}, []),
    ],
)
def test_keys_match_as_the_standard_says(
    client: DICOMwebClient, filters: dict[str, str], expected: list[str]
) -> None:
    assert uids(client.search_for_studies(search_filters=filters)) == expected


def test_series_and_instances_are_found_inside_and_across_studies(client: DICOMwebClient) -> None:
    assert uids(client.search_for_series("1.2.1"), "0020000E") == ["1.2.1.1", "1.2.1.3"]
    across = client.search_for_series(search_filters={"Modality": "SR"})
    assert uids(across, "0020000E") == ["1.2.1.3"]
    assert across[0]["00100020"]["Value"] == ["P1"]
    assert across[0]["00201209"]["Value"] == [1]
    inside = client.search_for_instances("1.2.1", "1.2.1.1")
    assert [one["00200013"]["Value"][0] for one in inside] == [1, 2]
    assert inside[0]["00280010"]["Value"] == [32]
    assert inside[0]["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]
    assert "00100020" not in inside[0]
    [second] = client.search_for_instances("1.2.1", search_filters={"InstanceNumber": "2"})
    assert second["00080018"] == inside[1]["00080018"]
    everywhere = client.search_for_instances(search_filters={"PatientID": "P2"})
    assert uids(everywhere) == ["1.2.2"]
    by_uid = {"SOPInstanceUID": inside[0]["00080018"]["Value"][0]}
    assert len(client.search_for_instances(search_filters=by_uid)) == 1


def test_paging_gives_every_study_once_and_says_when_there_are_more(
    client: DICOMwebClient, filled: Service
) -> None:
    pages = [client.search_for_studies(limit=1, offset=number) for number in range(4)]
    assert sorted(uid for page in pages for uid in uids(page)) == ["1.2.1", "1.2.2", "1.2.3"]
    assert "additional results" in filled.get("/studies?limit=2").headers["warning"]
    assert "warning" not in filled.get("/studies?limit=3").headers


def test_fields_can_be_asked_for(client: DICOMwebClient, filled: Service) -> None:
    [one] = client.search_for_studies(search_filters={"PatientID": "P2"}, fields=["Modality"])
    assert one["00080060"]["Value"] == ["DX"]
    every = filled.get("/studies?PatientID=P2&includefield=all").json()[0]
    assert "00080016" in every
    assert "7FE00010" not in every


def test_nothing_is_204_and_fuzzy_is_said_to_be_literal(filled: Service) -> None:
    answer = filled.get("/studies?PatientID=nobody")
    assert (answer.status_code, answer.content) == (204, b"")
    answer = filled.get("/studies?PatientName=Do*&fuzzymatching=true")
    assert "fuzzymatching" in answer.headers["warning"]
    assert len(answer.json()) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/studies?NoSuchThing=1", "/studies?limit=x", "/studies?offset=-1", "/studies?limit=1e9",
        "/studies?PatientID.StudyID=1", "/studies?PatientName=" + "*" * 60,
        "/studies?PatientID=" + "x" * 2000, "/studies/x/series", "/studies/1..2/instances",
        "/studies?" + "&".join(f"0010{number:04X}=1" for number in range(60)),
    ],
)  # fmt: skip
def test_a_query_that_is_none_is_refused_without_its_words(filled: Service, path: str) -> None:
    answer = filled.get(path)
    assert answer.status_code == 400
    assert "xxx" not in answer.text


def test_a_query_that_would_read_every_header_is_refused(filled: Service) -> None:
    few = filled.settings.site.dicomweb.__dict__
    few["max_looked_at"] = 1
    try:
        assert filled.get("/studies?StudyID=S*").status_code == 413
    finally:
        few["max_looked_at"] = 5_000


def test_who_asks_is_known_and_noted(filled: Service) -> None:
    assert filled.get("/studies", Authorization="").status_code == 401
    assert filled.get("/studies", **filled.bearer("sender")).status_code == 403
    assert filled.get("/studies", Accept="text/html").status_code == 406
    filled.get("/studies?PatientName=Doe*")
    with filled.database.reading() as session:
        rows = session.scalars(select(AuditRow).where(AuditRow.actor == "reader")).all()
        denied = session.scalars(select(AuditRow.actor).where(
            AuditRow.event_type == "dicomweb.denied")).all()  # fmt: skip
    assert rows
    assert all("Doe" not in row.detail for row in rows)
    assert denied == ["sender"]
    assert filled.get("/studies").headers["cache-control"] == "no-store"
