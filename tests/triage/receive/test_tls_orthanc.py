"""Orthanc speaks DICOM TLS with us in both directions, with certificates on both sides."""

import urllib.error
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.certificates import made
from tests.servers import free_port, orthanc
from tests.triage.receive.conftest import Start, soon, waiting
from triage import dimse
from triage.commands import node_test
from triage.dimse import Remote

CT = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.mark.slow
def test_orthanc_stores_here_and_we_store_there(start: Start, tmp_path: Path) -> None:
    keys = made(tmp_path / "keys")
    peers = [{"ae_title": "ORTHANC", "certificates": [keys.digest("client.pem")]}]
    listener = start(tls=keys.port(plain=False), peers=peers)
    nobody = {"AET": "TRIAGE", "Host": "localhost", "Port": free_port(), "UseDicomTls": True}
    us = {**nobody, "Port": listener.tls_port}
    both = {"triage": us, "plain": {**us, "UseDicomTls": False}}
    with orthanc(tmp_path / "orthanc", **keys.orthanc(DicomModalities=both)) as pacs:
        to = Remote("ORTHANC", "localhost", pacs.dicom_port, tls=keys.caller())
        assert dimse.send(dimse.inspect(CT), to) == 0
        assert dimse.holds(dimse.inspect(CT), to)
        ticks = {one.name: one.ok for one in node_test.run(to)}
        assert ticks == dict.fromkeys(("TCP", "TLS", "C-ECHO", "C-FIND", "C-STORE"), True)

        (instance,) = pacs.find("Instance")
        pacs.post("/modalities/triage/store", instance["ID"].encode())
        assert soon(lambda: len(waiting(listener)) == 1)
        with pytest.raises(urllib.error.HTTPError):
            pacs.post("/modalities/plain/store", instance["ID"].encode())
        assert len(waiting(listener)) == 1
