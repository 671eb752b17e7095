"""The audit trail on a study's page: in words, with the address, and of every kind there is."""

import ast
import re
from pathlib import Path
from typing import Final

from db.engine import Database
from tests.triage.worklist.builders import add_result, add_study
from tests.triage.worklist.client import Client
from tests.triage.worklist.conftest import audited
from triage import worklist
from triage.worklist.study_trail import WORDS

KIND: Final = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*")
FILES: Final = re.compile(r".*\.(html|json|svg|png|css|js|safetensors)")
LOGGED: Final = frozenset({"triage.worklist", "database.away", "web.error"})
"""A package, and what is written to the log and not to the trail."""


def kinds() -> set[str]:
    """Give every kind of audit row that the worklist's sources name."""
    found: set[str] = set()
    [folder] = worklist.__path__
    for path in Path(folder).glob("*.py"):
        if path.name == "study_trail.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if KIND.fullmatch(node.value) else set()
    return {one for one in found if not FILES.fullmatch(one)} - LOGGED


def test_every_kind_that_the_worklist_writes_has_words() -> None:
    found = kinds()
    assert {"viewer.series", "claim.made", "break-glass.opened", "feedback.given"} <= found
    assert found - WORDS.keys() == set()


def test_no_kind_on_the_page_is_a_code(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        study = add_study(session, "prioritised")
        finding = str(add_result(session, study).id)
        number = study.id
    token = {"csrf_token": client.csrf()}
    client.post(f"/studies/{number}/claim", token)
    client.post(f"/studies/{number}/feedback", {**token, "verdict": "agree", "finding": finding})
    client.get(f"/studies/{number}/view")
    client.get(f"/studies/{number}/view/series")
    client.post(f"/studies/{number}/release", token)
    text = client.get(f"/studies/{number}").text
    trail = text.split("<h2>Audit trail</h2>")[1].split("</table>")[0]
    for words in ("opened the viewer", "opened the images", "claimed it", "gave it back"):
        assert f"<td>{words}</td>" in trail
    assert not re.search(r"<td>[a-z-]+\.[a-z-]+</td>", trail)


def test_claims_and_feedback_say_where_they_came_from(client: Client, rows: Database) -> None:
    with rows.begin() as session:
        study = add_study(session, "prioritised")
        finding = str(add_result(session, study).id)
        number = study.id
    token = {"csrf_token": client.csrf()}
    for path, form in (
        ("claim", {}), ("claim", {}), ("release", {}),
        ("feedback", {"verdict": "agree", "finding": finding}), ("feedback/undo", {}),
    ):  # fmt: skip
        assert client.post(f"/studies/{number}/{path}", {**token, **form}).status_code == 303
    kinds = (
        "claim.made", "claim.renewed", "claim.released", "feedback.given", "feedback.withdrawn",
    )  # fmt: skip
    for kind in kinds:
        [row] = audited(rows, kind)
        assert row.network_address == "10.0.0.7", kind
