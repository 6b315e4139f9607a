"""Where in which trace: W3C's `traceparent`, read and written. Pure: the standard library alone."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from uuid import UUID

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-[\x20-\x7e]*)?",
    re.ASCII,
)
MAX_TRACEPARENT = 512
"""Later versions may be longer than the 55 characters of today's; nobody's is as long as this."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where in which trace: what a `traceparent` says.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 of them.
        flags: 0 … 255; the lowest bit says that the trace is recorded.
    """

    trace_id: str
    span_id: str
    flags: int = 1

    @property
    def sampled(self) -> bool:
        """Whether the trace is recorded."""
        return bool(self.flags & 1)

    def child(self, span_id: str | None = None) -> Context:
        """Another place in the same trace."""
        return Context(self.trace_id, span_id or _new_span_id(), self.flags)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse_traceparent(text: str | None) -> Context | None:
    """What a `traceparent` says, or None where it is none, as W3C Trace Context (level 1 and 2) asks.

    A version above 00 may have more behind its flags, which is not looked at; ff is no version. Of the flags
    only those are kept that level 2 knows: recorded, and made at random.
    """
    if not text or len(text) > MAX_TRACEPARENT:
        return None
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found["version"] == "00" and found["rest"] is not None):
        return None
    return Context(found["trace"], found["span"], int(found["flags"], 16) & 3)


def attempt_span_id(job_id: UUID, fence: int) -> str:
    """The id of the span of the attempt that holds this fence.

    It follows from the two, so that the relay can tell of an attempt whose worker died, and what that worker
    had told before hangs below it.
    """
    return hashlib.blake2b(job_id.bytes + fence.to_bytes(8, "big"), digest_size=8).hexdigest()


def new_trace() -> Context:
    """Made at random, and told so: level 2's second flag."""
    return Context(f"{random.getrandbits(128) or 1:032x}", _new_span_id(), 3)


def _new_span_id() -> str:
    return f"{random.getrandbits(64) or 1:016x}"
