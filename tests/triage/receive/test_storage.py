"""0x0000 means: whole, judged, and safe in the spool. Everything else leaves nothing there."""

import shutil
import threading
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.triage.receive import build, raw
from tests.triage.receive.conftest import Start, soon, stray_files, waiting
from triage.receive.listener import Listener

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]


def sent(listener: Listener, data: bytes, uid: str | bytes) -> int:
    """Send one CT instance and give the status."""
    uid = uid.encode() if isinstance(uid, str) else uid
    with raw.peer(listener.port) as peer:
        peer.associate(CONTEXTS)
        status = peer.store(data, uid)
        assert peer.echo(3) == 0  # whatever the status, the association lives
        assert peer.release()
        return status


class TestStored:
    def test_the_file_holds_the_bytes_as_sent_and_says_who_sent_them(self, start: Start) -> None:
        listener = start()
        uid, data = build.fresh_ct()
        assert sent(listener, data, uid) == 0
        (path,) = waiting(listener)
        assert path.read_bytes().endswith(data)
        dataset = dcmread(path)
        assert dataset.SOPInstanceUID == uid
        assert dataset.file_meta.SendingApplicationEntityTitle == "PEER"
        assert dataset.file_meta.ReceivingApplicationEntityTitle == "TRIAGE"
        assert dataset.file_meta.SendingPresentationAddress.startswith("dicom:127.0.0.1:")
        expected = f"dicom:127.0.0.1:{listener.port}"
        assert dataset.file_meta.ReceivingPresentationAddress == expected

    @pytest.mark.parametrize("syntax", [build.EXPLICIT, build.IMPLICIT, build.BIG, build.DEFLATED])
    def test_every_native_syntax_is_taken(self, start: Start, syntax: str) -> None:
        listener = start()
        data = build.ct_bytes(syntax)
        with raw.peer(listener.port) as peer:
            peer.associate([(raw.CT, [syntax])])
            assert peer.store(data, build.SOP.encode()) == 0
        (path,) = waiting(listener)
        assert path.read_bytes().endswith(data)
        assert dcmread(path).SOPInstanceUID == build.SOP

    def test_the_same_instance_again_and_at_once_is_one_content(self, start: Start) -> None:
        listener = start(max_associations_per_address=8)
        uid, data = build.fresh_ct()
        statuses: list[int] = []

        def send() -> None:
            statuses.append(sent(listener, data, uid))

        for _ in range(5):
            send()
        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [0] * 13
        assert len({listener.spool.store(path) for path in waiting(listener)}) == 1

    def test_a_large_instance_is_written_on_its_way_and_arrives_whole(self, start: Start) -> None:
        listener = start()
        uid, data = build.fresh_ct(1501, 1024)
        assert sent(listener, data, uid) == 0
        (path,) = waiting(listener)
        assert path.read_bytes().endswith(data)
        assert stray_files(listener.spool.root) == []

    def test_a_missing_patient_id_is_taken(self, start: Start) -> None:
        listener = start()
        uid, data = build.fresh_ct(PatientID=None)
        assert sent(listener, data, uid) == 0


class TestRefused:
    def test_command_and_data_set_must_name_the_same_instance(self, start: Start) -> None:
        listener = start()
        _, data = build.fresh_ct()
        assert sent(listener, data, "1.2.3.4.5.6") == 0xA900
        other, data = build.fresh_ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
        assert sent(listener, data, other) == 0xA900
        assert waiting(listener) == []

    @pytest.mark.parametrize(
        "uid",
        [
            b"../../../../tmp/triage-escaped", b"/triage-escaped", b"1.2\0.3", b"1" * 65, b"1.02/3",
        ],
    )  # fmt: skip
    def test_a_uid_that_is_none_is_an_invalid_instance(
        self, start: Start, tmp_path: Path, uid: bytes
    ) -> None:
        listener = start()
        data = build.identity(sop=uid)
        assert sent(listener, data, uid) == 0x0117
        assert sent(listener, data, "1.2.3") == 0x0117
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert not Path("/tmp/triage-escaped").exists()
        assert not Path("/triage-escaped").exists()

    @pytest.mark.parametrize(
        "data",
        [
            b"", build.ct_bytes()[:-1], build.ct_bytes()[:-600], build.ct_bytes() + b"\x01",
            build.identity() + build.nested(2000), build.ct_bytes(build.IMPLICIT),
            build.encode(build.ct(StudyInstanceUID=None)), bytes(1000),
        ],
    )  # fmt: skip
    def test_what_is_not_understood_is_not_stored(self, start: Start, data: bytes) -> None:
        listener = start()
        assert sent(listener, data, build.SOP) == 0xC000
        assert waiting(listener) == []
        assert stray_files(listener.spool.root) == []

    def test_a_deflate_bomb_is_refused(self, start: Start) -> None:
        listener = start()
        with raw.peer(listener.port) as peer:
            peer.associate([(raw.CT, [build.DEFLATED])])
            bomb = build.deflate(build.identity() + bytes(64 * 2**20))
            assert peer.store(bomb, build.SOP.encode()) == 0xC000
        assert waiting(listener) == []

    def test_refusals_are_journalled_without_values(self, start: Start) -> None:
        listener = start()
        sent(listener, build.identity(sop=b"CANARY"), "1.2.3")
        listener.report()
        (batch,) = listener.spool.journal.batches()
        assert batch.events[0].kind == "instance.refused"
        assert batch.events[0].code.startswith("0x0117")
        assert "CANARY" not in batch.path.read_text()


class TestDisk:
    def test_below_the_watermark_it_is_out_of_resources_and_echo_goes_on(
        self, start: Start
    ) -> None:
        listener = start(min_free_bytes=2**60)
        uid, data = build.fresh_ct()
        assert sent(listener, data, uid) == 0xA700
        assert waiting(listener) == []
        assert stray_files(listener.spool.root) == []

    @pytest.mark.parametrize("folder", ["in", "tmp"])
    def test_a_spool_that_breaks_is_out_of_resources_until_it_is_mended(
        self, start: Start, folder: str
    ) -> None:
        listener = start()
        uid, data = build.fresh_ct()
        place = listener.spool.root / folder
        aside = place.with_name("aside")
        place.rename(aside)
        assert sent(listener, data, uid) == 0xA700
        aside.rename(place)
        assert sent(listener, data, uid) == 0
        assert stray_files(listener.spool.root) == []

    def test_a_large_instance_without_room_is_read_to_its_end_and_answered(
        self, start: Start
    ) -> None:
        listener = start()
        shutil.rmtree(listener.spool.tmp)
        uid, data = build.fresh_ct(512, 512)
        assert sent(listener, data, uid) == 0xA700


class TestCutOff:
    def test_a_connection_cut_at_any_byte_acknowledges_nothing(self, start: Start) -> None:
        listener = start()
        uid, data = build.fresh_ct()
        request = raw.associate_rq(CONTEXTS)
        message = raw.store_rq(data, uid.encode(), fragment=300)
        for cut in range(0, len(message), 23):
            with raw.peer(listener.port) as peer:
                peer.send(request)
                assert peer.receive()[0] == raw.ACCEPT
                peer.send(message[:cut])
        assert soon(lambda: listener.associations == 0)
        assert waiting(listener) == []
        assert stray_files(listener.spool.root) == []
        assert sent(listener, data, uid) == 0
