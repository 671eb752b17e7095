"""Each service under its own user does its work, and reaches nothing of the others' (as root)."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.builders import dx
from tests.docker.services import (
    STRANGER,
    WAIT_S,
    House,
    build,
    complain,
    end,
    entries,
    groups,
    rows,
    users,
    wait,
)  # fmt: skip
from tests.docker.test_systemd import UNITS, sections

LISTEN, INGEST, DISPATCH = "triage-listen", "triage-ingest", "triage-dispatch"
WORK, WEB, MIGRATE = "triage-worker@", "triage-web", "triage-migrate"
EVERYBODY = LISTEN, INGEST, DISPATCH, WORK, WEB, MIGRATE, STRANGER
STUDY = "several-users"

LISTENER = """
from triage import log, settings
from triage.receive.listener import serve
log.configure("listen", as_json=True)
serve(settings.load(), ready=lambda port: print(port, flush=True))
"""
INGESTOR = """
import os, sys
os.environ["TRIAGE__DATABASE__URL"] = sys.argv[1]
from triage import settings
from triage.commands.services import ingest
ingest(settings.load())
"""
WITNESS = """
import json
from db import signed
from triage import settings
from triage.keys import AUDIT_KEY, site_key
from triage.record.purge import is_ours
loaded = settings.load()
key = site_key(loaded.secrets, AUDIT_KEY)
signed.append(loaded.checkpoints, key, lambda before: f"{before} seal")
assert signed.read(loaded.checkpoints, key) == [" seal"]
print(json.dumps({"deletes": is_ours(loaded.spool)}))
"""
ANALYSIS = """
import json, sys
from pathlib import Path
import numpy as np
from triage import maps, settings
from triage.assemble import read
from triage.preprocess.decoder import Decoder
from triage.record import generations
from triage.spool import digest
from triage.study import InstanceRef, StudyRef
loaded = settings.load()
paths = [Path(one) for one in sys.argv[2:]]
files = tuple(InstanceRef(str(n), digest(one), one) for n, one in enumerate(paths))
ref = StudyRef(1, sys.argv[1], 1, "count", files)
study = read(ref)
decoder = Decoder(loaded.site.decode)
shape = decoder.decode(paths, voi=True).pixels.shape
decoder.close()
generations.note(ref, "digest")
found = maps.AnomalyMap(np.ones((1, 8, 8), np.float32), np.eye(4)[None], (("1.2", 1),))
sha256 = maps.keep(found, loaded.results, loaded.readers)
images = sum(len(one.images) for one in study.series)
print(json.dumps({"images": images, "shape": shape, "map": sha256}))
"""
PURGE = """
import contextlib, io, json, os, sys
from typer.testing import CliRunner
from db.engine import connect
from triage import log, settings
from triage.__main__ import app
from workers import nightly
os.environ["TRIAGE__DATABASE__URL"] = sys.argv[1]
done = CliRunner().invoke(app, ["purge"])
os.environ["TRIAGE__SHARING__READERS"] = ""  # so that nobody else deletes
with contextlib.redirect_stderr(io.StringIO()) as logged:
    log.configure("nightly", as_json=True)
    nightly.work(connect(sys.argv[1]), settings.load())
said = [done.exit_code, done.output or repr(done.exception)]
print(json.dumps([said, logged.getvalue()]))
"""
PICTURE = """
import json, sys
from pathlib import Path
from triage import maps, settings
from triage.worklist.images import Previews
loaded = settings.load()
previews = Previews(loaded.site.decode)
picture = previews.png(Path(sys.argv[1]))
previews.close()
values = maps.read(loaded.results, sys.argv[2]).values
print(json.dumps({"picture": picture[:8].hex(), "map": values.shape}))
"""
PROBE = """
import json, os, sys
def may(act):
    try:
        act()
    except PermissionError:
        return False
    return True
def new(folder):
    os.rmdir(os.mkdir(folder + "/probe") or folder + "/probe")
found = {}
for path in sys.argv[1:]:
    is_folder = path.endswith("/")
    reads = may(lambda: os.listdir(path) if is_folder else open(path, "rb").close())
    writes = may(lambda: new(path) if is_folder else open(path, "r+b").close())
    found[path] = "r" * reads + "w" * writes
