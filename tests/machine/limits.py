"""Limits that are low here, so that a run of some thirty steps gets to them."""

from __future__ import annotations

MAX_RELEASES = 2
MAX_MISSES = 3
