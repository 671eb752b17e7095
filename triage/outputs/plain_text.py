"""The result as plain coded text, for dictation systems and for people.

One line a statement: what it is called, what it says, and both codes in brackets, so that a
template can pick a line by its code. No patient data: whoever pastes it knows where.
"""

import re
from collections.abc import Iterator
from typing import Final

from pydicom.sr.coding import Code

from triage.finding import Assessment, Document
from triage.outputs.context import ReportContext, uid
from triage.outputs.statements import DIFFERS, Group, Said, Statement, hold_back, tell
from triage.outputs.structured_report import warm

__all__ = ["KIND", "build", "check", "lines", "said_in", "warm"]

KIND: Final = "plain_text"
_LINE: Final = re.compile(r"(?P<name>[^:]+): (?P<words>.*) \[(?P<code>[^=\]]+)(=(?P<value>.*))?\]")


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the text of one assessment: same input, same bytes, UTF-8, lines end in CR LF.

    Raises:
        Held, Broken, TryAgain: as the structured report's ``build``.
    """
    text = "".join(f"{line}\r\n" for line in lines(tell(assessment, context).said))
    own = uid(context, assessment, KIND, "instance")
    return Document(KIND, sop_class_uid="", sop_instance_uid=own, content=text.encode())


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the lines back and hold them against the structured report's tree.

    Raises:
        Broken: they must not leave.
    """
    differs = said_in(document.content.decode()) != said(tell(assessment, context).said)
    hold_back("text", {DIFFERS: differs})


def said(report: Said) -> list[list[tuple[str, str, str]]]:
    """Give what ``said_in`` must find of a report."""
    return [[_codes(one) for one in _spoken(group)] for group in report.study_first]


def lines(report: Said) -> Iterator[str]:
    """Give the lines, an empty one between groups."""
    for number, group in enumerate(report.study_first):
        if number:
            yield ""
        for statement in _spoken(group):
            name, of_scheme, value = _codes(statement)
            code = f"={value}" if isinstance(statement.value, Code | float) else ""
            words = statement.in_words
            yield f"{statement.name.meaning}: {words} [{name} {of_scheme}{code}]"


def said_in(text: str) -> list[list[tuple[str, str, str]]]:
    """Read the statements back: groups of (code, scheme, value)."""
    groups: list[list[tuple[str, str, str]]] = [[]]
    for line in text.splitlines():
        if not line:
            groups.append([])
        elif found := _LINE.fullmatch(line):
            code, _, scheme = found["code"].rpartition(" ")
            groups[-1].append((code, scheme, found["value"] or found["words"]))
    return groups


def _spoken(group: Group) -> list[Statement]:
    return [one for one in group.statements if not one.is_detail]


def _codes(statement: Statement) -> tuple[str, str, str]:
    name, value = statement.name, statement.value
    if isinstance(value, Code):
        return name.value, name.scheme_designator, f"{value.value} {value.scheme_designator}"
    return name.value, name.scheme_designator, repr(value) if isinstance(value, float) else value
