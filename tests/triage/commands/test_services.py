"""Which libraries a process holds: what it does not hold cannot be turned against it."""

import sys
from pathlib import Path

import pytest

from tests.servers import accepts, free_port, running, wait_until
from tests.triage.commands.cli import triage, write_site


def imported(words: list[str], port: int, log: Path) -> set[str]:
    """Run a service until it listens, then give the top names of all it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "triage", *words]
    with running(command, log=log) as process:
        wait_until(lambda: accepts(port), process, words[0])
    lines = [line for line in log.read_text().splitlines() if "import time:" in line]
    names = [line.rpartition("|")[2].strip() for line in lines]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("words", "section", "without"),
    [
        ("listen", "listener", {"torch", "monai", "sqlalchemy", "db", "celery", "redis", "models"}),
        ("web", "web", {"torch", "monai", "celery", "redis", "workers", "models"}),
    ],
)
def test_a_door_to_the_network_holds_no_more_than_it_needs(
    tmp_path: Path, words: str, section: str, without: set[str]
) -> None:
    triage("db", "upgrade", "--state", tmp_path)
    port = free_port()
    write_site(tmp_path, **{section: {"port": port}})
    names = imported([words, "--state", str(tmp_path)], port, tmp_path / "log")
    assert "pydantic" in names  # the list of imports was really read
    assert names & without == set()