print(json.dumps(found))
"""
DELETION = """
import json, os, sys
path, folder, found = sys.argv[1], os.path.dirname(sys.argv[1]), {}
acts = {
    "append": lambda: open(path, "ab").close(), "delete": lambda: os.unlink(path),
    "rename": lambda: os.rename(path, path + ".gone"), "mode": lambda: os.chmod(path, 0o666),
    "add": lambda: open(folder + "/new", "wb").close(), "link": lambda: os.link(path, path + "2"),
    "group": lambda: os.chmod(folder, 0o777),
}
for name, act in acts.items():
    try:
        act()
        found[name] = "done"
    except PermissionError:
        found[name] = "refused"
print(json.dumps(found))
"""
READ_BY_ALL = {LISTEN: "rw", INGEST: "rw", DISPATCH: "r", WORK: "r", WEB: "r", MIGRATE: "r"}
OF_RECEIVING = {LISTEN: "rw", INGEST: "rw"}
RIGHTS: dict[str, dict[str, str]] = {
    "": {LISTEN: "r", INGEST: "r", DISPATCH: "r", WORK: "r", WEB: "r", MIGRATE: "r"},
    "spool/": {LISTEN: "r", INGEST: "r", DISPATCH: "r", WORK: "r", WEB: "r", MIGRATE: "r"},
    "KEPT": READ_BY_ALL,
    "KEPT-FOLDER": READ_BY_ALL,
    "spool/store/": READ_BY_ALL,
    "spool/priors/": READ_BY_ALL,
    "spool/in/": READ_BY_ALL,
    "spool/quarantine/": READ_BY_ALL,
    "WAITING": OF_RECEIVING,
    "spool/tmp/": OF_RECEIVING,
    "spool/ready/": OF_RECEIVING,
    "spool/journal/": OF_RECEIVING,
    "spool/reports/": OF_RECEIVING,
    "spool/prior_in/": OF_RECEIVING,
    "spool/ledger/": OF_RECEIVING,
    "tls/": OF_RECEIVING,
    "spool/generations/": {WORK: "rw"},
    "results/": {LISTEN: "r", INGEST: "r", DISPATCH: "r", WORK: "rw", WEB: "r", MIGRATE: "r"},
    "secrets/": {},
    "secrets/triage-dispatch/audit.key": {DISPATCH: "rw"},
    "secrets/triage-worker/": {WORK: "rw"},
    "secrets/triage-web/": {WEB: "rw"},
    "audit.checkpoints": {DISPATCH: "rw"},
    "audit.retired": {DISPATCH: "rw"},
    "audit-sent/": {DISPATCH: "rw"},
    "audit-retired/": {DISPATCH: "rw"},
}
"""Below the state folder: who reads, and who writes; whoever is not named, neither."""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """An installation that has received two instances, kept one, and noted the audit's head."""
    if os.geteuid() != 0:
        pytest.skip("only root may start processes under other users")
    root = Path(tempfile.mkdtemp(prefix="triage-users-"))
    try:
        house = build(root)
        site = {"listener": {"port": 0, "min_free_bytes": 1, "peers": "any", "processes": 1}}
        (root / "etc/triage/site.yaml").write_text(yaml.safe_dump(site))
        _receive(house)
        # It notes, and leaves deleting to the ingestor, whose user owns what is kept.
        assert house.run(DISPATCH, WITNESS) == {"deletes": False}
        yield house
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def analysed(house: House) -> dict[str, Any]:
    """What a worker made of the kept instance."""
    found = house.run(WORK, ANALYSIS, STUDY, *house.kept())
    assert isinstance(found, dict)
    return found


def _receive(house: House) -> None:
    url = rows(house, "triage-receive")
    listener, ingestor = house.start(LISTEN, LISTENER), house.start(INGEST, INGESTOR, url)
    try:
        assert listener.stdout is not None
        port = int(listener.stdout.readline() or complain(listener))
        _store(port, dx(study=STUDY, instance=1))
        wait(lambda: bool(house.kept()) and not house.waiting(), ingestor)
        end(ingestor)
        _store(port, dx(study=STUDY, instance=2))
    finally:
        end(ingestor)
        end(listener)


def test_a_folder_that_was_made_as_root_stops_no_listener(house: House) -> None:
    folder = house.spool / "ready"
    before = folder.stat()
    os.chown(folder, 0, 0)
    listener = house.start(LISTEN, LISTENER)
    try:
        assert listener.stdout is not None
        assert int(listener.stdout.readline() or complain(listener))
    finally:
        os.chown(folder, before.st_uid, before.st_gid)
        listener.terminate()
        _, told = listener.communicate(timeout=60)
    assert '"ready.off"' in told


