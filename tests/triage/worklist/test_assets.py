"""What a browser may keep: files under the build's name, and nothing else."""

import re

import pytest

from tests.triage.worklist.client import Client
from triage.worklist.assets import BUILD, FOREVER, PLACE

SHEET = "triage.css"


def kept(client: Client, place: str) -> tuple[int, str]:
    answer = client.get(place)
    return answer.status_code, answer.headers["Cache-Control"]


def test_a_file_under_the_build_is_kept_for_ever_and_is_the_same_file(anonymous: Client) -> None:
    assert kept(anonymous, f"{PLACE}/{SHEET}") == (200, FOREVER)
    assert "immutable" in FOREVER
    plain = anonymous.get(f"/static/{SHEET}")
    assert anonymous.get(f"{PLACE}/{SHEET}").content == plain.content != b""


@pytest.mark.parametrize(
    ("place", "status"),
    [
        (f"/static/{SHEET}", 200),
        (f"/static/{'0' * len(BUILD)}/{SHEET}", 404),
        (f"{PLACE}/nothing.css", 404),
        (f"{PLACE}/%2e%2e/%2e%2e/app.py", 404),
    ],
)
def test_anything_else_is_not_kept(anonymous: Client, place: str, status: int) -> None:
    assert kept(anonymous, place) == (status, "no-store")


def test_pages_ask_for_their_files_under_the_build(client: Client) -> None:
    for page in (client.get("/studies").text, client.get("/login").text):
        asked = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert asked
        assert all(one.startswith(f"{PLACE}/") for one in asked)
