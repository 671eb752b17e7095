"""The second factor: one-time codes (RFC 6238, as every authenticator reads them) and a way back.

The shared secret is encrypted in the database with a key that is not in it. A code works once: the
time step of the last one is kept, and neither it nor an earlier one is taken again.
"""

import base64
import hashlib
import io
import secrets
from datetime import datetime
from typing import Final

import pyotp
import segno
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.accounts import RecoveryCodeRow, SecondFactorRow
from db.audit import Entry, Event, record
from db.engine import now
from db.tables import UserRow
from triage import keys
from triage.errors import ConfigError
from triage.settings import Settings
from triage.worklist.auth import NotAccepted

STEP_S: Final = 30
DRIFT: Final = 1
"""Steps that a telephone's clock may be off, to either side."""
ISSUER: Final = "Triage"
NONCE_BYTES: Final = 12
RECOVERY_CODES: Final = 8
RECOVERY_BYTES: Final = 10
"""80 bits: nothing to guess, so that a plain hash keeps them."""
WRONG: Final = "The code is wrong, or was used already. Wait for the next one."


def key(settings: Settings) -> bytes:
    """Give the key of the shared secrets, made when the first is needed.

    Raises:
        ConfigError: the file is readable by others, or no key.
    """
    return keys.site_key(settings.secrets, keys.FACTOR_KEY)


def check_key(settings: Settings, session: Session) -> None:
    """Refuse to run where secrets are kept whose key is gone: nobody could sign in any more.

    Raises:
        ConfigError: the key is not there, is another's, or is open to others.
    """
    row = session.scalars(select(SecondFactorRow).limit(1)).first()
    if row is None:
        return
    path = settings.secrets / keys.FACTOR_KEY
    if not path.exists():
        msg = f"{path} is missing, and accounts have second factors; restore it from a backup"
        raise ConfigError(msg)
    try:
        _open(key(settings), row)
    except InvalidTag:
        msg = f"{path} is not the key of the second factors; restore it from a backup"
        raise ConfigError(msg) from None


def has(session: Session, user_id: int) -> bool:
    """Tell whether an account signs in with a code."""
    row = session.get(SecondFactorRow, user_id)
    return row is not None and row.confirmed_at is not None


def begin(session: Session, site_key: bytes, user: UserRow) -> str:
    """Make a new secret and give it; it counts when a code of it has been shown.

    Raises:
        NotAccepted: the account has one that counts.
    """
    if has(session, user.id):
        msg = "This account has a second factor; remove it first."
        raise NotAccepted(msg)
    session.execute(delete(SecondFactorRow).where(SecondFactorRow.user_id == user.id))
    secret = pyotp.random_base32()
    row = SecondFactorRow(
        user_id=user.id, sealed_secret=_seal(site_key, user.id, secret), last_step=0,
        created_at=now(session),
    )  # fmt: skip
    session.add(row)
    return secret


def pending(session: Session, site_key: bytes, user_id: int) -> str | None:
    """Give the secret that waits for its first code; None where none does."""
    row = session.get(SecondFactorRow, user_id)
    return None if row is None or row.confirmed_at else _open(site_key, row)


def confirm(
    session: Session, site_key: bytes, user: UserRow, code: str, *, actor: str
) -> tuple[str, ...]:
    """Make the secret count, for whoever shows a code of it; gives the recovery codes, once.

    Raises:
        NotAccepted: there is none, it counts already, or the code is wrong.
    """
    row = _locked(session, user.id)
    if row is None or row.confirmed_at is not None or not _takes(session, site_key, row, code):
        raise NotAccepted(WRONG)
    return _count(session, row, user, actor)


def give(session: Session, user: UserRow, *, actor: str) -> tuple[str, ...]:
    """Have the secret that ``begin`` made count at once, on an administrator's word.

    Raises:
        NotAccepted: there is none that waits.
    """
    row = _locked(session, user.id)
    if row is None or row.confirmed_at is not None:
        msg = "There is no second factor that waits."
        raise NotAccepted(msg)
    return _count(session, row, user, actor)


