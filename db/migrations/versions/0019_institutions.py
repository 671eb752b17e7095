"""The institution that made a study, a filter beside the AE title that sent it.

Links that are kept by readers called the AE title the site; it is the source now.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

PLACE = ("priority", "received_at", "id")
FILTERS = ("modality", "body_part", "source_ae_title", "institution_name")
SAVED = sa.table("saved_list", sa.column("id", sa.Integer), sa.column("query", sa.Text))


def upgrade() -> None:
    column = sa.Column(
        "institution_name", sa.String(64), nullable=False, server_default=sa.text("''")
    )
    op.add_column("study", column)
    for name in (*FILTERS[:3], "kind", "unread"):
        op.drop_index(f"ix_study_{name}", "study")
    _index(FILTERS)
    _rename("site", "source")


def downgrade() -> None:
    for name in (*FILTERS, "kind", "unread"):
        op.drop_index(f"ix_study_{name}", "study")
    op.drop_column("study", "institution_name")
    _index(FILTERS[:3])
    _forget("site")
    _rename("source", "site")


def _index(filters: tuple[str, ...]) -> None:
    unread = sa.text("opened_at IS NULL")
    op.create_index(
        "ix_study_unread", "study", [*PLACE, *filters],
        sqlite_where=unread, postgresql_where=unread,
    )  # fmt: skip
    for name in filters:
        others = (one for one in filters if one != name)
        op.create_index(f"ix_study_{name}", "study", [name, *PLACE, *others])
    op.create_index("ix_study_kind", "study", [*filters[:2], *PLACE, *filters[2:]])


def _rename(old: str, new: str) -> None:
    """Give a filter of the kept lists another name."""
    for number, query in op.get_bind().execute(sa.select(SAVED)).all():
        parts = query.removeprefix("?").split("&")
        said = [
            f"{new}{one.removeprefix(old)}" if one.startswith(f"{old}=") else one for one in parts
        ]
        _keep(number, said)


def _forget(name: str) -> None:
    """Let the kept lists ask for less: an older program knows no such filter."""
    for number, query in op.get_bind().execute(sa.select(SAVED)).all():
        parts = query.removeprefix("?").split("&")
        _keep(number, [one for one in parts if not one.startswith(f"{name}=")])


def _keep(number: int, parts: list[str]) -> None:
    text = "&".join(one for one in parts if one)
    change = sa.update(SAVED).where(SAVED.c.id == number)
    op.get_bind().execute(change.values(query=f"?{text}" if text else ""))
