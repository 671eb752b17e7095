"""The page of an error, which no template makes: its theme, its size, the mode it is read in."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from tests.triage.worklist.client import Client
from triage.worklist.context import DISCLAIMER, RESEARCH


def broken(app: FastAPI, client: Client) -> str:
    """Give the page of an error of ours."""

    def breaks(_request: Request) -> Response:
        raise RuntimeError

    app.add_route("/breaks", breaks)
    answer = client.get("/breaks")
    assert answer.status_code == 500
    return answer.text


def test_it_is_as_light_as_its_reader_chose(app: FastAPI, client: Client) -> None:
    client.cookies.set("triage-theme", "light", domain="triage.test")
    page = broken(app, client)
    assert '<html lang="en" data-theme="light">' in page
    assert "/static/theme.css" in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert DISCLAIMER in page
    assert RESEARCH not in page


def test_it_is_dark_where_nobody_chose_and_wears_no_theme_of_somebody_else(
    app: FastAPI, client: Client
) -> None:
    client.cookies.set("triage-theme", '"><script>', domain="triage.test")
    page = broken(app, client)
    assert 'data-theme="dark"' in page
    assert "<script" not in page


def test_in_research_mode_it_says_so(app: FastAPI, client: Client) -> None:
    here = app.state.context
    site = here.settings.site
    site = site.model_copy(
        update={"intended_use": site.intended_use.model_copy(update={"mode": "research"})}
    )
    settings = here.settings.model_copy(update={"site": site})
    app.state.context = type(here)(settings, here.database, here.templates)
    assert RESEARCH in broken(app, client)
