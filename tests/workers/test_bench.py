import shutil
from pathlib import Path

import pytest
import torch

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


def test_a_gpu_that_is_asked_for_and_not_there_keeps_a_worker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    monkeypatch.setenv("TRIAGE__WORK__DEVICE", "cuda")
    with pytest.raises(ConfigError, match=r"work\.device"):
        Bench(configuration.load(tmp_path)).warm(["gpu"])


def test_on_a_cpu_a_worker_takes_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIAGE__WORK__DEVICE", "cpu")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        Bench(configuration.load(tmp_path)).artifact(NAME)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
def test_a_detector_moves_to_the_gpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    detector = Bench(configuration.load(tmp_path)).artifact(NAME).detector
    assert next(detector.parameters()).is_cuda
