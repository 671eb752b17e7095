"""Store requests on a real server: each instance answered for, none answered for too early."""

import socket
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from pydicom.uid import UID, JPEGBaseline8Bit

from db.associations import AssociationRow
from tests import builders
from tests.triage.dicomweb.service import BOUNDARY, Service, body, file, kind, served
from triage.arrival import read_arrival
from triage.dicomweb.wording import NAMESPACE
from triage.receive.listener import Listener
from triage.receive.walk import CANNOT_UNDERSTAND
from triage.spool import digest

FAILURE, CLASS, INSTANCE = "00081197", "00081150", "00081155"
FAILED, STORED, NAMELESS = "00081198", "00081199", "0008119A"


def failures(answer: httpx.Response, tag: str = FAILED) -> list[int]:
    return [one[FAILURE]["Value"][0] for one in answer.json().get(tag, {}).get("Value", ())]


def stored(answer: httpx.Response) -> list[str]:
    items = answer.json().get(STORED, {}).get("Value", ())
    return [one[INSTANCE]["Value"][0] for one in items]


def waiting(service: Service) -> int:
    return len(service.spool.incoming(1000))


def test_what_is_answered_200_is_in_the_spool_and_named(service: Service) -> None:
    one, two = (builders.dx(study="whole", instance=number) for number in (1, 2))
    before = waiting(service)
    answer = service.post(body(builders.part10(one), builders.part10(two)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert answer.headers["cache-control"] == "no-store"
    assert stored(answer) == [one.SOPInstanceUID, two.SOPInstanceUID]
    assert waiting(service) == before + 2
    study = f"{service.url}/studies/{one.StudyInstanceUID}"
    assert answer.json()["00081190"]["Value"] == [study]
    [first, _] = answer.json()[STORED]["Value"]
    place = f"{study}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}"
    assert first["00081190"]["Value"] == [place]


def test_a_stored_instance_has_the_custody_of_one_that_came_by_c_store(
    service: Service, tmp_path: Path
) -> None:
    from triage.dimse import Remote, inspect, send

    dataset = builders.dx(study="custody")
    path = tmp_path / "one.dcm"
    path.write_bytes(builders.part10(dataset))
    peers = service.settings.site.listener.model_copy(update={"port": 0, "peers": "any"})
    site = service.settings.site.model_copy(update={"listener": peers})
    listener = Listener(service.settings.model_copy(update={"site": site}))
    listener.start()
    try:
        send(inspect(path), Remote("TRIAGE", "127.0.0.1", listener.port, "MODALITY"))
    finally:
        listener.stop()
    service.ingest()
    assert service.post(body(path.read_bytes())).status_code == 200
    service.ingest()
    [row] = [one for one in service.rows() if one.sop_instance_uid == dataset.SOPInstanceUID]
    assert row.copies == 2
    assert row.sha256 == digest(path)
    assert row.source_ae_title == "MODALITY"


def test_what_a_request_brought_is_counted_as_an_association_s(service: Service) -> None:
    whole = [builders.part10(builders.dx(study="counted", instance=one)) for one in (1, 2)]
    refused = whole[0][:-1]
    assert service.post(body(whole[0], refused, whole[1])).status_code == 202
    [caller] = {read_arrival(path, "").passage.association_id for path in newest(service, 2)}
    service.spool.journal.flush()
    service.ingest()
    with service.database.reading() as session:
        found = session.get_one(AssociationRow, caller)
        assert (found.accepted, found.arrived) == (2, 2)


def newest(service: Service, count: int) -> list[Path]:
    return service.spool.incoming(1000)[-count:]


def test_who_sent_it_and_from_where_is_written_into_the_file(service: Service) -> None:
    import pydicom

    known = set(service.spool.incoming(1000))
    assert service.post(body(file(study="sender"))).status_code == 200
    [path] = set(service.spool.incoming(1000)) - known
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    assert meta.SendingApplicationEntityTitle == "sender"
    assert str(meta.SendingPresentationAddress).startswith("http:127.0.0.1:")
    assert path.read_bytes()[:128] == bytes(128)


def test_a_single_file_without_parts_is_taken(service: Service) -> None:
    answer = service.post(file(study="single"), **{"Content-Type": "application/dicom"})
    assert answer.status_code == 200


def test_some_and_none_are_told_apart(service: Service) -> None:
    good, bad = file(study="some"), file(study="some", instance=2)[:-40]
    answer = service.post(body(good, bad))
    assert answer.status_code == 202
    assert (len(stored(answer)), failures(answer)) == (1, [CANNOT_UNDERSTAND])
    before = waiting(service)
    answer = service.post(body(bad))
    assert answer.status_code == 409
    assert failures(answer) == [CANNOT_UNDERSTAND]
    assert answer.json()[FAILED]["Value"][0][INSTANCE]["Value"]
    assert waiting(service) == before


def test_the_data_sets_names_count_and_not_the_file_metas(service: Service) -> None:
    dataset = builders.dx(study="mismatch")
    content, uid = builders.part10(dataset), str(dataset.SOPInstanceUID).encode()
    end = builders.file_meta_length(content)
    other = uid[:-1] + (b"1" if uid[-1:] != b"1" else b"2")
    answer = service.post(body(content[:end].replace(uid, other) + content[end:]))
    assert answer.status_code == 200
    assert stored(answer) == [dataset.SOPInstanceUID]


def _not_storage() -> bytes:
    dataset = builders.dx(study="no-storage")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.1")
    return builders.part10(dataset)


def _unknown_syntax() -> bytes:
    content = file(study="syntax")
    return content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0", 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_not_storage, 0x0122),
        (_unknown_syntax, 0xC122),
        (lambda: file(study="cut")[:-1], 0xC000),
        (lambda: file(study="long").replace(b"\x28\0\x10\0US", b"\x28\0\x10\0UN", 1), 0xC000),
    ],
)
def test_each_wrong_file_has_its_reason(service: Service, make: object, reason: int) -> None:
    assert callable(make)
    answer = service.post(body(make()))
    assert answer.status_code == 409
    assert failures(answer) == [reason]