def accepts(session: Session, site_key: bytes, user: UserRow, code: str) -> bool:
    """Take a code, or a recovery code; each of them once."""
    row = _locked(session, user.id)
    if row is None or row.confirmed_at is None:
        return False
    return _takes(session, site_key, row, code) or _recovers(session, user, code)


def remove(session: Session, user: UserRow, *, actor: str) -> None:
    """Let an account in without a code again."""
    session.execute(delete(SecondFactorRow).where(SecondFactorRow.user_id == user.id))
    session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user.id))
    _audit(session, "user.factor-removed", user, actor)


def uri(name: str, secret: str) -> str:
    """Give what an authenticator reads."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def drawing(text: str) -> str:
    """Give a QR code (ISO/IEC 18004) as an SVG element: black on white, with its quiet zone."""
    return segno.make(text, micro=False).svg_inline(scale=4, dark="#000", light="#fff", border=4)


def printed(text: str) -> str:
    """Give a QR code for a terminal."""
    out = io.StringIO()
    segno.make(text, micro=False).terminal(out, compact=True)
    return out.getvalue()


def _count(session: Session, row: SecondFactorRow, user: UserRow, actor: str) -> tuple[str, ...]:
    row.confirmed_at = now(session)
    session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user.id))
    codes = tuple(_recovery_code() for _ in range(RECOVERY_CODES))
    session.add_all(RecoveryCodeRow(code_sha256=_digest(one), user_id=user.id) for one in codes)
    _audit(session, "user.factor-added", user, actor)
    return codes


def _takes(session: Session, site_key: bytes, row: SecondFactorRow, code: str) -> bool:
    """Take a code of now, or of a step beside it, that is later than any taken before."""
    totp, current = pyotp.TOTP(_open(site_key, row)), _step(now(session))
    given = "".join(code.split())
    for step in range(current - DRIFT, current + DRIFT + 1):
        right = secrets.compare_digest(totp.generate_otp(step).encode(), given.encode())
        if right and step > row.last_step:
            row.last_step = step
            return True
    return False


def _recovers(session: Session, user: UserRow, code: str) -> bool:
    used = session.execute(
        update(RecoveryCodeRow)
        .where(RecoveryCodeRow.code_sha256 == _digest(code), RecoveryCodeRow.user_id == user.id)
        .where(RecoveryCodeRow.used_at.is_(None))
        .values(used_at=now(session))
        .returning(RecoveryCodeRow.user_id)
    ).first()
    if used is not None:
        _audit(session, "user.recovery-code-used", user, user.name)
    return used is not None


def _locked(session: Session, user_id: int) -> SecondFactorRow | None:
    """Give the row; of two requests with one code, the second waits and finds it used."""
    query = select(SecondFactorRow).where(SecondFactorRow.user_id == user_id).with_for_update()
    return session.scalar(query)


def _step(at: datetime) -> int:
    return int(at.timestamp()) // STEP_S


def _recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _digest(code: str) -> str:
    plain = "".join(one for one in code.lower() if one.isalnum())
    return hashlib.sha256(plain.encode()).hexdigest()


def _seal(site_key: bytes, user_id: int, secret: str) -> str:
    """Encrypt for one account: the row of another holds nothing that opens here."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(site_key).encrypt(nonce, secret.encode(), str(user_id).encode())
    return base64.b64encode(nonce + sealed).decode()


def _open(site_key: bytes, row: SecondFactorRow) -> str:
    content = base64.b64decode(row.sealed_secret)
    nonce, sealed = content[:NONCE_BYTES], content[NONCE_BYTES:]
    return AESGCM(site_key).decrypt(nonce, sealed, str(row.user_id).encode()).decode()


def _audit(session: Session, kind: str, user: UserRow, actor: str) -> None:
    entry = Entry(
        event=Event.SECURITY_ALERT, kind=kind, action="U", actor=actor, actor_role=user.role,
        object_type="user", object_id=str(user.id),
    )  # fmt: skip
    record(session, entry)
