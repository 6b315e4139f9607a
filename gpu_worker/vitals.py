"""What a worker's heartbeat tells of its devices and models, measured when it beats and at no other time.

What is not known is None, never 0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from gpu_worker.engines import Held, Load, Use
from gpu_worker.gauges import memory_of
from gpu_worker.nvml import Cards
from shared.aside import Aside

LOOK_S = 1.0
"""A driver that does not answer costs a beat no more than this, and its device's memory is not known."""
MODELS = 100
"""Told by name, at most: a row must stay small."""
DEVICES = 16

_PROCESSOR = Path("/proc/cpuinfo")


class Engines(Protocol):
    """Who computes."""

    def uses(self) -> Sequence[Use]:
        """What they took of each device."""

    def held(self) -> Sequence[Held]:
        """The models they hold."""

    def loads(self) -> Sequence[Load]:
        """What they loaded and nobody was told of."""

    def told(self, loads: Sequence[Load]) -> None:
        """Somebody was."""


Look = tuple[str | None, float | None, float | None]
"""A device's name, and the bytes of its memory that are used and there."""


class Vitals:
    """Reports of one worker, each since the one before.

    Args:
        engines: Who computes.
        cards: Where a GPU's name and memory are read.
        clock: Monotonic seconds.
    """

    def __init__(
        self, engines: Engines, cards: Cards, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engines = engines
        self._cards = cards
        self._clock = clock
        self._processor = processor()
        self._looking: Aside[list[Look]] = Aside()
        self._before: tuple[float, list[float]] | None = None

    async def report(self) -> dict[str, Any]:
        """Devices and models as they are now, as JSON has it.

        Returns:
            `devices`, each with `device` (``cuda0``), `kind`, `name`, `utilisation` (0 to 1, the share of the
            time since the last report in which an engine's device stage was at work), `memory_used`,
            `memory_total` (bytes); `models`, each with `name`, `version`, `engines` (that hold it), `load_s`
            and `memory` (bytes).
        """
        uses = self._engines.uses()[:DEVICES]
        shares = self._shares(uses)
        looks = await self._looks(uses)
        return {
            "devices": [
                _device(number, use, share, look)
                for number, (use, share, look) in enumerate(zip(uses, shares, looks, strict=True))
            ],
            "models": [_model(held) for held in self._engines.held()[:MODELS]],
        }

    def loads(self) -> list[dict[str, Any]]:
        """What was loaded and nobody was told of, as `told` takes it: `age_s` ago."""
        now = self._clock()
        return [
            {
                "id": str(load.id),
                "model": load.name,
                "version": load.version,
                "age_s": now - load.at,
                "load_s": load.load_s,
                "memory_mb": load.memory_mb,
            }
            for load in self._engines.loads()
        ]

    def told(self, loads: Sequence[dict[str, Any]]) -> None:
        """These are written down."""
        ids = {load["id"] for load in loads}
        self._engines.told([load for load in self._engines.loads() if str(load.id) in ids])

    def _shares(self, uses: Sequence[Use]) -> list[float | None]:
        now, spent = self._clock(), [use.busy_s for use in uses]
        before, self._before = self._before, (now, spent)
        if before is None or now <= before[0]:
            return [None] * len(uses)
        gone = now - before[0]
        return [min(1.0, (now_s - then_s) / gone) for now_s, then_s in zip(spent, before[1], strict=True)]

    async def _looks(self, uses: Sequence[Use]) -> list[Look]:
        """Beside the event loop, one at a time: a card that has fallen off its bus holds whoever asks."""
        with suppress(TimeoutError):
            return await self._looking.answer(lambda: self._look_at(uses), within_s=LOOK_S)
        return [(None, None, None)] * len(uses)

    def _look_at(self, uses: Sequence[Use]) -> list[Look]:
        memories = [memory_of(use, self._cards) for use in uses]
        return [
            (self._name(use), _known(used), _known(total))
            for use, (used, total) in zip(uses, memories, strict=True)
        ]

    def _name(self, use: Use) -> str | None:
        return self._processor if use.device.kind == "cpu" else self._cards.name(use.device.gpu)


def _device(number: int, use: Use, share: float | None, look: Look) -> dict[str, Any]:
    name, used, total = look
    return {
        "device": f"{use.device.kind}{number}",
        "kind": use.device.kind,
        "name": name,
        "utilisation": None if share is None else round(share, 3),
        "memory_used": used,
        "memory_total": total,
    }


def _model(held: Held) -> dict[str, Any]:
    return {
        "name": held.name,
        "version": held.version,
        "engines": held.engines,
        "load_s": None if held.load_s is None else round(held.load_s, 3),
        "memory": None if held.memory_mb is None else round(held.memory_mb * 1e6),
    }


def _known(figure: float) -> float | None:
    """Whole bytes; NaN is how Prometheus is told that there is no figure."""
    return round(figure) if math.isfinite(figure) else None


def processor(path: Path = _PROCESSOR) -> str | None:
    """What the machine's processor calls itself, where the system tells."""
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()[:100] or None
    return None
