"""The whole road with real servers: Orthanc as PACS, DCMTK as modality, both kinds of executor."""

import csv
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import srread

from db.states import FINAL
from tests import servers
from tests.builders import dx
from tests.path.site import DATA, DCMTK, Road, road
from triage.commands import demo_studies

pytestmark = [pytest.mark.path, pytest.mark.slow, pytest.mark.timeout(600)]
ANALYSED = ("prioritised", "not prioritised")


@pytest.fixture(scope="module", params=["embedded", "servers"], name="road")
def _road(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Road]:
    with road(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


def reports(pacs: servers.Orthanc) -> dict[str, list[bytes]]:
    """Every SR at the PACS, by study."""
    found: dict[str, list[bytes]] = {}
    for series in pacs.find("Series", Modality="SR"):
        for instance in series["Instances"]:
            content = pacs.get_bytes(f"/instances/{instance}/file")
            study = str(pydicom.dcmread(BytesIO(content)).StudyInstanceUID)
            found.setdefault(study, []).append(content)
    return found


def check_reports(road: Road, folder: Path) -> None:
    """Each analysed generation has exactly one report, readable and valid; nobody else has any."""
    found = reports(road.pacs)
    assert {uid: len(one) for uid, one in found.items()} == road.site.reports_due() != {}
    for number, content in enumerate(one for contents in found.values() for one in contents):
        path = folder / f"{number}.dcm"
        path.write_bytes(content)
        assert srread(path).VerificationFlag == "UNVERIFIED"
        judged = subprocess.run(
            [servers.binary("dciodvfy", DCMTK), path], capture_output=True, text=True, check=False
        )
        assert "Error" not in judged.stderr + judged.stdout
        shown = subprocess.run(
            [servers.binary("dsrdump", DCMTK), path], capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0
        assert "Imaging Measurement Report" in shown.stdout


def expected(study: demo_studies.DemoStudy) -> set[str]:
    """What a made-up study must come to."""
    if study.name in demo_studies.EXAMPLES:
        # Held where another test has sent the same SOP instance with other bytes.
        return {"not analysed", "held"}
    if study.name.startswith("radiograph "):
        return {"prioritised" if "opacity" in study.name else "not prioritised"}
    return {"held"}


def test_made_up_studies_walk_the_road(road: Road, tmp_path: Path) -> None:
    studies = demo_studies.make(tmp_path / "studies")
    for study in studies:
        for _ in range(study.times):
            road.site.send(*study.files, check=False)
    accepted = [study for study in studies if study.accepted]
    rows = road.site.settle(len(accepted))
    for study in accepted:
        header = pydicom.dcmread(study.files[0], specific_tags=["StudyInstanceUID"])
        assert rows[str(header.StudyInstanceUID)].outcome in expected(study), study.name
    check_reports(road, tmp_path)


def test_real_studies_walk_the_road(road: Road, tmp_path: Path) -> None:
    manifest = DATA / "dicom" / "manifest.csv"
    if not manifest.is_file():
        pytest.skip("the shared DICOM data is not here")
    with manifest.open() as file:
        rows = [row for row in csv.DictReader(file) if row["study_uid"] and row["pydicom_reads"]]
    wanted = {row["study_uid"] for row in rows if row["pydicom_reads"] == "ok"}
    paths = [DATA / "dicom" / row["path"] for row in rows if row["study_uid"] in wanted]
    before = len(road.site.studies())
    road.site.send(*paths, check=False)
    road.site.settle(before + 20, limit_s=300)
    studies = road.site.studies()
    assert len(set(studies) & wanted) > 40
    for row in studies.values():
        assert row.state in FINAL
        assert row.outcome != "pending"
        assert row.sentence or row.outcome in ANALYSED
        assert row.outcome != "failed", (row.reason_code, row.reason_detail)
    check_reports(road, tmp_path)


def test_late_instances_give_a_second_report_that_names_the_first(
    road: Road, tmp_path: Path
) -> None:
    for number in (1, 2):
        path = tmp_path / f"late-{number}.dcm"
        dataset = dx(study="late on the road", instance=number, seed=number, rows=128)
        dataset.save_as(path, enforce_file_format=True)
        uid = str(dataset.StudyInstanceUID)
        road.site.send(path)
        road.site.settle(1)
    study = road.site.studies()[uid]
    assert study.generation == 2
    contents = [pydicom.dcmread(BytesIO(one)) for one in reports(road.pacs)[uid]]
    assert len(contents) == 2
    [successor] = [one for one in contents if "PredecessorDocumentsSequence" in one]
    [first] = [one for one in contents if one is not successor]
    named = successor.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
