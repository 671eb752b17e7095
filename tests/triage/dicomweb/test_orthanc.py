"""Orthanc's DICOMweb plugin as the sender, and as a reader of what it sent."""

from pathlib import Path

import pytest

from tests import servers
from tests.triage.dicomweb.service import Service
from tests.triage.files import bundled

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NAMES = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_gdcm.dcm", "test-SR.dcm")


def test_orthanc_stores_by_stow_and_reads_back_what_it_sent(
    service: Service, tmp_path: Path
) -> None:
    if not PLUGIN.exists():
        pytest.skip("orthanc-dicomweb is not installed")
    us = {"Url": service.url, "HttpHeaders": service.bearer("sender", "reader")}
    web = {"Enable": True, "Root": "/dicom-web/", "Servers": {"us": us}}
    with servers.orthanc(tmp_path / "pacs", Plugins=[str(PLUGIN)], DicomWeb=web) as pacs:
        for name in NAMES:
            pacs.post("/instances", bundled(name).read_bytes())
        studies = pacs.get("/studies")
        done = pacs.post("/dicom-web/servers/us/stow", {"Resources": studies, "Synchronous": True})
        assert done
        service.ingest()
        sent = {one["MainDicomTags"]["SOPInstanceUID"] for one in pacs.find("Instance")}
        assert sent <= {row.sop_instance_uid for row in service.rows()}
        query = {"Uri": "/studies", "HttpHeaders": {"Accept": "application/dicom+json"}}
        found = pacs.post("/dicom-web/servers/us/get", query)
        assert {one["0020000D"]["Value"][0] for one in found} >= {
            one["MainDicomTags"]["StudyInstanceUID"] for one in pacs.find("Study")
        }
        for study in studies:
            pacs.delete(f"/studies/{study}")
        uids = [{"Study": one["0020000D"]["Value"][0]} for one in found]
        pacs.post("/dicom-web/servers/us/retrieve", {"Resources": uids, "Synchronous": True})
        back = {one["MainDicomTags"]["SOPInstanceUID"] for one in pacs.find("Instance")}
        assert sent <= back
