"""A study is closed by what is announced, counted or expected, long before it is silent."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from sqlalchemy import select

from db.engine import Database, now
from db.evidence import AnnouncementRow, ClosingRow, SourceCountRow, StationPaceRow
from db.states import StudyState
from db.tables import AuditRow, StudyRow
from tests.builders import dx
from tests.triage.receive.modality import beginning, create, ending, notify, perform, set_, speaking
from tests.workers.house import House, house
from tests.workers.test_road import NOWHERE
from triage import settings as configuration
from triage.dimse import STUDY_ROOT_FIND
from triage.evidence import counts
from triage.evidence.counts import Question
from triage.ingest import ingest_all
from triage.receive.listener import Listener
from triage.record import conflicts
from triage.record.withdrawals import Who
from triage.settings import Completeness, Site
from triage.settings import Listener as Limits
from triage.spool import Spool

NAMES = {"quiet_s": 3600, "quiet_s_by_modality": {}}


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """A listener on the spool of the site ``a``."""
    limits = Site(listener=Limits(port=0, min_free_bytes=1, peers="any"))
    settings = configuration.load(tmp_path / "a").model_copy(update={"site": limits})
    one = Listener(settings)
    one.start()
    yield one
    one.stop(within_s=5)


@contextmanager
def site_of(database: Database, tmp_path: Path, **rules: object) -> Iterator[House]:
    with house(database, tmp_path / "a", routes=NOWHERE, completeness=NAMES | rules) as site:
        yield site


def three() -> list[FileDataset]:
    """One study of one series of three images."""
    made = [dx(study="evidence", instance=number, seed=number) for number in (1, 2, 3)]
    for one in made:
        one.SeriesInstanceUID = made[0].SeriesInstanceUID
    return made


def named(datasets: Sequence[FileDataset]) -> dict[str, list[str]]:
    return {str(datasets[0].SeriesInstanceUID): [str(one.SOPInstanceUID) for one in datasets]}


def study_of(datasets: Sequence[FileDataset]) -> str:
    return str(datasets[0].StudyInstanceUID)


def settle(site: House) -> StudyRow:
    """Ingest what is said and do what is due now; gives the only study."""
    ingest_all(site.database, Spool(site.settings.spool), site.settings.site.completeness)
    site.worker.drain()
    [study] = site.rows(StudyRow)
    return study


def pass_time(site: House, seconds: float) -> None:
    """Let a study be silent for so long, and be due."""
    with site.database.begin() as session:
        study = session.scalars(select(StudyRow)).one()
        study.last_instance_at -= timedelta(seconds=seconds)
        study.due_at = now(session)


def resolve(site: House, choice: str) -> None:
    """Resolve the only open doubt."""
    with site.database.begin() as session:
        [doubt] = conflicts.list_open(session)
        who = Who("ada", "admin", "127.0.0.1")
        conflicts.resolve(session, doubt.id, choice, "the modality was asked", who)


def closing(site: House) -> ClosingRow:
    with site.database.reading() as session:
        return session.scalars(select(ClosingRow).order_by(ClosingRow.id.desc())).all()[0]


class TestAnnouncements:
    def test_a_completed_step_closes_a_study_at_once_and_is_kept_as_its_evidence(
        self, database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        with site_of(database, tmp_path) as site:
            site.receive(*images)
            assert settle(site).state == StudyState.RECEIVING
            perform(listener.port, study_of(images), named(images), modality="DX")
            study = settle(site)
            assert (study.state, study.reason_code) == (StudyState.REJECTED, "no-route")
            found = closing(site)
            assert (found.kind, found.expected, found.held) == ("mpps", 3, 3)
            sentence = "MPPS: 1 performed step, 3 of 3 instances are here"
            assert found.sentence == sentence
            [audit] = [row for row in site.rows(AuditRow) if row.event_type == "study.complete"]
            assert sentence in audit.detail

    def test_images_that_come_after_their_step_close_the_study_with_the_last_one(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        with site_of(sqlite_database, tmp_path) as site:
            perform(listener.port, study_of(images), named(images), modality="DX")
            for number, image in enumerate(images):
                site.receive(image)
                expected = StudyState.REJECTED if number == 2 else StudyState.RECEIVING
                assert settle(site).state == expected
            assert closing(site).kind == "mpps"

    def test_a_step_in_progress_keeps_a_silent_study_open_until_its_own_limit(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        with site_of(sqlite_database, tmp_path, in_progress_at_most_s=7200) as site:
            with speaking(listener.port) as peer:
                assert create(peer, "2.25.1", beginning(study_of(images), "DX")) == 0
            site.receive(*images)
            pass_time(site, 4000)
            assert settle(site).state == StudyState.RECEIVING
            pass_time(site, 4000)
            assert settle(site).state == StudyState.REJECTED
            assert closing(site).kind == "timeout"

    def test_a_study_of_which_some_is_missing_is_held_and_goes_on_when_it_comes(
        self, database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        with site_of(database, tmp_path, incomplete_after_s=600) as site:
            site.receive(*images[:2])
            perform(listener.port, study_of(images), named(images), modality="DX")
            pass_time(site, 500)
            assert settle(site).state == StudyState.RECEIVING
            pass_time(site, 200)
            study = settle(site)
            assert (study.state, study.reason_code) == (StudyState.HELD, "study-incomplete")
            assert study.sentence == "Held. 2 of 3 received."
            site.receive(images[2])
            study = settle(site)
            assert (study.state, study.reason_code) == (StudyState.REJECTED, "no-route")
            assert closing(site).kind == "mpps"

    def test_a_person_lets_an_incomplete_study_go_on_as_it_was_then(
        self, database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        with site_of(database, tmp_path, incomplete_after_s=600) as site:
            site.receive(images[0])
            perform(listener.port, study_of(images), named(images), modality="DX")
            pass_time(site, 700)
            assert settle(site).state == StudyState.HELD
            resolve(site, "release")
            study = settle(site)
            assert (study.state, study.reason_code) == (StudyState.REJECTED, "no-route")
            said = "1 of 3 received, taken as it is because a person let it go on"
            assert (closing(site).kind, closing(site).sentence) == ("timeout", said)
            site.receive(images[1])
            pass_time(site, 700)
            assert settle(site).sentence == "Held. 2 of 3 received."

    def test_a_site_may_take_an_incomplete_study_as_it_is_with_the_count_in_its_evidence(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        rules = {"incomplete": "analyse", "incomplete_after_s": 60}
        with site_of(sqlite_database, tmp_path, **rules) as site:
            site.receive(*images[:2])
            perform(listener.port, study_of(images), named(images), modality="DX")
            pass_time(site, 61)
            assert settle(site).state == StudyState.REJECTED
            assert closing(site).sentence == "2 of 3 received, taken as it is after 60 s"

    @pytest.mark.parametrize("step_first", [True, False], ids=["step first", "images first"])
    def test_a_wrong_worklist_entry_holds_the_study(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener, step_first: bool
    ) -> None:
        images = three()
        with site_of(sqlite_database, tmp_path) as site:
            if not step_first:
                site.receive(*images)
            step = {"status": "DISCONTINUED", "reason": "110514"}
            perform(listener.port, study_of(images), named(images), **step)
            if step_first:
                ingest_all(site.database, Spool(site.settings.spool), Completeness())
                site.receive(*images)
            study = settle(site)
        assert (study.state, study.reason_code) == (StudyState.HELD, "wrong-worklist-entry")

    def test_a_step_discontinued_for_another_reason_says_what_was_made(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        with site_of(sqlite_database, tmp_path) as site:
            site.receive(*images)
            step = {"status": "DISCONTINUED", "reason": "110500"}
            perform(listener.port, study_of(images), named(images), **step)
            assert settle(site).state == StudyState.REJECTED

    def test_a_series_that_no_step_knows_is_waited_for(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        stray = dx(study="evidence", instance=9, seed=9)
        stray.SeriesInstanceUID = "2.25.999"
        with site_of(sqlite_database, tmp_path) as site:
            site.receive(*images, stray)
            perform(listener.port, study_of(images), named(images), modality="DX")
            site.worker.drain()
            ingest_all(site.database, Spool(site.settings.spool), Completeness(quiet_s=3600))
            pass_time(site, 3600)
            assert settle(site).state == StudyState.REJECTED
            assert closing(site).kind == "quiet"

    def test_an_availability_notification_closes_a_study(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        with site_of(sqlite_database, tmp_path) as site:
            site.receive(*images)
            notify(listener.port, study_of(images), named(images))
            assert settle(site).state == StudyState.REJECTED
            assert closing(site).kind == "ian"

    def test_the_same_message_twice_is_one_and_an_older_one_is_none(
        self, sqlite_database: Database, tmp_path: Path, listener: Listener
    ) -> None:
        images = three()
        spool = Spool(listener.spool.root)
        with site_of(sqlite_database, tmp_path) as site:
            with speaking(listener.port) as peer:
                create(peer, "2.25.1", beginning(study_of(images), "DX"))
                set_(peer, "2.25.1", ending(named(images)))
            begin, end = (path.read_bytes() for path in spool.reports(9))
            ingest_all(site.database, spool, site.settings.site.completeness)
            for again in (end, begin):
                spool.write_report(again)
                ingest_all(site.database, spool, site.settings.site.completeness)
            with site.database.reading() as session:
                [row] = session.scalars(select(AnnouncementRow)).all()
        assert (row.state, row.listed, row.missing) == ("COMPLETED", 3, 3)


@contextmanager
def source(answers: list[int]) -> Iterator[tuple[int, list[Dataset]]]:
    """Run a PACS that answers with these counts, the last one for the rest."""
    asked: list[Dataset] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        match = Dataset()
        match.QueryRetrieveLevel = "STUDY"
        match.NumberOfStudyRelatedInstances = answers.pop(0) if len(answers) > 1 else answers[0]
        yield 0xFF00, match
        yield 0x0000, None

    ae = AE(ae_title="SOURCE")
    ae.add_supported_context(STUDY_ROOT_FIND, ImplicitVRLittleEndian)
    handlers: list[Any] = [(evt.EVT_C_FIND, find)]
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1], asked
    finally:
        server.shutdown()


def counted(port: int, **more: object) -> dict[str, object]:
    one = {"name": "pacs", "ae_title": "SOURCE", "host": "127.0.0.1", "port": port, **more}
    return {"sources": [one], "count_after_s": 0.001, "count_confirm_s": 0.001}


def ask_again(site: House) -> StudyRow:
    """Let the wait for the next question pass, and ask it."""
    with site.database.begin() as session:
        for row in session.scalars(select(SourceCountRow)):
            if row.due_at is not None:
                row.due_at = now(session)
    return settle(site)


class TestCounts:
    def test_two_equal_counts_close_a_study_and_one_does_not(
        self, database: Database, tmp_path: Path
    ) -> None:
        with (
            source([2, 3, 3]) as (port, asked),
            site_of(database, tmp_path, **counted(port)) as site,
        ):
            site.receive(*three())
            assert ask_again(site).state == StudyState.RECEIVING
            while len(asked) < 3:
                study = ask_again(site)
            assert (study.state, len(asked)) == (StudyState.REJECTED, 3)
            found = closing(site)
            assert (found.kind, found.expected) == ("count", 3)

    def test_a_source_that_has_more_makes_the_study_wait_and_then_be_held(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        with source([40]) as (port, _), site_of(sqlite_database, tmp_path, **counted(port)) as site:
            site.receive(*three())
            ask_again(site)
            pass_time(site, 500)
            assert settle(site).state == StudyState.RECEIVING
            pass_time(site, 105)
            study = settle(site)
        assert (study.state, study.sentence) == (StudyState.HELD, "Held. 3 of 40 received.")

    def test_a_source_is_asked_no_more_than_its_budget(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        with (
            source([40]) as (port, asked),
            site_of(sqlite_database, tmp_path, **counted(port, max_per_minute=2)) as site,
        ):
            site.receive(dx(), dx(), dx(), dx())
            with site.database.begin() as session:
                for row in session.scalars(select(SourceCountRow)):
                    row.due_at = now(session)
            site.worker.drain()
            assert len(asked) == 2

    def test_a_source_that_is_away_is_asked_later_and_silence_decides(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        with source([1]) as (port, _):
            pass
        with site_of(sqlite_database, tmp_path, **counted(port)) as site:
            site.receive(*three())
            ask_again(site)
            with site.database.reading() as session:
                row = session.scalars(select(SourceCountRow)).one()
                assert (row.tries, row.answer) == (1, None)
                assert row.last_error is not None
                assert row.due_at is not None
            pass_time(site, 3600)
            assert settle(site).state == StudyState.REJECTED
            assert closing(site).kind == "quiet"

    def test_an_instance_that_came_after_the_question_makes_its_answer_old(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        images = three()
        with source([2]) as (port, _), site_of(sqlite_database, tmp_path, **counted(port)) as site:
            site.receive(*images[:2])
            rules = site.settings.site.completeness
            with site.database.begin() as session:
                session.scalars(select(SourceCountRow)).one().due_at = now(session)
                question = counts.claim(session, rules.sources[0])
            assert isinstance(question, Question)
            site.receive(images[2])
            with site.database.begin() as session:
                assert not counts.answered(session, question, 2, "", rules)
                assert session.scalars(select(SourceCountRow)).one().agreed == 0


class TestExpected:
    RULE: Final = {"modality": ["DX"], "min_images": 3, "quiet_s": 5.0}

    def test_a_study_with_less_than_a_rule_expects_is_held(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        with site_of(sqlite_database, tmp_path, expected=[self.RULE]) as site:
            site.receive(*three()[:2])
            pass_time(site, 601)
            study = settle(site)
        assert (study.state, study.sentence) == (
            StudyState.HELD, "Held. 2 of at least 3 received.",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ({"min_series": 2}, "1 of at least 2 series received"),
            ({"descriptions": ["LATERAL"]}, "No series LATERAL received"),
        ],
    )
    def test_series_and_descriptions_are_expected_too(
        self, sqlite_database: Database, tmp_path: Path, more: dict[str, object], why: str
    ) -> None:
        with site_of(sqlite_database, tmp_path, expected=[self.RULE | more]) as site:
            site.receive(*three())
            pass_time(site, 601)
            assert settle(site).sentence == f"Held. {why}."

    def test_a_study_with_all_that_is_expected_is_closed_by_the_rule(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        with site_of(sqlite_database, tmp_path, expected=[self.RULE]) as site:
            site.receive(*three())
            pass_time(site, 6)
            assert settle(site).state == StudyState.REJECTED
            assert closing(site).sentence == "expected series are here, quiet period 5 s"

    def test_a_rule_for_another_modality_says_nothing(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        with site_of(sqlite_database, tmp_path, expected=[self.RULE | {"modality": ["CT"]}]) as one:
            one.receive(*three()[:1])
            pass_time(one, 3600)
            assert settle(one).state == StudyState.REJECTED
            assert closing(one).kind == "quiet"


class TestPace:
    def test_the_quiet_period_is_learnt_from_a_stations_last_studies(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        learning = {"min_studies": 3, "shortest_s": 5, "factor": 2}
        with site_of(sqlite_database, tmp_path, learning=learning) as site:
            for number in range(3):
                site.receive(dx(study=f"pace {number}"))
                site.make_due()
                site.worker.drain()
            with site.database.reading() as session:
                [pace] = session.scalars(select(StationPaceRow)).all()
            assert (pace.studies, pace.quiet_ms) == (3, 5000)
            site.receive(dx(study="pace 4"))
            with site.database.reading() as session:
                study = session.scalars(select(StudyRow).order_by(StudyRow.id.desc())).all()[0]
            assert timedelta(seconds=4) < study.due_at - study.last_instance_at
            assert study.due_at - study.last_instance_at < timedelta(seconds=6)
            site.make_due()
            site.worker.drain()
            assert closing(site).sentence == (
                "quiet period 5 s, learnt from 3 studies of its station"
            )


class TestUrgency:
    def test_an_urgent_study_goes_first_and_an_old_routine_one_before_a_fresh_urgent_one(
        self, sqlite_database: Database, tmp_path: Path
    ) -> None:
        with site_of(sqlite_database, tmp_path) as site:
            for number in range(12):
                site.receive(dx(study=f"routine {number}"))
            urgent = dx(study="urgent")
            urgent.StudyDescription = "CHEST STAT"
            site.receive(urgent)
            site.make_due()
            assert site.worker.due(limit=1)[0][0] == 13
            with site.database.begin() as session:
                session.get_one(StudyRow, 5).due_at -= timedelta(hours=2)
            assert [study for study, _ in site.worker.due(limit=2)] == [5, 13]
