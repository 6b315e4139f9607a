"""Push: every subscriber gets every state event of its job, in order, whatever Redis loses.

One listening connection per process and one channel per tenant. For each subscriber: follow the tenant, wait
until that is confirmed, read the history behind the cursor, then hand on what is heard. What was missed is
read from PostgreSQL: on a gap in `seq`, after a reconnect, and by a sweep that asks where the watched jobs
stand.
"""

from __future__ import annotations

from gateway.feed.feed import Feed, Stream
from gateway.feed.inbox import Draining, StreamEnded, TooSlow

__all__ = ["Draining", "Feed", "Stream", "StreamEnded", "TooSlow"]
