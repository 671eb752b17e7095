import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from db import lifecycle
from db.engine import Database, now
from db.states import StudyState
from db.tables import (
    AuditRow,
    GenerationRow,
    InstanceRow,
    OutboxRow,
    QuarantineRow,
    StudyRow,
    TransitionRow,
)
from tests.builders import dx, part10, renamed, spooled
from triage import ingest as module
from triage.ingest import ingest_all
from triage.settings import Completeness
from triage.spool import Spool, stored_path

QUIET = Completeness(quiet_s=5, quiet_s_by_modality={"DX": 60})


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def the_study(database: Database) -> StudyRow:
    with database.reading() as session:
        return session.scalars(select(StudyRow)).one()


def rows(database: Database, table: type[InstanceRow]) -> list[InstanceRow]:
    with database.reading() as session:
        return list(session.scalars(select(table).order_by(table.id)))


def test_it_makes_rows_an_audit_row_and_a_kept_file(database: Database, spool: Spool) -> None:
    dataset = dx()
    spooled(spool, dataset, source="CT1")
    assert ingest_all(database, spool, QUIET) == 1
    study = the_study(database)
    [instance] = rows(database, InstanceRow)
    assert study.state == StudyState.RECEIVING
    assert study.study_instance_uid == dataset.StudyInstanceUID
    assert (study.patient_id, study.modality, study.instance_count) == ("P1", "DX", 1)
    assert instance.source_ae_title == "CT1"
    assert stored_path(spool.root, instance.sha256).read_bytes() == part10(dataset, source="CT1")
    assert spool.incoming(10) == []
    with database.reading() as session:
        [audit] = session.scalars(select(AuditRow)).all()
    assert (audit.event_id, audit.object_id) == ("110104", dataset.StudyInstanceUID)


def test_the_site_is_the_institution_that_the_first_instance_names(
    database: Database, spool: Spool
) -> None:
    first, second = dx(study="named"), dx(study="named")
    first.InstitutionName = "H\u00f4pital \u202eSaint-Roch"
    first.SpecificCharacterSet = "ISO_IR 192"
    second.InstitutionName = "Elsewhere"
    for one in (first, second):
        spooled(spool, one)
        ingest_all(database, spool, QUIET)
    assert the_study(database).institution_name == "H\u00f4pital Saint-Roch"


def test_the_study_is_due_when_its_modality_has_been_quiet(
    database: Database, spool: Spool
) -> None:
    spooled(spool, dx())
    ingest_all(database, spool, QUIET)
    study = the_study(database)
    assert study.due_at - study.last_instance_at >= timedelta(seconds=59)


def test_the_same_instance_again_is_counted_and_changes_nothing(
    database: Database, spool: Spool
) -> None:
    for source in ("CT1", "CT1", "PACS"):
        spooled(spool, dx(study="again"), source=source)
    ingest_all(database, spool, QUIET)
    [instance] = rows(database, InstanceRow)
    assert instance.copies == 3
    assert the_study(database).instance_count == 1


def test_one_sop_instance_uid_with_two_contents_holds_the_study_and_keeps_both(
    database: Database, spool: Spool
) -> None:
    spooled(spool, dx(study="conflict", seed=1), dx(study="conflict", seed=2))
    ingest_all(database, spool, QUIET)
    study, instances = the_study(database), rows(database, InstanceRow)
    assert (study.state, study.outcome) == (StudyState.HELD, "held")
    assert study.reason_code == "content-conflict"
    assert len({one.sha256 for one in instances}) == 2
    assert all(stored_path(spool.root, one.sha256).exists() for one in instances)


def test_one_study_with_two_patients_is_held(database: Database, spool: Spool) -> None:
    spooled(spool, dx(study="two"), dx(study="two", patient="P2", instance=2))
    ingest_all(database, spool, QUIET)
    assert the_study(database).reason_code == "identity-conflict"


def test_a_missing_patient_id_is_held(database: Database, spool: Spool) -> None:
    spooled(spool, dx(patient=""))
    ingest_all(database, spool, QUIET)
    assert the_study(database).reason_code == "no-patient"


@pytest.mark.parametrize(
    "content",
    [b"", b"no DICOM at all" * 99, part10(dx())[:300], b"\0" * 128 + b"DICM" + b"\xff" * 64],
    ids=["empty", "text", "cut", "noise"],
)
def test_what_cannot_be_indexed_is_quarantined_and_shown(
    database: Database, spool: Spool, content: bytes
) -> None:
    spool.write(content)
    ingest_all(database, spool, QUIET)
    with database.reading() as session:
        [row] = session.scalars(select(QuarantineRow)).all()
        alerts = session.scalars(select(AuditRow).where(AuditRow.event_id == "110113")).all()
    assert row.reason_code == "unparsable"
    assert len(alerts) == 1
    assert (spool.root / "quarantine" / f"{row.sha256}.dcm").read_bytes() == content
    assert spool.incoming(10) == []


