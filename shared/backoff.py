"""When to try again. Pure: imports nothing but the standard library."""

from __future__ import annotations

import random

BASE_S = 2.0
CAP_S = 300.0


def full_jitter(attempt: int, *, base_s: float = BASE_S, cap_s: float = CAP_S) -> float:
    """Seconds to wait after the given failed attempt (from 1): uniform in 0 … min(cap, base·2^(attempt-1)).

    Full jitter spreads the retries of jobs that failed together over the whole window; see "Exponential
    Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    ceiling = min(cap_s, base_s * 2.0 ** min(attempt - 1, 32))
    return random.uniform(0.0, ceiling)  # noqa: S311  spreads load; guards nothing
