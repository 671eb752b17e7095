"""The page on running it shut in names files, keys and numbers that are."""

import re

import yaml

from tests.house.source import ROOT
from triage import keys
from triage.commands.export import EXPORT_KEY

PAGE = (ROOT / "docs" / "hardening.md").read_text(encoding="utf-8")


def test_every_key_has_its_row() -> None:
    named = {value for name, value in vars(keys).items() if name.endswith("_KEY")}
    assert {*named, EXPORT_KEY} <= set(re.findall(r"^\| `(\w+\.key)`", PAGE, re.MULTILINE))


def test_what_needs_no_other_machine_has_no_way_out() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    outside = {name for name, one in services.items() if "outside" in one.get("networks", [])}
    shut_in = {"migrate", "ingest", "dispatch", "worker-cpu", "worker-gpu", "postgres", "redis"}
    assert outside & shut_in == set()
    assert {"listen", "web", "worker-out"} <= outside


def test_every_place_that_it_names_is_there() -> None:
    for name in re.findall(r"`((?:deploy|docker|docs)/[\w./-]*)`", PAGE):
        assert (ROOT / name).exists(), name
