"""How often and how long the client tries again. Standard library only; decides, never sleeps."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter inside a time budget.

    Attributes:
        budget_s: Seconds after the first failure in which another try may start; 0 turns repeating off.
        base_s: Upper end of the first pause.
        cap_s: Upper end of any pause the gateway did not ask for.
    """

    budget_s: float = 60.0
    base_s: float = 0.25
    cap_s: float = 10.0

    def pause_s(self, tries: int, retry_after_s: float | None = None) -> float:
        """Seconds to wait after `tries` failures; never less than the gateway's own Retry-After."""
        # The exponent is bounded, or a long outage overflows the float.
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(tries - 1, 32))
        # Full jitter: clients that failed together must not come back together.
        return (retry_after_s or 0.0) + random.uniform(0, ceiling)  # noqa: S311  no secret depends on it

    def allows(self, elapsed_s: float, pause_s: float) -> bool:
        """Whether a try after `pause_s` still starts within the budget."""
        return elapsed_s + pause_s <= self.budget_s


@dataclass(slots=True)
class Patience:
    """Counts the failures in a row of one undertaking and says how long to wait after each."""

    policy: RetryPolicy
    clock: Callable[[], float] = time.monotonic
    _failures: int = field(default=0, init=False)
    _first_at: float = field(default=0.0, init=False)

    def restore(self) -> None:
        """It worked: the next failure is the first again."""
        self._failures = 0

    def spend(self, retry_after_s: float | None = None) -> float | None:
        """Seconds to wait after one more failure; None when the patience has ended."""
        now = self.clock()
        if not self._failures:
            self._first_at = now
        self._failures += 1
        pause_s = self.policy.pause_s(self._failures, retry_after_s)
        return pause_s if self.policy.allows(now - self._first_at, pause_s) else None


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds asked for by a Retry-After header in either of its forms; None without a usable one."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds())
