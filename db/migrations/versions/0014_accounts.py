"""Second factors, foreign accounts, break-glass, tokens that end; the roles of accounts.

Every account was an administrator's and read studies: it keeps both, as two roles.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("UPDATE user_account SET role = 'admin radiologist' WHERE role = 'admin'")
    op.add_column("api_token", sa.Column("expires_at", MOMENT))
    _second_factors()
    _sign_ins()
    _emergencies()


def downgrade() -> None:
    for table in (
        "break_glass",
        "halfway_sign_in",
        "foreign_account",
        "recovery_code",
        "second_factor",
    ):
        op.drop_table(table)
    op.drop_column("api_token", "expires_at")
    # Before, one word said all: nobody gets more by going back than an administrator had.
    op.execute("UPDATE user_account SET role = 'admin' WHERE role LIKE 'admin %'")
    op.execute("UPDATE user_account SET disabled = true WHERE role IN ('auditor', 'technologist')")


def _second_factors() -> None:
    op.create_table(
        "second_factor",
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("sealed_secret", sa.Text, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("confirmed_at", MOMENT),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_second_factor")),
        _of_user("second_factor"),
    )
    op.create_table(
        "recovery_code",
        sa.Column("code_sha256", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("used_at", MOMENT),
        sa.PrimaryKeyConstraint("code_sha256", name=op.f("pk_recovery_code")),
        _of_user("recovery_code"),
    )
    op.create_index(op.f("ix_recovery_code_user_id"), "recovery_code", ["user_id"])


def _sign_ins() -> None:
    op.create_table(
        "foreign_account",
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_foreign_account")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_foreign_account_issuer_subject")),
        _of_user("foreign_account"),
    )
    op.create_table(
        "halfway_sign_in",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Integer),
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("verifier", sa.String(128), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_halfway_sign_in")),
        _of_user("halfway_sign_in"),
    )


def _emergencies() -> None:
    op.create_table(
        "break_glass",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.Column("reviewed_at", MOMENT),
        sa.Column("reviewed_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass")),
        _of_user("break_glass"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_break_glass_study_id_study")
        ),
    )
    op.create_index("ix_break_glass_who", "break_glass", ["user_id", "study_id", "until"])


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_user_id_user_account")
    return sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=name)
