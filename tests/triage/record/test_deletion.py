"""After a deletion every place is searched: a patient is left where docs/custody.md says, only."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from db.engine import Database
from db.runs import MapRow
from db.tables import AuditRow, OutboxRow, StudyRow
from tests.house.source import ROOT
from tests.path.canaries import marked
from tests.path.test_canaries import leaks, tables_with_canaries
from tests.triage.peers import Scripted, scripted
from tests.triage.record.test_custody import age, purged, stored
from tests.workers.house import House, house
from triage import maps
from triage.retention import Retention

STAYS = {"study", "study_text", "custody", "outbox", "series_arrival", "station_pace"}
"""Tables that keep a patient, each named in docs/custody.md."""
AT_ONCE = Retention(images_days=1e-6, maps_days=1e-6)


@pytest.fixture
def site(sqlite_database: Database, tmp_path: Path) -> Iterator[House]:
    """One study in research mode: analysed, its report delivered, its map kept."""
    with (
        scripted(Scripted()) as pacs,
        house(sqlite_database, tmp_path, pacs, intended_use={"mode": "research"}) as one,
    ):
        dataset = marked(1, study="deleted", rows=128)
        one.receive(dataset)
        assert one.work().outcome in ("prioritised", "not prioritised")
        yield one


def test_files_and_maps_go_on_record_and_only_what_the_page_says_stays(
    site: House, tmp_path: Path
) -> None:
    [image], sent = stored(site), documents(site)
    with site.database.reading() as session:
        [name] = session.scalars(select(MapRow.sha256)).all()
    kept = maps.path_of(site.settings.results, name)
    assert kept.exists()
    assert str(image) in leaks(tmp_path)
    age(site)
    assert purged(site, AT_ONCE) == 1
    assert not kept.exists()
    rows = str(site.database.engine.url.database)
    assert [one for one in leaks(tmp_path) if not one.startswith(rows)] == []
    assert tables_with_canaries(site.database) == STAYS
    assert documents(site) == sent
    deleted = {one.event_type: one for one in site.rows(AuditRow) if one.event_id == "110105"}
    assert set(deleted) == {"study.purged", "maps.purged"}
    assert deleted["study.purged"].object_id == site.rows(StudyRow)[0].study_instance_uid


def documents(site: House) -> list[tuple[str, bytes]]:
    return [(one.sha256, one.content) for one in site.rows(OutboxRow)]


@pytest.mark.parametrize("table", sorted(STAYS))
def test_the_page_names_every_table_that_keeps_a_patient(table: str) -> None:
    page = (ROOT / "docs" / "custody.md").read_text(encoding="utf-8")
    stays = page.partition("## What a deletion leaves")[2].partition("\n## ")[0]
    assert f"`{table}`" in stays
