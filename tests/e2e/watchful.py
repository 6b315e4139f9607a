"""A worker that looks for EC2's notices more often than every 5 s: `python -m tests.e2e.watchful`."""

from __future__ import annotations

import sys

from gpu_worker import preemption
from gpu_worker.__main__ import main

POLL_S = 0.2

if __name__ == "__main__":
    preemption.POLL_S = POLL_S
    sys.exit(main())
