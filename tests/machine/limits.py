"""Limits that are low here, so that a run of some thirty steps gets to them."""

from __future__ import annotations

MAX_RELEASES = 2
MAX_MISSES = 3
SPARED = 1
"""Deaths of its engine that a job stands in line of, before it is given back."""
