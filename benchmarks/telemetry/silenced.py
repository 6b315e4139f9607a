"""`python -m benchmarks.telemetry.silenced`: the gateway, with metrics that count nothing.

Logs are a setting (`LEVERET_LOG_LEVEL`); metrics have none, so the client library's methods are replaced
here. Nothing else is stubbed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from gateway.gauges import Gauges


def silence() -> None:
    """From now on counting is a call that does nothing, and no side task looks at the queues."""
    for kind, methods in ((Counter, ("inc",)), (Gauge, ("inc", "dec", "set")), (Histogram, ("observe",))):
        for method in methods:
            setattr(kind, method, _nothing)
    MetricWrapperBase.labels = _itself  # type: ignore[method-assign,assignment]
    Gauges.run = _never  # type: ignore[method-assign]


def _nothing(*_: Any, **__: Any) -> None:
    """As little as a call can be."""


def _itself(metric: Any, *_: Any, **__: Any) -> Any:
    return metric


async def _never(_: Gauges) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    silence()
    from gateway.__main__ import main

    sys.exit(main())
