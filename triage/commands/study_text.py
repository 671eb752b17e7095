"""``triage study text``: a study's report as plain coded text, to paste into a dictation.

It is read from the report's own bytes in the outbox, so it says what the PACS was told.
"""

from io import BytesIO
from typing import Annotated, Any

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State
from triage.errors import TriageError


class NoReport(TriageError):
    """The study has no structured report."""


def study_text(
    study: Annotated[str, typer.Argument(help="Study Instance UID or number.")],
    state: State = None,
    config: Config = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print a study's latest report as plain coded text."""
    from triage.outputs.plain_text import lines
    from triage.outputs.statements import statements

    with common.opened(common.load(state, config)) as database:
        report = latest(database, study)
    if as_json:
        common.print_json({"study": study, "lines": list(lines(statements(report)))})
        return
    for line in lines(statements(report)):
        typer.echo(line)


def latest(database: Any, study: str) -> Any:  # noqa: ANN401 - a Database and a Dataset, imported late
    """Give the data set of a study's latest structured report.

    Raises:
        NoReport: none was built for it.
        NoSuchStudy: there is no such study.
    """
    import pydicom
    from sqlalchemy import select

    from db.tables import OutboxRow
    from triage.commands.study import find

    with database.reading() as session:
        row = find(session, study)
        content = session.scalars(
            select(OutboxRow.content)
            .where(OutboxRow.study_id == row.id, OutboxRow.kind == "structured_report")
            .order_by(OutboxRow.generation.desc(), OutboxRow.id.desc())
            .limit(1)
        ).first()
        if content is None:
            msg = f"no structured report of study {row.id}; `triage study show {row.id}` tells why"
            raise NoReport(msg)
    return pydicom.dcmread(BytesIO(content))
