import shutil
from pathlib import Path

import pytest

from triage import settings as configuration
from triage.errors import ConfigError, NotEligible
from workers.bench import Bench

NAME = "chest-radiograph-memae"


def test_a_damaged_artifact_keeps_a_worker_from_starting(tmp_path: Path) -> None:
    settings = configuration.load(tmp_path)
    [_, zoo] = settings.artifacts
    ours = tmp_path / "artifacts" / NAME
    shutil.copytree(zoo / NAME, ours)
    (ours / "card.json").write_text((ours / "card.json").read_text() + " ")
    with pytest.raises(ConfigError, match=f"detector {NAME}: .*card.json"):
        Bench(settings).warm(["gpu"])


def test_a_missing_artifact_is_a_reason_and_no_crash(tmp_path: Path) -> None:
    with pytest.raises(NotEligible, match="no-detector"):
        Bench(configuration.load(tmp_path)).artifact("nobody-trained-this")


def test_an_artifact_stays_loaded(tmp_path: Path) -> None:
    bench = Bench(configuration.load(tmp_path))
    assert bench.artifact(NAME) is bench.artifact(NAME)
