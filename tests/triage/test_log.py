"""One line an event, and never a value: not of ours, not of a library's, whoever came first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import builders
from tests.house.source import ROOT

CODE = """
{before}
import logging, threading, warnings
from triage import log
{hushed}
{after}
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

def let_libraries_speak():
    dataset = Dataset()
    config.settings.reading_validation_mode = config.WARN
    config.settings.writing_validation_mode = config.WARN
    dataset.add(DataElement(0x00081155, "UI", "CANARY^DOE^JOHN"))
    dataset.PatientBirthDate = "Canary"
    for name in ("pydicom", "pynetdicom.acse", "PIL.Image", "highdicom", "monai", "urllib3.pool"):
        library = logging.getLogger(name)
        library.setLevel(logging.DEBUG)
        for say in (library.debug, library.info, library.warning):
            say("a value: %s", "Canary^Name")
    warnings.warn("another value: Canary^Name")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("another value: Canary^Name", UserWarning)

assert config.logger.level == logging.WARNING
let_libraries_speak()
one = threading.Thread(target=let_libraries_speak)
one.start()
one.join()
{more}
"""
OURS = """
log.get().debug("hidden.debug")
log.get().info("study.delivered", study=7, ms=12)
try:
    patient = "Canary^Name"
    raise KeyError("internal")
except KeyError:
    log.get().error("step.failed", study=7, error="KeyError in deliver")
"""
ERRORS = """
try:
    raise ValueError("Canary")
except ValueError as why:
    logging.getLogger("pydicom").exception("a value: Canary")
    logging.getLogger("pydicom").error("%d files", "Canary", exc_info=why, stack_info=True)
    logging.getLogger("PIL.Image").critical(why)
"""
IMPORTS = "import pydicom, pynetdicom, PIL.Image, highdicom, urllib3"
ORDERS = pytest.mark.parametrize(
    ("before", "after"), [(IMPORTS, ""), ("", IMPORTS)], ids=["before", "after"]
)


def lines(
    *, as_json: bool = True, level: str = "INFO", before: str = "", after: str = "",
    more: str = OURS, hushed: str = "",
) -> list[str]:  # fmt: skip
    configured = f'log.configure("listen", as_json={as_json}, level={level!r})'
    code = CODE.format(before=before, after=after, more=more, hushed=hushed or configured)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_each_event_is_one_json_line_on_standard_error_with_time_and_service() -> None:
    events = [json.loads(line) for line in lines()]
    assert [one["event"] for one in events] == ["study.delivered", "step.failed"]
    assert events[0] | {"timestamp": ""} == {
        "event": "study.delivered", "study": 7, "ms": 12, "level": "info", "service": "listen",
        "timestamp": "",
    }  # fmt: skip
    assert events[0]["timestamp"].endswith("Z")


@ORDERS
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_neither_a_library_nor_a_traceback_brings_a_value_into_the_log(
    before: str, after: str, as_json: bool, level: str
) -> None:
    found = lines(as_json=as_json, before=before, after=after, level=level)
    text = "\n".join(found)
    assert "canary" not in text.lower()
    assert "Traceback" not in text
    assert "step.failed" in text
    assert len(found) == (3 if level == "DEBUG" else 2)


@ORDERS
def test_of_a_librarys_error_its_place_is_a_line_like_any_other(before: str, after: str) -> None:
    events = [json.loads(line) for line in lines(before=before, after=after, more=ERRORS)]
    assert [(one["event"], one["logger"], one["level"]) for one in events] == [
        ("library.error", "pydicom", "error"),
        ("library.error", "pydicom", "error"),
        ("library.error", "PIL.Image", "critical"),
    ]
    assert all(one["at"].startswith("<string>:") for one in events)
    assert "canary" not in json.dumps(events).lower()


@ORDERS
def test_a_command_without_a_log_of_its_own_says_as_little(before: str, after: str) -> None:
    found = lines(before=before, after=after, more=ERRORS, hushed="log.hush()")
    assert [line.split()[:2] for line in found] == [
        ["ERROR", "pydicom"], ["ERROR", "pydicom"], ["CRITICAL", "PIL.Image"],
    ]  # fmt: skip
    assert "canary" not in "\n".join(found).lower()


SPEAKS_LAST = """
import atexit, logging, warnings
def speak():
    warnings.warn("a value: Canary^Name")
    logging.getLogger("monai").warning("a value: Canary^Name")
    logging.getLogger("urllib3").error("a value: Canary^Name")
    print("spoken")
atexit.register(speak)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("triage", "send", "one.dcm", "--to", "NOBODY@127.0.0.1:1"),
        ("triage", "study", "show", "1"),
        ("triage", "config", "validate"),
        ("workers", "run", "one.dcm"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_program_keeps_libraries_quiet(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Also a command that has no log: a library speaks in its process, when it is done."""
    (tmp_path / "sitecustomize.py").write_text(SPEAKS_LAST)
    (tmp_path / "one.dcm").write_bytes(builders.part10(builders.dx(study="x")))
    here = {
        "TRIAGE_STATE": str(tmp_path / "state"), "PYTHONWARNINGS": "always",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", *words], cwd=tmp_path, env={**os.environ, **here},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "spoken" in ended.stdout
    assert "urllib3 " in ended.stderr
    assert "canary" not in (ended.stdout + ended.stderr).lower()


def test_the_level_is_what_was_asked_for() -> None:
    assert len(lines(level="DEBUG")) == 3
    assert len(lines(level="ERROR")) == 1
