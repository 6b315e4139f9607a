"""Where a peer's application finds its servers: in the environment of its process."""

from __future__ import annotations

import os

QUEUE = "noop"
MAX_PRIORITY = 10
PRIORITY = 5
BROKER = os.environ.get("BENCH_PEER_BROKER", "")
RESULTS = os.environ.get("BENCH_PEER_RESULTS", "")
IN_HAND = int(os.environ.get("BENCH_PEER_IN_HAND", "1"))
