"""What ``triage rebuild-index`` prints at its end, and its exit code."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import typer

from triage.commands import common
from triage.commands.rebuild_passed import REASONS
from triage.commands.rebuild_study import Rebuilt

SHOWN: Final = 20
"""Files that are named one by one; --json names all."""
RESTORE: Final = "restore it from the spool's backup, or send its study again"
NEXT: Final = {
    "unreadable": RESTORE,
    "corrupt": RESTORE,
    "misplaced": "see what lies there (store/<2 digits>/<64 digits>.dcm is a kept file's place)",
    "unparsable": "see Quarantine in the worklist, and ask the source to send it again",
    "unindexable": "see Quarantine in the worklist, and ask the source to correct it",
    "step": "if it happens again, report it: its study may be held by it",
    "study": "if it happens again, report it: this may be a bug",
    "internal": "if it happens again, report it: this may be a bug",
}
"""What to do about each of REASONS."""


def tell(done: Rebuilt, *, as_json: bool) -> int:
    """Print what a run did, and by name what it passed over; gives the exit code.

    FAILED where anything was passed over.
    """
    if as_json:
        common.print_json(asdict(done))
    else:
        typer.echo(_sum(done))
        for line in _passed(done):
            typer.echo(line, err=True)
    return common.FAILED if done.passed_over else common.OK


def _sum(done: Rebuilt) -> str:
    return (
        f"{done.files} files, {done.known} known, {done.indexed} indexed in {done.studies} "
        f"studies, {done.generations} generations closed as before, "
        f"{done.steps} procedure steps recalled, "
        f"{done.restored} here again that had been deleted, "
        f"{done.found} shown again that were in quarantine, {done.quarantined} in quarantine, "
        f"{len(done.passed_over)} passed over."
    )


def _passed(done: Rebuilt) -> Iterator[str]:
    """Give each file that was passed over, how many for each reason, and what to do then."""
    for one in done.passed_over[:SHOWN]:
        detail = f" ({one.detail})" if one.detail else ""
        yield f"passed over: {one.file} {one.code}: {REASONS[one.code]}{detail}"
    if len(done.passed_over) > SHOWN:
        yield f"{len(done.passed_over) - SHOWN} more; `triage rebuild-index --json` names all"
    for code, count in Counter(one.code for one in done.passed_over).most_common():
        yield f"{count} {code}: {NEXT[code]}"
    if done.passed_over:
        yield "Then run `triage rebuild-index` again; `triage reconcile` compares files and rows."
