"""CSV that no spreadsheet takes for a program (RFC 4180; OWASP's advice on CSV injection)."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula."""


class Sink(Protocol):
    """Anything that text can be written to."""

    def write(self, text: str, /) -> object:
        """Take some of the text."""


def write(file: Sink, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a header and the rows; gives how many rows."""
    writer = csv.writer(file)
    writer.writerow(columns)
    count = 0
    for row in rows:
        writer.writerow([cell(row[name]) for name in columns])
        count += 1
    return count


def cell(value: object) -> str:
    """Give a cell's text, with a quote before what begins like a formula; numbers are numbers."""
    if value is None:
        return ""
    text = str(value)
    risky = isinstance(value, str) and text.lstrip(" ").startswith(FORMULA)
    return f"'{text}" if risky else text
