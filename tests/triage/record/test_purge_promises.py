"""What we promised to keep is not deleted: not by age, not for room, and not just before."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from sqlalchemy import select, update

from db.custody import CustodyRow
from db.engine import Database, now
from db.promises import PromiseRequestRow, PromiseRow
from db.tables import InstanceRow, StudyRow
from tests.builders import dx
from tests.triage.record.test_custody import FEW_DAYS, SOON
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE
from triage import commitment
from triage.commands.tidy import Tidy
from triage.completeness import Commitment
from triage.evidence import promises
from triage.record import purge
from triage.retention import Retention
from triage.sharing import Sharing
from triage.spool import stored_path
from workers import nightly

FULL = Retention(images_days=365, free_bytes=2**62, unreported_after_days=1)
"""A disk without room."""
MINUTES = timedelta(minutes=2)
"""Long enough not to wait for what may still come."""


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[House]:
    """Everything is "not analysed", and no report of that is due."""
    with house(database, tmp_path / "a", routes=NOWHERE) as one:
        yield one


def rest(site: House, *images: FileDataset) -> None:
    """Receive, and let every study have come to rest some days ago."""
    site.receive(*images)
    site.make_due()
    site.worker.drain()
    with site.database.begin() as session:
        session.execute(update(StudyRow).values(settled_at=now(session) - FEW_DAYS))


def ask(site: House, *images: FileDataset, number: int = 1) -> None:
    """Have a peer ask whether we keep them."""
    named = [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in images]
    asked = commitment.request(f"2.25.{number}", named)
    with site.database.begin() as session:
        promises.requested(session, message(asked), "ASKER")
        session.execute(update(PromiseRequestRow).values(asked_at=now(session) - MINUTES))


def message(asked: Dataset) -> Dataset:
    asked.file_meta = FileMetaDataset()
    return asked


def answer(site: House) -> dict[str, int]:
    """Verify what was asked; gives why what is not kept is not."""
    with site.database.begin() as session:
        errand = promises.claim(session, Commitment())
    assert errand is not None
    with site.database.reading() as session:
        contents = promises.kept(session, errand)
    failures = promises.verify(errand, contents, site.settings.spool)
    with site.database.begin() as session:
        assert promises.verified(session, errand, failures)
    with site.database.reading() as session:
        rows = session.scalars(select(PromiseRow).where(PromiseRow.failure_reason.is_not(None)))
        return {one.sop_instance_uid: one.failure_reason or 0 for one in rows}


def tell(site: House, error: str = "", *, give_up_after_s: float = 3600) -> None:
    """Report it, or fail to; some days ago."""
    rules = Commitment(give_up_after_s=give_up_after_s)
    with site.database.begin() as session:
        errand = promises.claim(session, rules)
        assert errand is not None
        promises.reported(session, errand, error, rules)
        told = PromiseRequestRow.reported_at.is_not(None)
        then = now(session) - FEW_DAYS
        session.execute(update(PromiseRequestRow).where(told).values(reported_at=then))


def promised(site: House, *images: FileDataset) -> None:
    ask(site, *images)
    answer(site)
    tell(site)


def purged(site: House, days: float | None = None, rules: Retention = SOON) -> list[str]:
    """Delete what may go; gives its studies."""
    places = purge.Places(site.settings.spool, site.settings.results)
    gone = purge.purge(site.database, places, purge.Rules(rules, days), actor="test")
    return [one.study_instance_uid for one in gone]


def here(site: House) -> set[str]:
    """Give the instances whose files are here."""
    spool = site.settings.spool
    with site.database.reading() as session:
        rows = session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.sha256))
        return {uid for uid, sha256 in rows if stored_path(spool, sha256).exists()}


@pytest.mark.parametrize("rules", [SOON, FULL], ids=["old", "full"])
def test_a_study_of_which_anything_was_promised_stays_for_ever(
    site: House, rules: Retention
) -> None:
    kept, beside = (dx(study="kept", instance=one, seed=one) for one in (1, 2))
    other = dx(study="other", seed=3)
    rest(site, kept, beside, other)
    promised(site, kept)
    assert purged(site, rules=rules) == [other.StudyInstanceUID]
    assert here(site) == {kept.SOPInstanceUID, beside.SOPInstanceUID}


def test_a_promise_runs_out_when_the_site_says_so(site: House) -> None:
    image = dx(study="kept")
    rest(site, image)
    promised(site, image)
    rules = purge.Rules(SOON, 30)
    assert purge.count_promised(site.database, rules) == 1
    assert purged(site, 30) == []
    assert purge.count_promised(site.database, purge.Rules(SOON, 2)) == 0
    assert purged(site, 2) == [image.StudyInstanceUID]
    assert here(site) == set()
    assert purge.count_promised(site.database, rules) == 0  # nothing of it is here


def test_the_last_of_several_promises_counts(site: House) -> None:
    image = dx(study="kept")
    rest(site, image)
    promised(site, image)
    ask(site, image, number=2)
    answer(site)
    with site.database.begin() as session:
        second = PromiseRequestRow.transaction_uid == "2.25.2"
        values = {"state": promises.REPORTED, "reported_at": now(session)}
        session.execute(update(PromiseRequestRow).where(second).values(values))
    assert purged(site, 2) == []


def test_only_old_studies_are_counted_as_kept(site: House) -> None:
    image = dx(study="kept")
    rest(site, image)
    promised(site, image)
    assert purge.count_promised(site.database, purge.Rules(Retention())) == 0
    assert purge.count_promised(site.database, purge.Rules(Retention(images_days=30))) == 0
    rules = purge.Rules(Retention(images_days=30, least_days=1))
    assert purge.count_promised(site.database, rules, pressed=True) == 1


def test_what_we_said_we_do_not_keep_may_go(site: House) -> None:
    good, rotten = dx(study="good"), dx(study="rotten", seed=2)
    rest(site, good, rotten)
    with site.database.reading() as session:
        wanted = InstanceRow.sop_instance_uid == str(rotten.SOPInstanceUID)
        [sha256] = session.scalars(select(InstanceRow.sha256).where(wanted))
    path = stored_path(site.settings.spool, sha256)
    path.chmod(0o600)
    path.write_bytes(b"rotten")
    ask(site, good, rotten)
    assert answer(site) == {str(rotten.SOPInstanceUID): promises.PROCESSING_FAILURE}
    tell(site)
    assert purged(site) == [rotten.StudyInstanceUID]


def test_a_promised_image_that_is_gone_keeps_no_other(site: House) -> None:
    old, late = (dx(study="kept", instance=one, seed=one) for one in (1, 2))
    rest(site, old, late)
    promised(site, old)
    with site.database.begin() as session:
        session.get_one(CustodyRow, 1).purged_at = now(session)
    assert purged(site) == [old.StudyInstanceUID]
    assert here(site) == set()


@pytest.mark.parametrize("state", [promises.ASKED, promises.VERIFIED])
def test_what_is_asked_and_not_reported_yet_stays_whatever_the_time(
    site: House, state: str
) -> None:
    image = dx(study="kept")
    rest(site, image)
    ask(site, image)
    if state == promises.VERIFIED:
        answer(site)
    assert purged(site, 1e-9) == []
    assert here(site) == {image.SOPInstanceUID}


def test_a_report_that_was_given_up_may_have_been_heard(site: House) -> None:
    image = dx(study="kept")
    rest(site, image)
    ask(site, image)
    answer(site)
    tell(site, "no answer", give_up_after_s=1)
    with site.database.reading() as session:
        assert session.scalars(select(PromiseRequestRow.state)).all() == [promises.GAVE_UP]
    assert purged(site, 30) == []
    assert purged(site, 2) == [image.StudyInstanceUID]


def test_what_is_asked_after_a_study_was_chosen_stays(site: House) -> None:
    image = dx(study="kept")
    rest(site, image)
    rules = purge.Rules(SOON)
    [chosen] = purge.every_due(site.database, rules)
    ask(site, image)
    spool = site.settings.spool
    assert not purge.purge_study(site.database, spool, chosen.study_id, rules, actor="test")
    assert answer(site) == {}
    assert here(site) == {image.SOPInstanceUID}


def test_what_is_being_deleted_is_not_promised(
    site: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, mark = dx(study="kept"), purge._mark
    rest(site, image)
    said: list[dict[str, int]] = []

    def asks() -> None:
        ask(site, image)
        said.append(answer(site))

    asking = threading.Thread(target=asks)

    def interrupted(*given: Any) -> list[str]:  # noqa: ANN401
        asking.start()  # its promises were looked for
        asking.join(1)
        assert asking.is_alive()  # it waits for the study
        return mark(*given)

    monkeypatch.setattr(purge, "_mark", interrupted)
    assert purged(site) == [image.StudyInstanceUID]
    asking.join(30)
    assert said == [{str(image.SOPInstanceUID): promises.NO_SUCH_INSTANCE}]


@pytest.mark.parametrize("who", ["nightly", "tidy"])
@pytest.mark.parametrize(("days", "stays"), [(None, True), (30, True), (2, False)])
def test_whoever_deletes_keeps_to_the_sites_days(
    sqlite_database: Database, tmp_path: Path, who: str, days: float | None, *, stays: bool
) -> None:
    rules = {"commitment": {"keep_days": days}, "retention": SOON.model_dump()}
    image = dx(study="kept")
    with house(sqlite_database, tmp_path / "a", routes=NOWHERE, **rules) as site:
        rest(site, image)
        promised(site, image)
        if who == "nightly":
            nightly.work(site.database, site.settings)
        else:
            apart = site.settings.site.model_copy(update={"sharing": Sharing(readers="0")})
            tidy = Tidy(site.database, site.settings.model_copy(update={"site": apart}))
            assert tidy.begin_if_due()
            tidy.join(60)
        assert (here(site) == {image.SOPInstanceUID}) == stays
