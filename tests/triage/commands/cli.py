"""The command line in this process: what it prints, and its exit code."""

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from triage import __main__ as door
from triage.commands.common import OK


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.out)


def triage(*words: object, **environment: str) -> Answer:
    """Run one command as ``triage WORDS`` would, with no variable of ours but those given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRIAGE_")}
    out, err = io.StringIO(), io.StringIO()
    argv = ["triage", *map(str, words)]
    with (
        patch.dict(os.environ, {**kept, **environment}, clear=True),
        patch.object(sys, "argv", argv),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = _code()
    return Answer(code, out.getvalue(), err.getvalue())


def node(state: Path, *words: object) -> Any:  # noqa: ANN401 - JSON
    """Run one of ``triage node``; gives what it prints."""
    answer = triage("node", *words, "--state", state, "--json")
    assert answer.code == OK, answer.err
    return answer.json


def _code() -> int:
    try:
        door.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def write_site(state: Path, **sections: object) -> Path:
    """Write a state folder's site.yaml; gives its path."""
    path = state / "configs" / "site.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(sections))
    return path
