"""``triage feedback``: list what readers said, take it out as CSV."""

import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from triage.commands import common, sheet
from triage.commands.common import AsJson, Config, State

if TYPE_CHECKING:
    from db.engine import Database

app = typer.Typer(no_args_is_help=True, help="What readers said of findings.")
COLUMNS: Final = (
    "id", "at", "study_instance_uid", "generation", "detector", "version", "tracking_uid",
    "report_sop_instance_uid", "verdict", "reason_code", "reason", "reader", "reader_role",
    "score", "p_value", "stratum", "outcome", "state", "mode", "standing",
)  # fmt: skip
Study = Annotated[
    str | None, typer.Option("--study", metavar="UID", help="Study Instance UID or number.")
]
Every = Annotated[bool, typer.Option("--all", help="Also words that were changed or taken back.")]


@app.command("ls")
def ls(
    *,
    study: Study = None,
    every: Every = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000)] = 200,
    as_json: AsJson = False,
    state: State = None,
    config: Config = None,
) -> None:
    """List readers' words, newest first."""
    with common.opened(common.load(state, config)) as database:
        rows = words(database, study=study, every=every, limit=limit)
    if as_json:
        common.print_json(rows)
    elif rows:
        shown = ("at", "study_instance_uid", "detector", "verdict", "reason_code", "reader")
        common.print_table(shown, [tuple(row[name] for name in shown) for row in rows])
    else:
        typer.echo("Nobody has said anything yet.")


@app.command("export")
def export(
    *,
    csv: Annotated[Path, typer.Option("--csv", help="File to write; - is standard output.")],
    every: Every = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Write readers' words as CSV, safe to open in a spreadsheet. Audited as an export."""
    with common.opened(common.load(state, config)) as database:
        rows = words(database, every=every)
        _audit(database, len(rows))
    text = as_csv(rows)
    if str(csv) == "-":
        sys.stdout.write(text)
        return
    descriptor = os.open(csv, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    typer.echo(f"{len(rows)} rows in {csv}")


def words(
    database: "Database", *, study: str | None = None, every: bool = False, limit: int | None = None
) -> list[dict[str, Any]]:
    """Give readers' words, newest first, without patient data; only those that stand by default."""
    from sqlalchemy import select

    from db.feedback import FeedbackRow, latest
    from db.tables import DetectionRow, StudyRow
    from triage.commands.study import find
    from triage.outputs.assessed import Verdict

    wanted = (
        select(FeedbackRow, StudyRow.study_instance_uid, DetectionRow)
        .join(StudyRow, StudyRow.id == FeedbackRow.study_id)
        .outerjoin(DetectionRow, DetectionRow.id == FeedbackRow.detection_id)
        .order_by(FeedbackRow.id.desc())
    )
    with database.reading() as session:
        if study is not None:
            wanted = wanted.where(FeedbackRow.study_id == find(session, study).id)
        found = session.execute(wanted).all()
    standing = {
        one.id for one in latest(row for row, _, _ in found) if one.verdict != Verdict.WITHDRAWN
    }
    rows = [
        _row(row, uid, detection) | {"standing": row.id in standing}
        for row, uid, detection in found
        if every or row.id in standing
    ]
    return rows[:limit]


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Give the rows as CSV (RFC 4180), no cell of which a spreadsheet takes for a formula."""
    text = io.StringIO()
    sheet.write(text, COLUMNS, rows)
    return text.getvalue()


def _row(row: Any, uid: str, detection: Any) -> dict[str, Any]:  # noqa: ANN401 - rows, perhaps None
    from triage.outputs.assessed import REASONS

    plain: Sequence[str] = (
        "id", "at", "generation", "detector", "tracking_uid", "report_sop_instance_uid",
        "verdict", "reason_code", "reader", "reader_role", "outcome", "state", "mode",
    )  # fmt: skip
    told = {name: getattr(row, name) for name in plain}
    told |= {
        name: getattr(detection, name, None) for name in ("version", "score", "p_value", "stratum")
    }
    return told | {
        "study_instance_uid": uid,
        "reason": REASONS.get(row.reason_code or "", ""),
    }


def _audit(database: "Database", count: int) -> None:
    from db.audit import Entry, Event, record

    entry = Entry(
        event=Event.EXPORT, kind="feedback.exported", action="R", actor=common.person(),
        object_type="feedback", detail={"rows": count},
    )  # fmt: skip
    with database.begin() as session:
        record(session, entry)
