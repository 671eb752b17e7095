"""Each service over TLS, certificates on both sides, with pynetdicom, DCMTK and Orthanc."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt

from db.engine import Database
from tests.builders import dx, part10
from tests.certificates import Keys, made
from tests.servers import binary, dcmqrscp, free_port, orthanc
from tests.triage.receive.conftest import soon
from tests.triage.receive.modality import (
    IAN,
    MPPS,
    ask,
    beginning,
    create,
    ending,
    notification,
    set_,
    speaking,
)
from tests.workers.house import house
from tests.workers.test_promises import DX, Requester, work
from tests.workers.test_road import NOWHERE
from triage import commitment, dimse
from triage import settings as configuration
from triage.completeness import Source
from triage.dimse import Remote
from triage.evidence.counts import Question, remote
from triage.evidence.counts import ask as count
from triage.receive.listener import Listener
from triage.settings import Listener as Limits
from triage.settings import Site
from triage.spool import Spool

NAMED = {"2.25.10": ["2.25.11"]}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return made(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def listener(tmp_path: Path, keys: Keys) -> Iterator[Listener]:
    """A listener on the spool of the site ``a`` whose plain port is closed."""
    given = {"port": 0, "min_free_bytes": 1, "peers": "any", "tls": keys.port(plain=False)}
    limits = Site(listener=Limits.model_validate(given))
    settings = configuration.load(tmp_path / "a").model_copy(update={"site": limits})
    one = Listener(settings)
    one.start()
    yield one
    one.stop(within_s=5)


def context(keys: Keys, purpose: ssl.Purpose, name: str) -> ssl.SSLContext:
    """Give one side of the test's own, apart from the code that it tests."""
    found = ssl.create_default_context(purpose, cafile=str(keys.file("ca.pem")))
    found.load_cert_chain(keys.file(f"{name}.pem"), keys.file(f"{name}.key"))
    found.verify_mode = ssl.CERT_REQUIRED
    return found


def caller(keys: Keys) -> ssl.SSLContext:
    return context(keys, ssl.Purpose.SERVER_AUTH, "client")


def orthancs(keys: Keys, **more: object) -> dict[str, Any]:
    """Give Orthanc's settings for TLS with our authority."""
    return {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(keys.file("client.pem")),
        "DicomTlsPrivateKey": str(keys.file("client.key")),
        "DicomTlsTrustedCertificates": str(keys.file("ca.pem")),
        "DicomTlsRemoteCertificateRequired": True,
        **more,
    }


def test_dcmtk_is_greeted_by_its_certificate(listener: Listener, keys: Keys) -> None:
    program = binary("echoscu", "/usr/bin")
    to = ["-aec", "TRIAGE", "localhost", str(listener.tls_port)]
    for certificate, code in ((keys.dcmtk(), 0), (["+tla", "+cf", str(keys.file("ca.pem"))], 1)):
        done = subprocess.run([program, *certificate, *to], check=False, timeout=60)
        assert (done.returncode != 0) == bool(code)


def test_steps_notices_and_requests_are_taken(listener: Listener, keys: Keys) -> None:
    with speaking(listener.tls_port, tls=caller(keys)) as peer:
        assert create(peer, "2.25.1", beginning("2.25.7")) == 0x0000
        assert set_(peer, "2.25.1", ending(NAMED)) == 0x0000
        answer, _ = peer.send_n_create(notification("2.25.7", NAMED), IAN, "2.25.3")
        assert answer.Status == 0x0000
        assert ask(peer, "2.25.5", "2.25.11") == 0x0000
    assert len(listener.spool.reports(9)) == 4
    with pytest.raises(AssertionError), speaking(listener.tls_port, MPPS):
        pass


def test_a_promise_is_reported_where_it_was_asked_for(
    sqlite_database: Database, tmp_path: Path, listener: Listener, keys: Keys
) -> None:
    image, requester = dx(), Requester()
    ae = AE(ae_title="ASKER")
    ae.add_supported_context(
        commitment.SOP_CLASS, ImplicitVRLittleEndian, scu_role=False, scp_role=True
    )
    server: Any = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        ssl_context=context(keys, ssl.Purpose.CLIENT_AUTH, "server"),
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, requester.hear)],
    )
    asker = {
        "ae_title": "ASKER", "host": "localhost", "port": server.socket.getsockname()[1],
        "tls": keys.caller().model_dump(mode="json"),
    }  # fmt: skip
    rules = {"requesters": [asker]}
    with house(sqlite_database, tmp_path / "a", routes=NOWHERE, commitment=rules) as site:
        site.receive(image)
        asking = speaking(
            listener.tls_port, commitment.SOP_CLASS, ae_title="ASKER", tls=caller(keys)
        )
        with asking as peer:
            wanted = commitment.request("2.25.5", [(DX, str(image.SOPInstanceUID))])
            answer, _ = peer.send_n_action(
                wanted, commitment.REQUEST, commitment.SOP_CLASS, commitment.SOP_INSTANCE
            )
            assert answer.Status == 0x0000
        assert work(site).state == "reported"
    server.shutdown()
    [(kind, told)] = requester.told
    assert (kind, told.TransactionUID) == (1, "2.25.5")