@pytest.mark.parametrize("content", [b"", b"text", bytes(132), bytes(128) + b"DICM", b"MZ" * 400])
def test_what_is_no_file_fails_without_a_name(service: Service, content: bytes) -> None:
    answer = service.post(body(content))
    assert answer.status_code == 409
    assert failures(answer, NAMELESS) or failures(answer)


def test_a_part_of_another_type_fails_and_the_others_do_not(service: Service) -> None:
    other = b"--" + BOUNDARY.encode() + b"\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    answer = service.post(other + body(file(study="mixed")))
    assert answer.status_code == 202
    assert (len(stored(answer)), failures(answer, NAMELESS)) == (1, [0xC000])


def test_an_instance_of_another_study_than_the_paths_is_refused(service: Service) -> None:
    dataset = builders.dx(study="named")
    uid = str(dataset.StudyInstanceUID)
    assert service.post(body(builders.part10(dataset)), path=f"/studies/{uid}").status_code == 200
    answer = service.post(body(file(study="not-named")), path=f"/studies/{uid}")
    assert (answer.status_code, failures(answer)) == (409, [0xA901])
    assert service.post(body(file()), path="/studies/..%2f..").status_code in {400, 404, 405}
    assert service.post(body(file()), path="/studies/x").status_code == 400


def test_the_answer_is_xml_for_who_asks_for_it(service: Service) -> None:
    answer = service.post(body(file(study="xml")), Accept="application/dicom+xml")
    assert answer.headers["content-type"] == "application/dicom+xml"
    root = ElementTree.fromstring(answer.content)
    assert root.tag == f"{{{NAMESPACE}}}NativeDicomModel"
    keywords = {one.get("keyword") for one in root.iter(f"{{{NAMESPACE}}}DicomAttribute")}
    assert {"RetrieveURL", "ReferencedSOPSequence", "ReferencedSOPInstanceUID"} <= keywords
    assert service.post(body(file()), Accept="text/html").status_code == 406


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/json", b"{}", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=x', b"--x--", 415),
        ('multipart/related; type="application/dicom"', body(b"x"), 400),
        (kind(), b"", 400),
        (kind(), b"--b0undary--\r\n", 400),
        (kind(), body(b"x")[:-6], 400),
        (kind("other"), body(b"x"), 400),
    ],
)
def test_a_malformed_request_is_told_so(
    service: Service, content_type: str, content: bytes, status: int
) -> None:
    answer = service.post(content, **{"Content-Type": content_type})
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}


def test_what_was_stored_before_the_body_broke_is_told(service: Service) -> None:
    before = waiting(service)
    answer = service.post(body(file(study="broken"))[:-4])
    assert answer.status_code == 400
    assert "stored before that: 1" in answer.json()["detail"]
    assert waiting(service) == before + 1


def test_nobody_and_a_reader_store_nothing(service: Service) -> None:
    before = waiting(service)
    content = body(file(study="denied"))
    answer = service.post(content, Authorization="")
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]
    assert service.post(content, Authorization="Bearer guess").status_code == 401
    assert service.post(content, **service.bearer("reader")).status_code == 403
    assert waiting(service) == before


def test_a_token_may_come_as_the_password_of_basic(service: Service) -> None:
    answer = httpx.post(
        f"{service.url}/studies", content=body(file(study="basic")),
        headers={"Content-Type": kind()}, auth=("any", service.token("sender")),
    )  # fmt: skip
    assert answer.status_code == 200


