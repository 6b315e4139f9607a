"""How long the client is patient."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.client import RetryPolicy
from gateway.client.retry import Patience, parse_retry_after


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("failures", [1, 2, 8, 5000])
def test_pauses_grow_to_the_cap_with_full_jitter(failures: int) -> None:
    policy = RetryPolicy(base_s=1, cap_s=8)
    pauses = [policy.pause_s(failures) for _ in range(200)]

    assert max(pauses) <= min(8, 2.0 ** min(failures - 1, 3))
    assert min(pauses) < max(pauses) / 2


def test_a_pause_is_never_shorter_than_asked_for() -> None:
    assert RetryPolicy().pause_s(1, retry_after_s=5) >= 5


def test_patience_is_counted_from_the_first_failure_in_a_row() -> None:
    clock = Clock()
    patience = Patience(RetryPolicy(budget_s=10, base_s=0.1, cap_s=0.1), clock)

    clock.now = 1000
    assert patience.spend() is not None
    clock.now = 1009
    assert patience.spend() is not None
    clock.now = 1011
    assert patience.spend() is None
    patience.restore()
    assert patience.spend() is not None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("7", 7),
        (" 7 ", 7),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0),
    ],
)
def test_retry_after_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, datetime(2026, 11, 22, 10, tzinfo=UTC)) == seconds
