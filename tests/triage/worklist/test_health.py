from fastapi import FastAPI

from db.base import Base
from db.engine import Database
from tests.triage.worklist.client import Client


def test_alive_and_ready_are_said_without_data(empty_app: FastAPI) -> None:
    with Client(empty_app) as client:
        assert client.get("/healthz").text == "alive"
        assert client.get("/readyz").text == "ready"


def test_not_ready_without_tables_but_still_alive(empty_app: FastAPI, rows: Database) -> None:
    Base.metadata.drop_all(rows.engine)
    with Client(empty_app) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