def test_refusals_are_counted_for_the_audit_trail(service: Service) -> None:
    service.spool.journal.flush()
    service.post(body(b"x"), Authorization="Bearer guess")
    service.post(body(file(study="audit")[:-40]))
    noted = {(one.kind, one.code): one for one in service.spool.journal.flush()}
    assert noted["stow.refused", "401"].address == "127.0.0.1"
    assert noted["stow.refused", "0xC000"].count == 1


def test_a_full_disk_says_when_to_come_again(tmp_path: Path, migrated_file: Path) -> None:
    with served(tmp_path / "state", migrated_file, retry_after_s=7) as full:
        full.settings.site.listener.__dict__["min_free_bytes"] = 10**18
        answer = full.post(body(file()))
        assert answer.status_code == 507
        assert answer.headers["retry-after"] == "7"
        assert waiting(full) == 0
        full.settings.site.listener.__dict__["min_free_bytes"] = 1
        assert full.post(body(file())).status_code == 200


def test_limits_of_the_request_hold(tmp_path: Path, migrated_file: Path) -> None:
    limits = {"max_instances": 2, "max_request_bytes": 100_000, "idle_timeout_s": 1.0}
    with served(tmp_path / "state", migrated_file, **limits) as small:
        files = [file(study="many", instance=number) for number in (1, 2, 3)]
        assert small.post(body(*files)).status_code == 413
        assert waiting(small) == 2
        assert small.post(body(file(rows=300))).status_code == 413
        address = small.url.split("/")[2].partition(":")
        with socket.create_connection((address[0], int(address[2])), 30) as slow:
            slow.sendall(
                b"POST /dicomweb/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
                + f"Authorization: Bearer {small.token('sender')}\r\n".encode()
                + f"Content-Type: {kind()}\r\n\r\n--".encode()
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        with_chunks = httpx.post(
            f"{small.url}/studies", content=iter([body(file(rows=300))]),
            headers={**small.bearer("sender"), "Content-Type": kind()}, timeout=30,
        )  # fmt: skip
        assert with_chunks.status_code == 413


def test_too_many_at_a_time_are_told_to_come_again(tmp_path: Path, migrated_file: Path) -> None:
    with served(tmp_path / "state", migrated_file, max_uploads=1) as busy:
        host, _, port = busy.url.split("/")[2].partition(":")
        content = body(file(study="first"))
        with socket.create_connection((host, int(port)), 30) as first:
            first.sendall(
                f"POST /dicomweb/studies HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
                f"Authorization: Bearer {busy.token('sender')}\r\nConnection: close\r\n"
                f"Expect: 100-continue\r\nContent-Type: {kind()}\r\n\r\n".encode()
            )
            assert first.recv(100).startswith(b"HTTP/1.1 100")
            answer = busy.post(body(file(study="second")))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
            first.sendall(content)
            assert first.recv(100).startswith(b"HTTP/1.1 200")


def test_a_sender_that_is_known_is_served_while_the_database_is_away(
    tmp_path: Path, migrated_file: Path
) -> None:
    with served(tmp_path / "state", migrated_file) as one:
        assert one.post(body(file())).status_code == 200
        database = one.settings.state / "triage.sqlite"
        hidden = database.rename(database.with_suffix(".away"))
        one.database.dispose()
        database.mkdir()
        assert one.post(body(file())).status_code == 200
        answer = one.post(body(file()), Authorization="Bearer unknown")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        database.rmdir()
        hidden.rename(database)
        assert one.post(body(file()), Authorization="Bearer unknown").status_code == 401
        assert waiting(one) == 2


def test_a_large_instance_goes_over_the_disk_and_is_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triage.dicomweb.held.SPILL_BYTES", 4096)
    content = file(study="large", rows=400)
    known = set(service.spool.incoming(1000))
    assert service.post(body(content)).status_code == 200
    [path] = set(service.spool.incoming(1000)) - known
    end = builders.file_meta_length(content)
    assert path.read_bytes()[builders.file_meta_length(path.read_bytes()) :] == content[end:]
    assert list(service.spool.tmp.iterdir()) == []


def test_a_disk_that_fails_in_the_middle_is_told_as_out_of_resources(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_parts: bytes) -> Path:
        raise OSError(28, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(service.spool, "write", fails)
        answer = service.post(body(file(study="failing")))
    assert answer.status_code == 507
    assert failures(answer) == [0xA700]
    assert "retry-after" in answer.headers


def test_encapsulated_instances_are_stored_as_they_are(service: Service) -> None:
    from pydicom.encaps import encapsulate

    dataset = builders.dx(study="compressed")
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert service.post(body(builders.part10(dataset))).status_code == 200
