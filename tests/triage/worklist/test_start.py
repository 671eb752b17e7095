"""The worklist refuses to start with a secret that protects nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from db.engine import Database
from tests.triage.worklist.test_factor import key, secret
from triage.accounts import Accounts, Oidc
from triage.errors import ConfigError
from triage.settings import Settings
from triage.worklist.start import check_secrets

__all__ = ["key", "secret"]
STRONG = "correct-horse-battery-staple"


def with_issuer(settings: Settings, file: Path) -> Settings:
    oidc = Oidc(
        issuer="https://id.example", client_id="triage", client_secret_file=file,
        redirect_url="https://triage.example/login/oidc/callback", roles={},
    )  # fmt: skip
    web = settings.site.web.model_copy(update={"accounts": Accounts(oidc=oidc)})
    return settings.model_copy(update={"site": settings.site.model_copy(update={"web": web})})


def test_with_good_secrets_it_may(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(STRONG)
    file.chmod(0o600)
    check_secrets(with_issuer(settings, file))


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (None, 0o600, "cannot be read"),
        ("", 0o600, "is empty"),
        ("changeme", 0o600, "weak"),
        ("a" * 40, 0o600, "weak"),
        (STRONG, 0o644, "readable by others"),
    ],
)
def test_without_it_does_not(
    settings: Settings, tmp_path: Path, content: str | None, mode: int, why: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(ConfigError, match=why) as told:
        check_secrets(with_issuer(settings, file))
    assert not content or content not in str(told.value)


def test_a_key_of_zeros_is_refused(settings: Settings, rows: Database, secret: str) -> None:
    assert rows
    assert secret
    path = settings.secrets / "factor.key"
    path.write_bytes(bytes(32))
    with pytest.raises(ConfigError, match="no random key"):
        check_secrets(settings)


def test_the_command_ends_with_a_sentence_and_serves_nothing(
    settings: Settings, secret: str
) -> None:
    assert secret
    (settings.secrets / "factor.key").write_bytes(b"")
    (settings.secrets / "factor.key").chmod(0o600)
    command = [sys.executable, "-m", "triage", "web", "--port", "0", "--state", str(settings.state)]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )
    assert run.returncode == 3
    assert "factor.key holds 0 bytes" in run.stderr
