"""What clients ask for: how long it takes, how it ends, and how often it may be tried."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from([*["echo@1"] * 6, "echo@2", "night@1"]),
    "inputs": st.builds(
        lambda seconds, end: {"text": {"json": f"{seconds} {end}"}},
        st.sampled_from([0, 0.5, 4, 30, 60, 90, 500]),
        st.sampled_from([*["done"] * 6, "raises", "again", "device", "crashes", "kills"]),
    ),
    "priority": st.sampled_from([0, 5, 9, 10]),
    "max_attempts": st.integers(1, 3),
}
TIMED: dict[str, st.SearchStrategy[Any]] = {
    "delay_s": st.sampled_from([5.0, 60.0]),
    "start_timeout_s": st.sampled_from([2.0, 40.0]),
}
SUBMISSIONS = st.one_of(
    *[st.fixed_dictionaries(PLAIN)] * 4,
    st.fixed_dictionaries(PLAIN, optional=TIMED),
)
