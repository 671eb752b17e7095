"""What must hold before the worklist serves: no secret that is missing, weak or open to others."""

from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from db.engine import connect
from triage import keys, log
from triage.deliver import credentials
from triage.errors import ConfigError, TryAgain
from triage.settings import Settings
from triage.worklist import factor

SHORTEST: Final = 16
"""Characters of a secret that programs share; people's passwords have their own rule."""
FEWEST_VALUES: Final = 16
"""Different bytes in a key: of 32 random ones fewer come once in 10^14 keys."""


def check_secrets(settings: Settings) -> None:
    """Refuse to serve with a secret that protects nothing.

    A database that is away hides what it holds: that is looked at when it is back.

    Raises:
        ConfigError: it says which file, and what to do.
    """
    accounts = settings.site.web.accounts
    if accounts.oidc is not None:
        _strong(accounts.oidc.client_secret_file)
    if accounts.ldap is not None and accounts.ldap.bind_password_file is not None:
        _kept(accounts.ldap.bind_password_file)
    for path in sorted(settings.secrets.glob("*.key")):
        if len(set(keys.site_key(settings.secrets, path.name))) < FEWEST_VALUES:
            msg = f"{path} holds no random key; restore it from a backup, or remove it to make one"
            raise ConfigError(msg)
    database = connect(settings.database_url)
    try:
        with database.reading() as session:
            factor.check_key(settings, session)
    except SQLAlchemyError as why:
        log.get().warning("database.away", why=type(why).__name__)
    finally:
        database.dispose()


def _strong(path: Path) -> None:
    found = _kept(path)
    if len(found) < SHORTEST or len(set(found)) < SHORTEST // 2:
        msg = f"{path} holds a weak secret; have the issuer make one of {SHORTEST} characters"
        raise ConfigError(msg)


def _kept(path: Path) -> str:
    try:
        return credentials.secret(path)
    except TryAgain as why:
        raise ConfigError(str(why)) from None
