"""``triage priors``: what was found, and looking again, over a migrated database."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from db.engine import connect
from tests.servers import free_port
from tests.triage.commands.cli import triage
from tests.triage.priors.world import World, radiograph
from triage import settings as noun
from triage.priors import keep
from triage.priors.choose import Older
from triage.spool import Spool


@pytest.fixture
def state(tmp_path: Path, migrated_file: Path) -> Path:
    """A study at hand, a source that is away, and a prior of our own."""
    state = tmp_path / "state"
    (state / "configs").mkdir(parents=True)
    away = {"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": free_port()}
    (state / "configs" / "site.yaml").write_text(yaml.safe_dump({"priors": {"sources": [away]}}))
    shutil.copy(migrated_file, state / "triage.sqlite")
    settings = noun.load(state)
    world = World(settings, connect(settings.database_url), Spool(settings.spool))
    world.present(radiograph("now", "20240101"))
    world.database.dispose()
    return state


def test_a_fetch_from_a_source_that_is_away_says_so_and_is_due_again(state: Path) -> None:
    answer = triage("priors", "fetch", "1", "--state", state, "--json")
    assert answer.code == 1
    [line] = json.loads(answer.out)
    assert (line["study"], line["state"], line["prior"]) == (1, "due", "")
    assert "AWAY" in line["reason"]
    assert "Canary" not in answer.out


def test_priors_are_listed_for_a_study_and_for_all(state: Path) -> None:
    settings = noun.load(state)
    database = connect(settings.database_url)
    with database.begin() as session:
        present = keep.load(session, 1)
        older = Older("1.2.3", "20230101", "", present.patient)
        source = settings.site.priors.sources[0]
        prior = keep.begin(session, present, older, source, ())
        keep.finish(session, prior, 0, reason="away")
    database.dispose()
    for arguments in (("1",), (), (present.study_instance_uid,)):
        answer = triage("priors", "ls", *arguments, "--state", state, "--json")
        assert answer.code == 0
        [line] = json.loads(answer.out)
        assert (line["prior"], line["state"], line["reason"]) == ("1.2.3", "partial", "away")
    assert "1.2.3" in triage("priors", "ls", "--state", state).out
