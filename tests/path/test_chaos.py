"""Processes killed in mid-work, the broker emptied: nothing acknowledged is lost."""

import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import func, select

from db import audit
from db.states import FINAL
from db.tables import DecisionRow, DetectionRow, OutboxRow
from tests import servers
from tests.builders import dx
from tests.path.site import Road, Site, road

pytestmark = [pytest.mark.path, pytest.mark.slow, pytest.mark.timeout(600)]
STUDIES = 12
NOT_DUE = {"quiet_s": 1, "quiet_s_by_modality": {}}


def write(folder: Path, name: str, count: int, instances: int = 1) -> dict[str, list[Path]]:
    """Write generated radiographs; gives files by Study Instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    studies: dict[str, list[Path]] = {}
    for number in range(count):
        for instance in range(1, instances + 1):
            dataset = dx(
                study=f"{name} {number}", instance=instance, seed=100 * number + instance,
                patient=f"P{number}", rows=256,
            )  # fmt: skip
            path = folder / f"{number}-{instance}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            studies.setdefault(str(dataset.StudyInstanceUID), []).append(path)
    return studies


def sr_counts(pacs: servers.Orthanc) -> dict[str, int]:
    counts: dict[str, int] = {}
    for series in pacs.find("Series", Modality="SR"):
        for instance in series["Instances"]:
            content = pacs.get_bytes(f"/instances/{instance}/file")
            uid = str(pydicom.dcmread(BytesIO(content)).StudyInstanceUID)
            counts[uid] = counts.get(uid, 0) + 1
    return counts


def check_invariants(road: Road, sent: dict[str, list[Path]]) -> None:
    """Everything acknowledged is there, at rest, decided once, reported once, audited."""
    running, pacs = road.site, road.pacs
    studies = running.studies()
    assert set(sent) <= set(studies)
    kept = {row.sop_instance_uid for row in running.instances()}
    for paths in sent.values():
        for path in paths:
            assert str(pydicom.dcmread(path).SOPInstanceUID) in kept
    assert all(row.state in FINAL for row in studies.values())
    assert all(row.leased_by is None for row in studies.values())
    analysed = {uid: row for uid, row in studies.items() if "prioritised" in row.outcome}
    assert set(sent) <= set(analysed)
    assert sr_counts(pacs) == running.reports_due()
    with running.database.reading() as session:
        for table in (DecisionRow, DetectionRow):
            repeated = (
                select(func.count()).select_from(table).group_by(table.study_id, table.generation)
            )
            assert set(session.scalars(repeated)) == {1}
        assert set(session.scalars(select(OutboxRow.state))) == {"sent"}
        unsealed_is_fine = audit.verify(session)
    assert unsealed_is_fine.first_bad_seq is None


@pytest.fixture(scope="module", params=["embedded", "servers"], name="road")
def _road(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Road]:
    """One site for both days of chaos: what the first one left must come through the second."""
    folder = tmp_path_factory.mktemp(request.param)
    with road(request.param, folder, completeness=NOT_DUE) as running:
        yield running


def flush(running: Site) -> None:
    """Empty the broker, where there is one."""
    import yaml

    configured = yaml.safe_load((running.state / "configs" / "site.yaml").read_text())
    if url := configured["broker"]["url"]:
        import redis

        with redis.Redis.from_url(url) as client:
            client.flushall()


def test_killed_workers_and_an_emptied_broker_lose_nothing_and_repeat_nothing(
    road: Road, tmp_path: Path
) -> None:
    running, before = road.site, len(road.site.studies())
    sent = write(tmp_path / "studies", "chaos", STUDIES)
    running.send(*(path for paths in sent.values() for path in paths))
    names = ["queues gpu", "queues cpu", "queues out", "triage ingest", "workers dispatch"]
    for victim in [names[0], *names, names[0], names[2]]:
        time.sleep(0.5)
        running.kill(victim)
        flush(running)
    running.settle(before + STUDIES, limit_s=200)
    check_invariants(road, sent)


def test_a_listener_killed_in_mid_association_keeps_what_it_acknowledged(
    road: Road, tmp_path: Path
) -> None:
    running, before = road.site, len(road.site.studies())
    sent = write(tmp_path / "studies", "listener", 3, instances=40)
    files = [path for paths in sent.values() for path in paths]
    ledger = tmp_path / "ledger.log"
    for moment_s in (0.1, 0.3, 0.2):
        with ledger.open("ab") as sink:
            sender = subprocess.Popen(
                [
                    servers.binary("storescu", "/usr/bin"), "-v", "-aec", "TRIAGE", "127.0.0.1",
                    str(running.port), *map(str, files),
                ],
                stdout=sink, stderr=sink,
            )  # fmt: skip
            time.sleep(moment_s)
            running.kill("triage listen")
            sender.wait(60)
        _until_it_listens(running)
    acknowledged = _acknowledged(ledger)
    in_spool = running.state / "spool"
    deadline = time.monotonic() + 30
    while any((in_spool / "in").glob("*/*.dcm")) and time.monotonic() < deadline:
        time.sleep(0.1)
    kept = {row.sop_instance_uid for row in running.instances()}
    assert {str(pydicom.dcmread(path).SOPInstanceUID) for path in acknowledged} <= kept
    running.send(*files)  # the PACS sends again what was not acknowledged
    running.settle(before + len(sent), limit_s=200)
    check_invariants(road, sent)


def _until_it_listens(running: Site) -> None:
    deadline = time.monotonic() + 60
    while not servers.accepts(running.port):
        assert time.monotonic() < deadline, "the listener was not started again"
        time.sleep(0.1)


def _acknowledged(ledger: Path) -> set[Path]:
    """Read storescu's own account: the files answered with success."""
    found, current = set(), None
    for line in ledger.read_text(errors="replace").splitlines():
        if "Sending file:" in line:
            current = Path(line.split("Sending file:")[1].strip())
        elif "Received Store Response (Success)" in line and current is not None:
            found.add(current)
    return found
