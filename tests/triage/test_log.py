import json
import subprocess
import sys

CODE = """
import logging, warnings
from triage import log
log.configure("listen", as_json={as_json}, level={level!r})
log.get().debug("hidden.debug")
log.get().info("study.delivered", study=7, ms=12)
logging.getLogger("pydicom").warning("a value: Canary^Name")
warnings.warn("another value: Canary^Name")
try:
    patient = "Canary^Name"
    raise KeyError("internal")
except KeyError:
    log.get().error("step.failed", study=7, error="KeyError in deliver")
"""


def lines(*, as_json: bool, level: str = "INFO") -> list[str]:
    code = CODE.format(as_json=as_json, level=level)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_each_event_is_one_json_line_on_standard_error_with_time_and_service() -> None:
    events = [json.loads(line) for line in lines(as_json=True)]
    assert [one["event"] for one in events] == ["study.delivered", "step.failed"]
    assert events[0] | {"timestamp": ""} == {
        "event": "study.delivered", "study": 7, "ms": 12, "level": "info", "service": "listen",
        "timestamp": "",
    }  # fmt: skip
    assert events[0]["timestamp"].endswith("Z")


def test_neither_a_library_nor_a_traceback_brings_a_value_into_the_log() -> None:
    for as_json in (True, False):
        text = "\n".join(lines(as_json=as_json))
        assert "Canary" not in text
        assert "Traceback" not in text
        assert "step.failed" in text


def test_the_level_is_what_was_asked_for() -> None:
    assert len(lines(as_json=True, level="DEBUG")) == 3
    assert len(lines(as_json=True, level="ERROR")) == 1
