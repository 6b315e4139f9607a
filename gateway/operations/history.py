"""What the scaler found of a fleet, now and lately, as operators are answered. Pure: no store, no clock.

What is not known is null, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from shared.events import timestamp


class Looked(Protocol):
    """What the scaler found at one look after the other, without a change."""

    @property
    def queue(self) -> str:
        """Whose fleet."""

    @property
    def at(self) -> datetime:
        """The first of these looks."""

    @property
    def until(self) -> datetime:
        """The last one."""

    @property
    def age_s(self) -> float:
        """Seconds since then."""

    @property
    def gap_s(self) -> float:
        """Longer than this between two looks, and nobody looked."""

    @property
    def want(self) -> int | None:
        """Workers aimed at."""

    @property
    def asked(self) -> int | None:
        """Workers that the jobs ask for, before any limit."""

    @property
    def bound(self) -> str | None:
        """The limit that made `want` another number."""

    @property
    def serving(self) -> int | None:
        """Workers that take jobs."""

    @property
    def starting(self) -> int | None:
        """On their way."""

    @property
    def leaving(self) -> int | None:
        """On their way out."""

    @property
    def min(self) -> int:
        """At least, as it held."""

    @property
    def max(self) -> int:
        """At most, as it held."""

    @property
    def min_ordered(self) -> bool:
        """An operator's, not the settings'."""

    @property
    def max_ordered(self) -> bool:
        """Likewise."""


def there_document(crew: Mapping[str, int], look: Looked | None) -> dict[str, int]:
    """Who is there now, by the workers' own rows; who was started and not heard of yet, by the last look.

    Args:
        crew: The workers that are heard of, as `figures.crew_document` counts them.
        look: The scaler's last one, if it ever looked.
    """
    coming = 0
    if look and fresh(look) and look.serving is not None and look.starting is not None:
        coming = look.serving + look.starting - crew["ready"] - crew["draining"]
    return {
        "serving": crew["ready"],
        "starting": max(crew["starting"], coming),
        "draining": crew["draining"],
    }


def fresh(look: Looked) -> bool:
    """Whether the scaler still looks."""
    return look.age_s <= look.gap_s


def limits_document(look: Looked | None) -> dict[str, Any] | None:
    """The limits as they held at the last look, and whose they are; None where nobody ever looked."""
    return None if look is None else _limits(look)


def look_document(look: Looked | None) -> dict[str, Any] | None:
    """The last look; None where nobody ever looked."""
    if look is None:
        return None
    return {"at": timestamp(look.until), "since": timestamp(look.at), "fresh": fresh(look), **_wanted(look)}


def history_document(queue: str, spans: Sequence[Looked]) -> dict[str, Any]:
    """A fleet's spans, oldest first; each says whether nobody looked before it."""
    before: list[Looked | None] = [None, *spans]
    return {"queue": queue, "spans": [_span(*pair) for pair in zip(before, spans, strict=False)]}


def _span(before: Looked | None, span: Looked) -> dict[str, Any]:
    gap = before is not None and (span.at - before.until).total_seconds() > before.gap_s
    return {
        "at": timestamp(span.at),
        "until": timestamp(span.until),
        "gap_before": gap,
        **_wanted(span),
        "serving": span.serving,
        "starting": span.starting,
        "leaving": span.leaving,
        **_limits(span),
    }


def _wanted(look: Looked) -> dict[str, Any]:
    return {"want": look.want, "asked": look.asked, "bound": look.bound}


def _limits(look: Looked) -> dict[str, Any]:
    return {
        "min": look.min,
        "max": look.max,
        "min_by": "order" if look.min_ordered else "settings",
        "max_by": "order" if look.max_ordered else "settings",
    }
