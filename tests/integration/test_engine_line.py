"""The line to an engine process that has just broken: what is still sent goes nowhere, quietly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop

from gpu_worker.engine.launch import Device
from gpu_worker.engine.process import EngineProcess

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_sent_on_a_line_that_has_just_closed_raises_nothing(tmp_path: Path) -> None:
    """On the worker's own event loop: asyncio's is lenient with a closed transport."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_send_on_a_closed_line(tmp_path)) == []


async def _send_on_a_closed_line(folder: Path) -> list[dict[str, Any]]:
    """What the event loop complained of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    engine = await EngineProcess.start(None, Device("cpu"), folder)
    await engine.ready()
    engine._writer.transport.abort()
    await asyncio.sleep(0)
    engine.send({"op": "cancel", "id": 1})
    await engine.ended()
    return complaints