def _store(port: int, dataset: Dataset) -> None:
    entity = AE(ae_title="CT1")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="TRIAGE")
    assert association.is_established
    try:
        assert association.send_c_store(dataset).Status == 0
    finally:
        association.release()


def places(house: House) -> dict[str, str]:
    """Name to path; a folder's ends in a slash."""
    [kept], [waiting] = house.kept(), house.waiting()
    files = {"KEPT": f"{kept}", "KEPT-FOLDER": f"{kept.parent}/", "WAITING": f"{waiting}"}
    return {name: files.get(name, f"{house.state}/{name}") for name in RIGHTS}


def test_none_of_the_users_is_root_and_each_unit_has_the_readers_group_first() -> None:
    named = {
        path.name: sections(path)["Service"]["User"][0] for path in UNITS.glob("triage-*.service")
    }
    assert set(named.values()) == set(users())
    assert "root" not in named.values()
    common = sections(UNITS / "triage-.service.d" / "hardening.conf")["Service"]
    assert common["Group"] == groups() == ["triage"]
    assert "User" not in common
    assert not any("StateDirectory" in key for key in common), "systemd would give it all to one"
    apart = {named[f"{one}.service"] for one in (LISTEN, DISPATCH, WORK, WEB, MIGRATE)}
    assert len(apart) == 5


def test_systemd_makes_the_users_and_folders_that_the_files_name(tmp_path: Path) -> None:
    tools = [shutil.which(f"systemd-{one}") for one in ("sysusers", "tmpfiles")]
    if None in tools or os.geteuid() != 0:
        pytest.skip("needs root, systemd-sysusers and systemd-tmpfiles")
    (tmp_path / "etc").mkdir()
    deploy = UNITS.parent
    for tool, words in zip(tools, (("sysusers.d",), ("tmpfiles.d", "--create")), strict=True):
        file = deploy / words[0] / "triage.conf"
        command = [str(tool), f"--root={tmp_path}", *words[1:], str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
        assert done.returncode == 0, done.stderr
    rows = [line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines()]
    numbers = {name: int(number) for name, _, number, *_ in rows}
    assert set(numbers) == set(users())
    for kind, path, mode, user, _ in entries():
        facts = (tmp_path / path.lstrip("/")).stat()
        assert f"{facts.st_mode & 0o7777:04o}" == mode, path
        assert facts.st_uid == (0 if user == "root" else numbers[user]), path
        assert (tmp_path / path.lstrip("/")).is_dir() == (kind == "d")


@pytest.mark.parametrize("unit", EVERYBODY)
def test_each_reads_and_writes_what_the_table_says_and_nothing_else(
    house: House, unit: str
) -> None:
    named = places(house)
    found: Any = house.run(unit, PROBE, *named.values())
    said = {name: found[path] for name, path in named.items()}
    assert said == {name: rights.get(unit, "") for name, rights in RIGHTS.items()}


def test_a_worker_analyses_what_another_user_received_and_cannot_change_it(
    house: House, analysed: dict[str, Any]
) -> None:
    [kept] = house.kept()
    assert analysed["images"] == 1
    assert analysed["shape"][-2:] == [32, 32]
    _cannot_change(house, WORK, kept)


def test_the_web_shows_its_picture_and_a_workers_map_and_cannot_change_it(
    house: House, analysed: dict[str, Any]
) -> None:
    [kept] = house.kept()
    found: Any = house.run(WEB, PICTURE, kept, analysed["map"])
    assert bytes.fromhex(found["picture"]) == b"\x89PNG\r\n\x1a\n"
    assert found["map"] == [1, 8, 8]
    _cannot_change(house, WEB, kept)


def test_who_may_not_delete_says_whose_work_it_is(house: House) -> None:
    found = house.run(DISPATCH, PURGE, rows(house, "triage-dispatch"))
    (code, said), logged = cast("tuple[tuple[int, str], str]", found)
    assert code == 1, said
    assert "run `triage purge` as its user" in said
    assert "were deleted" not in said
    assert "nightly.not-purged" in logged
    assert "nightly.reconciled" in logged  # the rest of the night's work goes on


def _cannot_change(house: House, unit: str, kept: Path) -> None:
    before = kept.read_bytes()
    refused: Any = house.run(unit, DELETION, kept)
    assert set(refused.values()) == {"refused"}, json.dumps(refused)
    assert kept.read_bytes() == before
    assert kept.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in kept.parent.iterdir()] == [kept.name]
