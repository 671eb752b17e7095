import statistics
import time

import pytest
from argon2 import PasswordHasher

from triage.worklist import passwords


def test_a_password_is_kept_as_argon2id_with_the_least_memory_owasp_asks_for() -> None:
    assert passwords.digest("a long password").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_the_same_password_is_kept_differently_each_time() -> None:
    assert passwords.digest("a long password") != passwords.digest("a long password")


@pytest.mark.parametrize(
    ("typed", "right"), [("a long password", True), ("a long passwore", False)]
)
def test_only_the_same_password_is_right(typed: str, *, right: bool) -> None:
    assert passwords.verify(typed, passwords.digest("a long password"))[0] is right


def test_a_password_kept_with_weaker_settings_is_renewed() -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("a long password")
    right, renewed = passwords.verify("a long password", weak)
    assert right
    assert renewed is not None
    assert "m=19456" in renewed


def test_an_unknown_name_costs_the_same_time() -> None:
    kept = passwords.digest("a long password")

    def spent(against: str | None) -> float:
        times = []
        for _ in range(9):
            start = time.process_time()
            passwords.verify("something else", against)
            times.append(time.process_time() - start)
        return statistics.median(times)

    passwords.verify("", None)
    known, unknown = spent(kept), spent(None)
    assert unknown == pytest.approx(known, rel=0.5)
