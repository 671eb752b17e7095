"""The table of ways to send."""

import pytest

from triage.deliver import transports


@pytest.mark.parametrize("kind", transports.TRANSPORTS)
def test_every_kind_can_store(kind: str) -> None:
    assert callable(transports.load(kind).store)
