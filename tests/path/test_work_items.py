"""A work item and a reader's word on the whole road: ``triage up`` with Orthanc as the PACS."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from db.tables import DetectionRow, StudyRow, UserRow
from tests import servers
from tests.builders import dx
from tests.path.site import DCMTK, Site, site
from tests.triage.ups.items import new_item
from triage.worklist import said
from triage.worklist.sessions import Viewer

pytestmark = [pytest.mark.path, pytest.mark.slow, pytest.mark.timeout(600)]
TITLE = "TRIAGE_UPS"


@dataclass(frozen=True)
class Road:
    site: Site
    pacs: servers.Orthanc
    program: httpx.Client


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A site that manages work items, and performs its own."""
    folder = tmp_path_factory.mktemp("items")
    port = servers.free_port()
    ours = {
        "name": "ours", "ae_title": TITLE, "host": "127.0.0.1", "port": port,
        "calling_ae_title": "TRIAGE",
    }  # fmt: skip
    sections: dict[str, Any] = {
        "ups": {
            "manager": {"enabled": True, "port": port, "peers": [{"ae_title": "TRIAGE"}]},
            "performer": {"managers": [ours], "event_port": 0, "poll_s": 0.2},
        },
        "feedback": {"destinations": ["pacs"], "settle_s": 0.1},
    }
    with (
        servers.orthanc(folder / "orthanc") as pacs,
        site(folder, pacs, **sections) as running,
    ):
        command = [sys.executable, "-m", "triage", "ups", "token", "add", "requester"]
        made = subprocess.run(
            [*command, "--state", str(running.state)], capture_output=True, text=True, check=True
        )
        headers = {
            "Authorization": f"Bearer {made.stdout.strip()}",
            "Content-Type": "application/dicom+json",
        }
        url = f"http://127.0.0.1:{running.web_port}/dicomweb"
        with httpx.Client(base_url=url, headers=headers, timeout=30) as program:
            yield Road(running, pacs, program)


def test_an_item_is_performed_and_a_reader_s_word_follows(road: Road, tmp_path: Path) -> None:
    dataset = dx(study="asked for", rows=256)
    study = str(dataset.StudyInstanceUID)
    path = tmp_path / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    road.site.send(path)
    asked = new_item(StudyInstanceUID=study)
    asked.InputInformationSequence[0].ReferencedSOPSequence[
        0
    ].ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    answer = road.program.post("/workitems?2.25.4242", content=json.dumps(asked.to_json_dict()))
    assert answer.status_code == 201, answer.text
    assert wait(lambda: state_of(road) == "COMPLETED", 120), road.site.tail()
    told = item(road).UnifiedProcedureStepPerformedProcedureSequence[0]
    [output] = told.OutputInformationSequence
    assert output.DICOMRetrievalSequence[0].RetrieveAETitle == road.pacs.ae_title
    uid = output.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert road.pacs.find("Instance", SOPInstanceUID=uid)
    _a_reader_s_word_arrives(road, study, uid, tmp_path)


def _a_reader_s_word_arrives(road: Road, study: str, report: str, folder: Path) -> None:
    with road.site.database.begin() as session:
        row = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == study)).one()
        before = (row.score, row.rank, row.priority)
        finding = session.scalars(
            select(DetectionRow.id).where(DetectionRow.study_id == row.id)
        ).one()
        reader = UserRow(
            name="dr.reader", password_hash="x", role="reader", created_at=row.received_at
        )
        session.add(reader)
        session.flush()
        who = Viewer(reader.id, reader.name, reader.role, "", "", timedelta(0))
        said.say(session, row, who, ("disagree", "artifact", str(finding)), mode="triage")
    assert wait(lambda: len(road.pacs.find("Instance", Modality="SR")) == 2, 60), road.site.tail()
    [content] = [
        one
        for instance in road.pacs.find("Instance", Modality="SR")
        if b"READER-ASSESSMENT" in (one := road.pacs.get_bytes(f"/instances/{instance['ID']}/file"))
    ]
    made = pydicom.dcmread(BytesIO(content))
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report
    path = folder / "word.dcm"
    path.write_bytes(content)
    judged = subprocess.run(
        [servers.binary("dciodvfy", DCMTK), path], capture_output=True, text=True, check=False
    )
    assert "Error" not in judged.stderr + judged.stdout
    after = road.site.studies()[study]
    assert (after.score, after.rank, after.priority) == before
    assert after.state == "delivered"


def item(road: Road) -> Dataset:
    return Dataset.from_json(road.program.get("/workitems/2.25.4242").json()[0])


def state_of(road: Road) -> str:
    return str(item(road).ProcedureStepState)


def wait(question: Callable[[], bool], limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while not question() and time.monotonic() < until:
        time.sleep(0.2)
    return question()
