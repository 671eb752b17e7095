"""Storage Commitment that others ask of us: verified by the bytes, reported on our association."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from sqlalchemy import select

from db.engine import Database, now
from db.promises import PromiseRequestRow
from db.tables import AuditRow, InstanceRow
from tests.builders import dx, part10
from tests.servers import free_port, orthanc
from tests.triage.peers import REFUSED
from tests.triage.receive.conftest import soon
from tests.triage.receive.modality import speaking
from tests.workers.house import House, house
from tests.workers.test_evidence import listener  # noqa: F401 - a fixture
from tests.workers.test_road import NOWHERE
from triage import commitment
from triage.ingest import ingest_all
from triage.receive.listener import Listener
from triage.spool import Spool, stored_path

DX = "1.2.840.10008.5.1.4.1.1.1.1"


class Requester:
    """An application entity that asks, and hears reports on associations opened to it."""

    def __init__(self, statuses: tuple[int, ...] = (0x0000,)) -> None:
        self.statuses = list(statuses)
        self.told: list[tuple[int, Dataset]] = []
        self.news = threading.Condition()

    def hear(self, event: evt.Event) -> tuple[int, Dataset | None]:
        self.told.append((int(event.event_type or 0), event.event_information))
        return (self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]), None


@contextmanager
def hearing(requester: Requester, port: int = 0) -> Iterator[int]:
    ae = AE(ae_title="ASKER")
    ae.add_supported_context(
        commitment.SOP_CLASS, ImplicitVRLittleEndian, scu_role=False, scp_role=True
    )
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, requester.hear)]
    server: Any = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


@contextmanager
def site_of(database: Database, tmp_path: Path, port: int, **rules: object) -> Iterator[House]:
    asker = {"ae_title": "ASKER", "host": "127.0.0.1", "port": port}
    settings = {"requesters": [asker], **rules}
    with house(database, tmp_path / "a", routes=NOWHERE, commitment=settings) as site:
        yield site


def ask(port: int, transaction: str, *objects: tuple[str, str]) -> None:
    with speaking(port, commitment.SOP_CLASS, ae_title="ASKER") as peer:
        answer, _ = peer.send_n_action(
            commitment.request(transaction, objects), commitment.REQUEST,
            commitment.SOP_CLASS, commitment.SOP_INSTANCE,
        )  # fmt: skip
        assert answer.Status == 0x0000


def work(site: House, *, age_s: float = 0) -> PromiseRequestRow:
    """Ingest, and do what is due now; gives the only request."""
    ingest_all(site.database, Spool(site.settings.spool), site.settings.site.completeness)
    with site.database.begin() as session:
        for row in session.scalars(select(PromiseRequestRow)):
            row.asked_at -= timedelta(seconds=age_s)
            row.due_at = now(session) if row.due_at is not None else None
    site.worker.drain()
    with site.database.reading() as session:
        return session.scalars(select(PromiseRequestRow)).one()


def test_what_is_kept_is_committed_on_an_association_that_we_open(
    database: Database,
    tmp_path: Path,
    listener: Listener,  # noqa: F811 - the fixture
) -> None:
    image = dx()
    requester = Requester()
    with hearing(requester) as port, site_of(database, tmp_path, port) as site:
        site.receive(image)
        ask(listener.port, "2.25.5", (DX, str(image.SOPInstanceUID)))
        row = work(site)
        assert (row.state, row.due_at, row.last_error) == ("reported", None, None)
        [(kind, told)] = requester.told
        assert (kind, told.TransactionUID) == (1, "2.25.5")
        assert [one.ReferencedSOPInstanceUID for one in told.ReferencedSOPSequence] == [
            image.SOPInstanceUID
        ]
        assert "FailedSOPSequence" not in told
        kinds = [one.event_type for one in site.rows(AuditRow)]
    assert [one for one in kinds if one.startswith("commitment.")] == [
        "commitment.requested", "commitment.verified", "commitment.reported",
    ]  # fmt: skip


def test_every_way_of_not_being_kept_has_its_reason(
    sqlite_database: Database,
    tmp_path: Path,
    listener: Listener,  # noqa: F811
) -> None:
    good, rotten, gone = dx(), dx(), dx()
    requester = Requester()
    with hearing(requester) as port, site_of(sqlite_database, tmp_path, port) as site:
        site.receive(good, rotten, gone)
        with site.database.reading() as session:
            found = session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.sha256))
            paths = {uid: stored_path(site.settings.spool, sha256) for uid, sha256 in found}
        content = bytearray(paths[rotten.SOPInstanceUID].read_bytes())
        content[-1] ^= 1
        paths[rotten.SOPInstanceUID].chmod(0o600)
        paths[rotten.SOPInstanceUID].write_bytes(content)
        paths[gone.SOPInstanceUID].unlink()
        asked = [(DX, str(one.SOPInstanceUID)) for one in (good, rotten, gone)]
        asked.append((DX, "2.25.404"))
        ask(listener.port, "2.25.5", *asked)
        ask(listener.port, "2.25.6", ("1.2.840.10008.5.1.4.1.1.2", str(good.SOPInstanceUID)))
        ingest_all(site.database, Spool(site.settings.spool), site.settings.site.completeness)
        with site.database.begin() as session:
            for row in session.scalars(select(PromiseRequestRow)):
                row.asked_at -= timedelta(seconds=61)
        site.worker.drain()
    told = {one.TransactionUID: (kind, one) for kind, one in requester.told}
    kind, first = told["2.25.5"]
    assert kind == 2
    assert [one.ReferencedSOPInstanceUID for one in first.ReferencedSOPSequence] == [
        good.SOPInstanceUID
    ]
    reasons = {one.ReferencedSOPInstanceUID: one.FailureReason for one in first.FailedSOPSequence}
    assert reasons == {
        rotten.SOPInstanceUID: 0x0110, gone.SOPInstanceUID: 0x0110, "2.25.404": 0x0112,
    }  # fmt: skip
    kind, second = told["2.25.6"]
    assert (kind, second.FailedSOPSequence[0].FailureReason) == (2, 0x0119)


def test_what_was_answered_but_is_not_indexed_yet_is_not_called_missing(
    sqlite_database: Database,
    tmp_path: Path,
    listener: Listener,  # noqa: F811
) -> None:
    image = dx()
    requester = Requester()
    with hearing(requester) as port, site_of(sqlite_database, tmp_path, port) as site:
        ask(listener.port, "2.25.5", (DX, str(image.SOPInstanceUID)))
        assert work(site).state == "asked"
        assert requester.told == []
        Spool(site.settings.spool).write(part10(image))
        assert work(site).state == "reported"
        assert requester.told[0][0] == 1


@REFUSED
def test_a_report_that_is_not_taken_comes_again_after_a_restart_and_at_last_a_person_is_told(
    sqlite_database: Database,
    tmp_path: Path,
    listener: Listener,  # noqa: F811
) -> None:
    image, port = dx(), free_port()
    requester = Requester(statuses=(0x0110, 0x0000))
    with site_of(sqlite_database, tmp_path, port) as site:
        site.receive(image)
        ask(listener.port, "2.25.5", (DX, str(image.SOPInstanceUID)))
        row = work(site)
        assert (row.state, row.tries) == ("verified", 1)
        assert row.last_error is not None
        assert row.due_at is not None
    again = house(sqlite_database, tmp_path / "b", routes=NOWHERE, commitment={
        "requesters": [{"ae_title": "ASKER", "host": "127.0.0.1", "port": port}],
        "give_up_after_s": 3600,
    })  # fmt: skip
    with again as site:
        with hearing(requester, port):
            row = work(site)
            assert (row.state, row.tries) == ("verified", 2)
            assert "0x0110" in (row.last_error or "")
        row = work(site, age_s=3601)
        assert (row.state, row.due_at) == ("gave-up", None)
        [alert] = [one for one in site.rows(AuditRow) if one.event_type.endswith("not-reported")]
        assert alert.event_id == "110113"


def test_a_stranger_is_named_in_the_error_and_reported_to_once_it_is_configured(
    sqlite_database: Database,
    tmp_path: Path,
    listener: Listener,  # noqa: F811
) -> None:
    image = dx()
    with house(sqlite_database, tmp_path / "a", routes=NOWHERE) as site:
        site.receive(image)
        ask(listener.port, "2.25.5", (DX, str(image.SOPInstanceUID)))
        row = work(site)
    assert row.last_error == (
        "where ASKER listens is not known: triage node add ASKER --answers HOST:PORT"
    )


def test_orthanc_asks_and_believes_us(
    sqlite_database: Database,
    tmp_path: Path,
    listener: Listener,  # noqa: F811
) -> None:
    image = dx()
    known = {"us": ["TRIAGE", "127.0.0.1", listener.port]}
    with orthanc(tmp_path / "orthanc", DicomModalities=known) as server:
        server.post("/instances", part10(image))
        asker = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": server.dicom_port}
        settings = {"requesters": [asker]}
        with house(sqlite_database, tmp_path / "a", routes=NOWHERE, commitment=settings) as site:
            site.receive(image)
            wanted = {"DicomInstances": [
                {"SOPClassUID": DX, "SOPInstanceUID": str(image.SOPInstanceUID)},
                {"SOPClassUID": DX, "SOPInstanceUID": "2.25.404"},
            ]}  # fmt: skip
            asked = server.post("/modalities/us/storage-commitment", wanted)
            assert soon(lambda: bool(Spool(site.settings.spool).reports(1)), seconds=30)
            row = work(site, age_s=61)
            assert (row.state, row.last_error) == ("reported", None)
            found = server.get(asked["Path"])
    assert found["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in found["Success"]] == [str(image.SOPInstanceUID)]
    assert [one["SOPInstanceUID"] for one in found["Failures"]] == ["2.25.404"]
