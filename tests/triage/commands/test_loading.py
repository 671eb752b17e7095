"""What a process has loaded is left out of the search for garbage; what it makes later is not."""

import subprocess
import sys
from pathlib import Path

CODE = """
import gc
from triage.commands import loading
before = gc.get_threshold()
loading.settle()
print(gc.get_threshold() == before, gc.get_freeze_count())
loading.begin()
print(gc.get_threshold()[0] == loading.WHILE_LOADING, gc.isenabled())
loading.settle()
print(gc.get_threshold() == before, gc.get_freeze_count() > 1000)
loop = []
loop.append(loop)
del loop
print(gc.collect() > 0)
"""


def test_a_process_that_has_settled_searches_as_ever_but_not_what_it_loaded() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["True 0", "True True", "True True", "True"]
