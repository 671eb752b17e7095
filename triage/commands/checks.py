"""One line of what an examination found: a tick or a cross, and the fix of a cross."""

from collections.abc import Sequence
from dataclasses import dataclass

from triage.commands import common


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def show(checks: Sequence[Check]) -> None:
    """Print the checks as ticks and crosses, with the fix under each cross."""
    common.print_table(
        ("", "check", "found", "fix"),
        [
            ("✓" if one.ok else "✗", one.name, one.found, "" if one.ok else one.fix)
            for one in checks
        ],
    )
