"""nodes.yaml as a text: entries are put in and taken out, every other line stays as it is."""

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from triage import nodes
from triage.commands.tls import write
from triage.errors import TriageError
from triage.nodes import Nodes
from triage.sharing import NOBODY, Readers

HEADING: Final = (
    "# Application entities of this site, in the words of site.yaml. `triage node` writes here;\n"
    "# edit it by hand at will.\n"
)
PRIVATE: Final = 0o600


def add(text: str, section: str, entry: Mapping[str, Any], *, by: str) -> str:
    """Give the text with one entry more, first of its section and with a line on its origin.

    Raises:
        TriageError: the section is written in one line, which only a person changes.
    """
    at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    who = "".join(one for one in by if one.isprintable())
    body = yaml.safe_dump([dict(entry)], sort_keys=False, default_flow_style=None, width=1000)
    new = [f"# added {at} by {who}\n", *body.splitlines(keepends=True)]
    lines = (text or HEADING).splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    found = _section(text, section)
    if found is None:
        return "".join([*lines, f"{section}:\n", *new])
    key, value = found
    place = key.end_mark.line + 1
    if _is_empty(value):
        lines[place - 1] = f"{section}:\n"
    else:
        indent = " " * _sequence(value, section).value[0].start_mark.column
        indent = indent[: max(0, len(indent) - 2)]
        new = [indent + line for line in new]
    return "".join([*lines[:place], *new, *lines[place:]])


def remove(text: str, section: str, index: int) -> str:
    """Give the text without one entry and the comment right above it.

    Raises:
        TriageError: as ``add``.
    """
    found = _section(text, section)
    if found is None:
        return text
    entry = _sequence(found[1], section).value[index]
    lines = text.splitlines(keepends=True)
    begin, end = entry.start_mark.line, entry.end_mark.line
    if entry.flow_style:  # it ends in its line; one of several lines where the next thing begins
        end += 1
    if entry.end_mark.index >= len(text):
        end = len(lines)
    while begin > found[0].end_mark.line + 1 and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    while end > begin + 1 and _is_remark(lines[end - 1]):
        end -= 1
    return "".join([*lines[:begin], *lines[end:]])


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Keep other commands from changing the nodes at the same time."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state / f"{nodes.FILE}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def change(
    state: Path, edit: Callable[[str], str], expected: Nodes, readers: Readers = NOBODY
) -> None:
    """Edit the file in one step; nothing happens unless the outcome says what it should.

    Raises:
        TriageError: it would not.
    """
    path = state / nodes.FILE
    text = edit(path.read_text(encoding="utf-8") if path.is_file() else "")
    if nodes.parse(text, path) != expected:
        msg = f"{path} is written in a way that only a person changes safely; edit it by hand"
        raise TriageError(msg)
    write(path, text.encode(), PRIVATE, readers)


def _section(text: str, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None or not isinstance(root, yaml.MappingNode):
        return None
    return next((pair for pair in root.value if pair[0].value == name), None)


def _is_empty(node: yaml.Node) -> bool:
    return not node.value or node.value in ("null", "~")


def _sequence(node: yaml.Node, section: str) -> yaml.SequenceNode:
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        msg = f"{nodes.FILE}: {section}: write each entry on lines of its own, or edit it by hand"
        raise TriageError(msg)
    return node


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
