"""The listener as a process: real clients, real signals, real limits of the system."""

import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE

from tests.servers import binary
from tests.triage.receive import build, raw
from tests.triage.receive.conftest import (
    Running,
    Start,
    make_settings,
    running_listener,
    soon,
    steps_of,
    stray_files,
)
from triage.errors import ConfigError
from triage.receive import listener as listener_module
from triage.receive.listener import Listener
from triage.spool import Spool

CONTEXTS = [(raw.CT, [raw.EXPLICIT]), (raw.VERIFICATION, [raw.IMPLICIT])]
STRACE = ("strace", "-f", "--seccomp-bpf")
NODELAY = {**os.environ, "TCP_NODELAY": "1"}


def write_files(folder: Path, count: int, side: int = 64) -> list[Path]:
    """Write CT images as Part 10 files."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(count):
        dataset = build.ct(side, side, SOPInstanceUID=generate_uid())
        path = folder / f"{number:03d}.dcm"
        dataset.file_meta = build.meta(dataset.SOPInstanceUID)
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


class TestImports:
    def test_the_process_knows_no_tensors_database_or_broker(self) -> None:
        script = (
            "import sys, triage.receive.listener\n"
            "heavy = {'torch', 'monai', 'sqlalchemy', 'celery', 'redis', 'db', 'models',"
            " 'workers'}\n"
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"


class TestClients:
    def test_dcmtk_echoes_and_stores(self, tmp_path: Path) -> None:
        paths = write_files(tmp_path / "files", 5)
        with running_listener(tmp_path) as ours:
            port = str(ours.port)
            echoscu, storescu = binary("echoscu", "/usr/bin"), binary("storescu", "/usr/bin")
            subprocess.run([echoscu, "-aec", "TRIAGE", "127.0.0.1", port], check=True)
            command = [storescu, "-aec", "TRIAGE", "127.0.0.1", port, *map(str, paths)]
            subprocess.run(command, check=True, env=NODELAY)
            sent = {dcmread(path).SOPInstanceUID for path in paths}
            assert {dcmread(path).SOPInstanceUID for path in ours.waiting()} == sent

    def test_dcmtk_is_told_about_a_wrong_title(self, tmp_path: Path) -> None:
        with running_listener(tmp_path) as ours:
            echoscu = binary("echoscu", "/usr/bin")
            done = subprocess.run(
                [echoscu, "-v", "-aec", "WRONG", "127.0.0.1", str(ours.port)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode != 0
            assert "Called AE Title Not Recognized" in done.stdout + done.stderr
            assert soon(lambda: any(e["event"] == "association.rejected" for e in ours.events()))

    def test_pynetdicom_echoes_stores_and_releases(self, start: Start) -> None:
        listener = start()
        client = AE("PYNETDICOM")
        client.add_requested_context(raw.CT, raw.EXPLICIT)
        client.add_requested_context(raw.VERIFICATION)
        association = client.associate("127.0.0.1", listener.port, ae_title="TRIAGE")
        assert association.is_established
        assert association.send_c_echo().Status == 0
        dataset = build.ct()
        dataset.file_meta = build.meta(dataset.SOPInstanceUID)
        assert association.send_c_store(dataset).Status == 0
        del dataset.StudyInstanceUID
        assert association.send_c_store(dataset).Status == 0xC000
        association.release()
        assert association.is_released
        assert len(listener.spool.incoming(9)) == 1


class TestStarting:
    def test_a_port_in_use_names_the_key(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=r"site\.yaml: listener: cannot listen"):
                Listener(make_settings(tmp_path, port=port))

    def test_a_spool_that_cannot_be_made_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("a file where the folder should be")
        config = tmp_path / "config"
        config.mkdir()
        script = (
            "import sys; from pathlib import Path; from triage import settings\n"
            "from triage.receive.listener import serve\n"
            "serve(settings.load(Path(sys.argv[1]), Path(sys.argv[2])))"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "state"), str(config)]
        environment = {**os.environ, "TRIAGE__LISTENER__PORT": "0"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=30, env=environment
        )
        assert done.returncode != 0
        assert "ConfigError: the spool" in done.stderr

    def test_it_hardens_its_process_and_keeps_its_files_private(self, tmp_path: Path) -> None:
        with running_listener(tmp_path) as ours:
            limits = Path(f"/proc/{ours.pid}/limits").read_text()
            assert re.search(r"Max core file size\s+0\s+0", limits)
            found = re.search(r"Max open files\s+(\d+)", limits)
            assert found is not None
            assert int(found[1]) <= 512
            send_one(ours)
            for path in [ours.spool, *ours.spool.rglob("*")]:
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0

    def test_what_a_killed_one_left_half_written_is_swept(self, tmp_path: Path) -> None:
        with running_listener(tmp_path) as ours:
            child = subprocess.Popen(["/bin/true"])
            child.wait()
            (ours.spool / "tmp" / f"{child.pid}-1-half.dcm").write_bytes(b"half")
        with running_listener(tmp_path) as ours:
            assert stray_files(ours.spool) == []
            assert any(event.get("swept") == 1 for event in ours.events())


def send_one(ours: Running) -> int:
    uid, data = build.fresh_ct()
    with raw.peer(ours.port) as peer:
        peer.associate(CONTEXTS)
        return peer.store(data, uid.encode())


class TestDescriptors:
    def test_more_sockets_than_descriptors_are_survived(self, tmp_path: Path) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        try:
            with running_listener(tmp_path, connect_timeout_s=2) as ours:
                base = ours.descriptors()
                peers = [raw.Peer(ours.port) for _ in range(1100)]
                assert raw.echo_ms(ours.port) < 1000
                assert ours.descriptors() < 512
                for peer in peers:
                    peer.close()
                assert soon(lambda: ours.descriptors() <= base + 1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


class TestStopping:
    def test_a_listener_that_no_longer_accepts_ends_with_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Closed(Listener):
            def start(self) -> None:
                super().start()
                self.stop(within_s=5)

        monkeypatch.setattr(listener_module, "Listener", Closed)
        monkeypatch.setattr(listener_module, "_harden", lambda _: None)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        with pytest.raises(RuntimeError, match="no longer accepts"):
            listener_module.serve(make_settings(tmp_path))
        for number, handler in before.items():
            signal.signal(number, handler)

    def test_idle_associations_are_aborted_at_once(self, tmp_path: Path) -> None:
        with running_listener(tmp_path) as ours, raw.peer(ours.port) as peer:
            peer.associate(CONTEXTS)
            started = time.monotonic()
            os.kill(ours.pid, signal.SIGTERM)
            assert peer.receive() == (raw.ABORT, bytes(4))
            assert ours.process.wait(60) == 0
            assert time.monotonic() - started < 5

    def test_the_message_under_way_is_finished_and_no_other_is_begun(self, tmp_path: Path) -> None:
        uid, data = build.fresh_ct()
        message = raw.store_rq(data, uid.encode(), fragment=100)
        with running_listener(tmp_path) as ours, raw.peer(ours.port) as peer:
            peer.associate(CONTEXTS)
            peer.send(message[:-150])
            time.sleep(0.2)
            os.kill(ours.pid, signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError, match="refused"):
                raw.Peer(ours.port)
            peer.send(message[-150:])
            assert peer.status() == 0
            assert peer.receive() == (raw.ABORT, bytes(4))
            assert ours.process.wait(60) == 0
            assert len(ours.waiting()) == 1
            assert stray_files(ours.spool) == []

    def test_a_message_that_never_ends_does_not_hold_up_the_stop(self, start: Start) -> None:
        listener = start()
        uid, data = build.fresh_ct()
        with raw.peer(listener.port) as peer:
            peer.associate(CONTEXTS)
            peer.send(raw.store_rq(data, uid.encode())[:-10])
            assert soon(lambda: listener.associations == 1)
            started = time.monotonic()
            listener.stop(within_s=0.5)
            assert time.monotonic() - started < 2
            assert not listener.is_alive
            assert listener.spool.incoming(9) == []

    def test_a_stop_in_the_middle_of_a_study_loses_nothing_acknowledged(
        self, tmp_path: Path
    ) -> None:
        acknowledged: list[str] = []
        with running_listener(tmp_path) as ours:

            def stop() -> None:
                time.sleep(0.3)
                os.kill(ours.pid, signal.SIGTERM)

            thread = threading.Thread(target=stop)
            thread.start()
            with raw.peer(ours.port) as peer:
                peer.associate(CONTEXTS)
                for _ in range(5000):
                    uid, data = build.fresh_ct()
                    try:
                        status = peer.store(data, uid.encode())
                    except OSError:
                        break
                    if status != 0:
                        break
                    acknowledged.append(uid)
            thread.join()
            assert ours.process.wait(30) == 0
            stored = {dcmread(path).SOPInstanceUID for path in ours.waiting()}
        assert acknowledged
        assert set(acknowledged) <= stored
        assert stray_files(ours.spool) == []


class TestKilling:
    def test_every_acknowledged_instance_is_there_whole_after_kills(self, tmp_path: Path) -> None:
        ledger: dict[str, bytes] = {}
        chance = random.Random(7)
        for _ in range(4):
            with running_listener(tmp_path) as ours:
                senders = [
                    threading.Thread(target=_send_until_dead, args=(ours, ledger)) for _ in range(3)
                ]
                for sender in senders:
                    sender.start()
                time.sleep(chance.uniform(0.1, 0.5))
                os.kill(ours.pid, signal.SIGKILL)
                for sender in senders:
                    sender.join()
        assert len(ledger) > 20
        stored = {}
        for path in (tmp_path / "state" / "spool" / "in").rglob("*.dcm"):
            stored[str(dcmread(path).SOPInstanceUID)] = path.read_bytes()
        assert all(stored[uid].endswith(data) for uid, data in ledger.items())


def _send_until_dead(ours: Running, ledger: dict[str, bytes]) -> None:
    try:
        with raw.peer(ours.port) as peer:
            peer.associate(CONTEXTS)
            while True:
                uid, data = build.fresh_ct()
                if peer.store(data, uid.encode()) != 0:
                    return
                ledger[uid] = data
    except (OSError, AssertionError):
        return


class TestDisk:
    def test_a_file_size_limit_is_out_of_resources(self, tmp_path: Path) -> None:
        with running_listener(tmp_path) as ours:
            resource.prlimit(ours.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
            assert send_one(ours) == 0
            uid, data = build.fresh_ct(512, 512)
            with raw.peer(ours.port) as peer:
                peer.associate(CONTEXTS)
                assert peer.store(data, uid.encode()) == 0xA700
                assert peer.echo(3) == 0
            assert stray_files(ours.spool) == []
            assert send_one(ours) == 0

    @pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
    @pytest.mark.parametrize("fault", ["fsync:error=EIO:when=3", "rename:error=ENOSPC:when=2"])
    def test_an_error_of_the_disk_is_answered_and_the_next_one_is_stored(
        self, tmp_path: Path, fault: str
    ) -> None:
        # The spool's folders are made first, so that their syncs are not counted.
        Spool(tmp_path / "state" / "spool")
        call = fault.partition(":")[0]
        wrap = (*STRACE, "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={fault}")
        with running_listener(tmp_path, wrap=wrap) as ours:
            with raw.peer(ours.port) as peer:
                peer.associate(CONTEXTS)
                instances = [build.fresh_ct() for _ in range(4)]
                statuses = [peer.store(data, uid.encode()) for uid, data in instances]
            assert statuses == [0, 0xA700, 0, 0]
            assert len(ours.waiting()) == 3
            assert stray_files(ours.spool) == []

    @pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
    def test_the_answer_is_sent_after_data_name_and_folder_are_safe(self, tmp_path: Path) -> None:
        trace = tmp_path / "trace"
        calls = "trace=fsync,sync_file_range,rename,renameat,renameat2,sendto"
        wrap = (*STRACE, "-y", "-o", str(trace), "-e", calls)
        with running_listener(tmp_path, wrap=wrap) as ours, raw.peer(ours.port) as peer:
            peer.associate(CONTEXTS)
            for _ in range(3):
                uid, data = build.fresh_ct()
                assert peer.store(data, uid.encode()) == 0
            assert peer.release()
        steps = steps_of(trace, STEPS)
        order = ["fsync tmp", "rename", "fsync folder", "send"]
        if Spool(ours.spool).is_ordered:
            order = ["flush tmp", "rename", "fsync named", "fsync folder", "send"]
        first = steps.index(order[0])
        assert steps[first - 1] == "send"  # the A-ASSOCIATE-AC
        assert steps[first : first + 3 * len(order)] == order * 3


STEPS = {
    "flush tmp": r"sync_file_range\(\d+<[^>]*/spool/tmp/.*WAIT_AFTER",
    "fsync tmp": r"fsync\(\d+<[^>]*/spool/tmp/",
    "fsync named": r"fsync\(\d+<[^>]*/spool/in/../[^>]*\.dcm>",
    "fsync folder": r"fsync\(\d+<[^>]*/spool/in/..>",
    "rename": r"rename\w*\(.*/spool/tmp/.*\.dcm",
    "send": r"sendto\(",
}


class TestLog:
    def test_no_value_of_an_instance_reaches_log_or_journal(self, tmp_path: Path) -> None:
        with running_listener(tmp_path) as ours:
            send_one(ours)
            with raw.peer(ours.port) as peer:
                peer.associate(CONTEXTS)
                for data in (build.ct_bytes()[:-1], build.identity(sop=b"CANARY-UID")):
                    peer.store(data, build.SOP.encode())
                peer.release()
        events = ours.events()
        closed = [event for event in events if event["event"] == "association.closed"]
        assert {event["service"] for event in events} == {"listener"}
        assert sorted((one["accepted"], one["refused"]) for one in closed) == [(0, 2), (1, 0)]
        assert "CANARY" not in json.dumps(events)
        assert all("CANARY" not in path.read_text() for path in ours.spool.glob("journal/*"))
