"""``triage user``: accounts, and what their roles may do."""

import sys

import typer

app = typer.Typer(no_args_is_help=True, help="Accounts of people, and what roles may do.")


@app.command()
def matrix() -> None:
    """Print every route by every role, as docs/access.md holds it."""
    from triage.worklist import access

    sys.stdout.write(access.matrix())
