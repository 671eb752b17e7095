"""Tidy pip-compile's output: torch out (each platform has its own build), a heading in."""

import re
import sys
from pathlib import Path

HEADING = """\
# Every dependency but torch, with hashes. Made by `make lock`; do not edit.
# Install torch 2.13.0 for your platform first, then:
#   pip install --require-hashes -r requirements.lock
"""


def tidy(text: str) -> str:
    """Give the lock without the heading, torch and this project itself."""
    kept = text.split("# The following packages are considered to be unsafe", maxsplit=1)[0]
    kept = re.sub(r"(?m)^triage.*\n(?: {4}.*\n)*", "", kept)
    kept = re.sub(r"(?m)^# .*\n|^#\n", "", kept)
    kept = kept.replace("    #   triage (pyproject.toml)\n", "")
    return HEADING + kept.strip() + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(tidy(path.read_text()))
