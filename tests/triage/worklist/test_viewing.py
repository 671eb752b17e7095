"""QIDO-RS and WADO-RS below the worklist: for who is signed in, and nothing is stored there."""

from sqlalchemy import select

from db.engine import Database
from db.tables import AuditRow
from tests.triage.files import bundled
from tests.triage.worklist.client import NAME, Client
from triage.ingest import ingest_all
from triage.settings import Settings
from triage.spool import Spool
from triage.worklist.app import create_app


def test_a_session_opens_queries_and_retrievals_and_no_storing(
    client: Client, rows: Database, settings: Settings
) -> None:
    spool = Spool(settings.spool)
    spool.write(bundled("CT_small.dcm").read_bytes())
    ingest_all(rows, spool, settings.site.completeness)
    answer = client.get("/dicomweb/studies")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    [study] = answer.json()
    uid = study["0020000D"]["Value"][0]
    got = client.get(f"/dicomweb/studies/{uid}/metadata")
    assert got.json()[0]["0020000D"]["Value"] == [uid]
    assert client.post("/dicomweb/studies", {}).status_code == 405
    with rows.reading() as session:
        seen = select(AuditRow.actor).where(AuditRow.event_type == "dicomweb.retrieve")
        assert session.scalars(seen).all() == [NAME]


def test_nobody_gets_anything(anonymous: Client) -> None:
    assert anonymous.get("/dicomweb/studies").status_code == 401
    assert anonymous.get("/dicomweb/studies/1.2/metadata").status_code == 401


def test_where_the_site_does_not_want_it_there_is_nothing(settings: Settings) -> None:
    web = settings.site.dicomweb.model_copy(update={"on_worklist": False})
    site = settings.site.model_copy(update={"dicomweb": web})
    app = create_app(settings.model_copy(update={"site": site}))
    try:
        with Client(app) as client:
            assert client.get("/dicomweb/studies").status_code == 404
    finally:
        app.state.previews.close()
        app.state.context.database.dispose()