def put(database: Database, state: StudyState) -> None:
    """Bring the only study to a state along real arrows."""
    road = {
        StudyState.READY: [StudyState.READY],
        StudyState.ANALYSED: [StudyState.READY, StudyState.ANALYSED],
        StudyState.DELIVERED: [StudyState.READY, StudyState.ANALYSED, StudyState.DELIVERED],
        StudyState.REJECTED: [StudyState.REJECTED],
        StudyState.FAILED: [StudyState.FAILED],
    }
    for step in road[state]:
        with database.begin() as session:
            study = session.scalars(select(StudyRow)).one()
            lifecycle.move(session, study, step, reason="test", actor="test", due_at=now(session))


@pytest.mark.parametrize(
    "state", [StudyState.READY, StudyState.DELIVERED, StudyState.REJECTED, StudyState.FAILED]
)
def test_a_late_instance_reopens_the_study_and_stops_whoever_works_on_it(
    database: Database, spool: Spool, state: StudyState
) -> None:
    spooled(spool, dx(study="late"))
    ingest_all(database, spool, QUIET)
    put(database, state)
    fence = the_study(database).fence
    spooled(spool, dx(study="late", instance=2))
    ingest_all(database, spool, QUIET)
    study = the_study(database)
    assert study.state == StudyState.RECEIVING
    assert study.fence > fence
    with database.reading() as session:
        last = session.scalars(select(TransitionRow).order_by(TransitionRow.id.desc())).first()
    assert last is not None
    assert (last.old, last.new, last.reason) == (state, "receiving", "late instances")


def test_a_late_instance_lets_a_report_under_delivery_leave_first(
    database: Database, spool: Spool
) -> None:
    spooled(spool, dx(study="late"))
    ingest_all(database, spool, QUIET)
    put(database, StudyState.ANALYSED)
    spooled(spool, dx(study="late", instance=2))
    ingest_all(database, spool, QUIET)
    assert the_study(database).state == StudyState.ANALYSED
    assert the_study(database).instance_count == 2


def test_our_own_report_coming_back_reopens_nothing(database: Database, spool: Spool) -> None:
    spooled(spool, dx(study="loop"))
    ingest_all(database, spool, QUIET)
    put(database, StudyState.DELIVERED)
    report = renamed(dx(study="loop", seed=7))
    with database.begin() as session:
        study = session.scalars(select(StudyRow)).one()
        session.add(
            OutboxRow(
                study_id=study.id,
                generation=1,
                destination="pacs",
                kind="structured_report",
                sop_class_uid=report.SOPClassUID,
                sop_instance_uid=report.SOPInstanceUID,
                content=b"",
                sha256="0" * 64,
                built_at=now(session),
            )
        )
    spooled(spool, report)
    ingest_all(database, spool, QUIET)
    assert the_study(database).state == StudyState.DELIVERED
    assert len(rows(database, InstanceRow)) == 2


def test_the_listeners_journal_becomes_audit_rows_once(database: Database, spool: Spool) -> None:
    spool.journal.note("association.rejected", code="1/1/3", ae_title="EVIL", address="127.0.0.9")
    spool.journal.flush()
    [batch] = spool.journal.batches()
    copy = batch.path.read_bytes()
    ingest_all(database, spool, QUIET)
    batch.path.write_bytes(copy)  # as if we had been killed between the commit and the removal
    ingest_all(database, spool, QUIET)
    with database.reading() as session:
        [alert] = session.scalars(select(AuditRow)).all()
    assert (alert.event_id, alert.ae_title, alert.network_address) == (
        "110113",
        "EVIL",
        "127.0.0.9",
    )


def crash_at(line: int, url: str, spool: Spool) -> bool:
    """Ingest in a child that dies at its n-th line of ingest.py; False when it ran through."""
    child = os.fork()
    if child == 0:
        seen = 0

        def trace(frame: object, event: str, _argument: object) -> object:
            nonlocal seen
            code = frame.f_code.co_filename  # type: ignore[attr-defined]
            if code != module.__file__:
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    os._exit(9)
            return trace

        from db.engine import connect

        database = connect(url)
        sys.settrace(trace)  # type: ignore[arg-type]
        ingest_all(database, spool, QUIET)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


def test_a_crash_between_any_two_lines_loses_nothing(database: Database, spool: Spool) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    database.dispose()
    stride = 1 if url.startswith("sqlite") else 7  # every line on one, a sample on the other
    line, expected = 0, 0
    while True:
        line += stride
        expected += 1
        spooled(spool, dx(study=f"crash-{line}"))
        crashed = crash_at(line, url, spool)
        ingest_all(database, spool, QUIET)
        assert spool.incoming(10) == []
        instances = rows(database, InstanceRow)
        assert len(instances) == expected
        assert len({one.sop_instance_uid for one in instances}) == expected
        assert all(stored_path(spool.root, one.sha256).exists() for one in instances)
        database.dispose()
        if not crashed:
            break
    assert line > 60  # the sweep really walked through the file
    with database.reading() as session:
        received = select(AuditRow).where(AuditRow.event_type == "instance.received")
        assert len(session.scalars(received).all()) == expected
        assert session.scalars(select(GenerationRow)).all() == []
