"""What accounts have beside a password: a second factor, another issuer's word, an emergency."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base

SHA256 = String(64)


class SecondFactorRow(Base):
    """The shared secret of one account's one-time codes (RFC 6238)."""

    __tablename__ = "second_factor"

    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), primary_key=True)
    sealed_secret: Mapped[str] = mapped_column(Text)
    """Encrypted with a key that is not in the database."""
    last_step: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of the last code that was taken: neither it nor an older one is taken again."""
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    """From then on a sign-in asks for a code."""


class RecoveryCodeRow(Base):
    """A code for the day when the telephone is lost; works once, kept as its hash."""

    __tablename__ = "recovery_code"

    code_sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    used_at: Mapped[datetime | None]


class ForeignAccountRow(Base):
    """Who vouches for an account that has no password here: an OpenID issuer or a directory."""

    __tablename__ = "foreign_account"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), primary_key=True)
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]


class HalfwayRow(Base):
    """A sign-in between its two steps: at the second factor, or away at the issuer."""

    __tablename__ = "halfway_sign_in"

    token_sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user_account.id"))
    """Whose password was right; nobody's yet where an issuer is asked."""
    state: Mapped[str] = mapped_column(String(64), default="")
    nonce: Mapped[str] = mapped_column(String(64), default="")
    verifier: Mapped[str] = mapped_column(String(128), default="")
    """Of PKCE (RFC 7636)."""
    target: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]


class BreakGlassRow(Base):
    """A study opened in an emergency by somebody whose role does not open it."""

    __tablename__ = "break_glass"
    __table_args__ = (Index("ix_break_glass_who", "user_id", "study_id", "until"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    reason: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime]
    until: Mapped[datetime]
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str] = mapped_column(String(64), default="")
