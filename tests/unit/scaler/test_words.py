"""What people read of the scaler's figures."""

from __future__ import annotations

import pytest

from scaler.words import seconds


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0 s"), (0.3, "0.3 s"), (0.042, "0.042 s"), (2.46, "2.5 s"), (9.6, "10 s"), (240.4, "240 s")],
)
def test_what_takes_a_third_of_a_second_does_not_take_none(value: float, said: str) -> None:
    assert seconds(value) == said
