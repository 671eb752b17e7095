"""A full disk is told where people look: on the list, for as long as it is full."""

import pytest

from tests.triage.worklist.client import Client
from triage.settings import Settings

TOLD = "no new study is taken for now"


@pytest.fixture(params=[1, 2**60])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """With a watermark that every disk keeps, or none."""
    settings.spool.mkdir()
    limits = settings.site.listener.model_copy(update={"min_free_bytes": request.param})
    site = settings.site.model_copy(update={"listener": limits})
    return settings.model_copy(update={"site": site})


def test_a_full_disk_is_told_on_the_list(client: Client, settings: Settings) -> None:
    is_full = settings.site.listener.min_free_bytes > 1
    for place in ("/studies", "/studies/rows"):
        assert (TOLD in client.get(place).text) is is_full
    settings.spool.rmdir()
    assert TOLD not in client.get("/studies").text, "who has no spool cannot know"
