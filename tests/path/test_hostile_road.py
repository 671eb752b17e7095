"""Malformed files sent to a whole site: each is refused with a status or visible with a reason."""

import statistics
from collections import Counter
from pathlib import Path

import pytest

from db.states import FINAL
from tests.path.site import DATA, Site, site
from tests.triage.receive import raw
from tests.triage.receive.test_hostile import files, read, send
from triage.errors import REASONS

pytestmark = [pytest.mark.path, pytest.mark.slow, pytest.mark.timeout(600)]
BAD = DATA / "dicom-bad"


@pytest.mark.skipif(not BAD.is_dir(), reason="no collection of malformed files")
def test_every_malformed_file_is_refused_or_ends_visible_with_a_reason(tmp_path: Path) -> None:
    hostile = [read(path) for path in files(BAD)]
    with site(tmp_path, None) as running:
        pids = _pids(running)
        answers = [send(running.port, file) for file in hostile]
        accepted = sum(answer == 0 for answer in answers)
        assert accepted > 100
        assert statistics.median(raw.echo_ms(running.port) for _ in range(15)) < 100
        studies = running.settle(1, limit_s=300)
        kept = sum(row.copies for row in running.instances())
        assert kept == accepted  # nothing acknowledged is missing, nothing else is there
        assert running.quarantined() == []
        for row in studies.values():
            assert row.state in FINAL
            assert row.outcome in {"held", "not analysed", "failed"}, row.outcome
            assert row.reason_code in REASONS
            assert row.reason_code != "internal", (row.id, row.reason_detail)
            assert row.reason_code != "crashed", (row.id, row.reason_detail)
        assert Counter(row.outcome for row in studies.values())["not analysed"] > 0
        assert _pids(running) == pids  # nothing ended and was started again
        assert "process.ended" not in (tmp_path / "up.log").read_text()


def _pids(running: Site) -> dict[str, list[int]]:
    return {name: running.pids_of(name) for name in ("triage listen", "triage ingest")}