@pytest.mark.slow
def test_orthanc_greets_asks_for_commitment_and_believes_us(
    sqlite_database: Database, tmp_path: Path, listener: Listener, keys: Keys
) -> None:
    image = dx()
    us = {"AET": "TRIAGE", "Host": "localhost", "Port": listener.tls_port, "UseDicomTls": True}
    settings = orthancs(keys, DicomModalities={"us": us})
    with orthanc(tmp_path / "orthanc", **settings) as server:
        server.post("/modalities/us/echo", {})
        server.post("/instances", part10(image))
        asker = {
            "ae_title": "ORTHANC", "host": "localhost", "port": server.dicom_port,
            "tls": keys.caller().model_dump(mode="json"),
        }  # fmt: skip
        rules = {"requesters": [asker]}
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE, commitment=rules) as site:
            site.receive(image)
            wanted = {"DicomInstances": [
                {"SOPClassUID": DX, "SOPInstanceUID": str(image.SOPInstanceUID)},
            ]}  # fmt: skip
            asked = server.post("/modalities/us/storage-commitment", wanted)
            assert soon(lambda: bool(Spool(site.settings.spool).reports(1)), seconds=30)
            row = work(site)
            assert (row.state, row.last_error) == ("reported", None)
            found = server.get(f"/storage-commitment/{asked['ID']}")
    assert found["Status"] == "Success"
    assert [one["SOPInstanceUID"] for one in found["Success"]] == [image.SOPInstanceUID]


def test_dcmtk_is_asked_for_counts(tmp_path: Path) -> None:
    images = [dx(study="counted", instance=number) for number in (1, 2)]
    with dcmqrscp(tmp_path / "pacs") as pacs:
        assert _count(pacs.port, pacs.ae_title, images[0].StudyInstanceUID) == 0
        for number, image in enumerate(images):
            path = tmp_path / f"{number}.dcm"
            path.write_bytes(part10(image))
            to = Remote(pacs.ae_title, "127.0.0.1", pacs.port)
            assert dimse.send(dimse.inspect(path), to) == 0
        assert _count(pacs.port, pacs.ae_title, images[0].StudyInstanceUID) == 2


@pytest.mark.slow
def test_orthanc_is_asked_for_counts(tmp_path: Path, keys: Keys) -> None:
    images = [dx(study="counted", instance=number) for number in (1, 2)]
    nobody = {"AET": "TRIAGE", "Host": "localhost", "Port": free_port(), "UseDicomTls": True}
    settings = orthancs(keys, DicomModalities={"us": nobody})
    with orthanc(tmp_path / "orthanc", **settings) as server:
        for image in images:
            server.post("/instances", part10(image))
        uid = images[0].StudyInstanceUID
        assert _count(server.dicom_port, "ORTHANC", uid, tls=keys.caller()) == 2


@pytest.mark.slow
def test_orthanc_greets_and_stores_in_the_clear(tmp_path: Path) -> None:
    limits = Site(listener=Limits(port=0, min_free_bytes=1, peers="any"))
    settings = configuration.load(tmp_path / "a").model_copy(update={"site": limits})
    one, image = Listener(settings), dx()
    one.start()
    try:
        known = {"us": ["TRIAGE", "127.0.0.1", one.port]}
        with orthanc(tmp_path / "orthanc", DicomModalities=known) as server:
            server.post("/modalities/us/echo", {})
            stored = server.post("/instances", part10(image))
            server.post("/modalities/us/store", stored["ID"].encode())
        assert soon(lambda: len(one.spool.incoming(9)) == 1)
    finally:
        one.stop(within_s=5)


def _count(port: int, ae_title: str, study: object, **more: object) -> int:
    given = {"name": "pacs", "ae_title": ae_title, "host": "localhost", "port": port, **more}
    source = Source.model_validate(given)
    assert remote(source).port == port
    return count(Question(1, str(study)), source)
