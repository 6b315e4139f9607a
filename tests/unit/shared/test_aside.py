"""Calls that never come back hold up neither other work in threads nor the process's end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import httpx2
import pytest
from prometheus_client import REGISTRY
from prometheus_client.registry import Collector

from shared.aside import NAME, Aside
from shared.telemetry import admin

pytestmark = pytest.mark.anyio

HANGS = """
import asyncio, threading
from shared.aside import Aside
async def main():
    try:
        await Aside().answer(threading.Event().wait, within_s=0.01)
    except TimeoutError:
        print("went on")
asyncio.run(main())
"""


def test_a_call_that_hangs_holds_up_no_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


async def test_whoever_asks_while_a_call_is_under_way_gets_its_answer() -> None:
    aside, go, calls = Aside[str](), threading.Event(), []

    def call() -> str:
        calls.append(1)
        go.wait()
        return "here"

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await aside.answer(call, within_s=0.01)
    assert calls == [1]
    go.set()
    assert await aside.answer(call, within_s=20) == "here"


async def test_an_error_is_the_callers() -> None:
    def fail() -> None:
        raise OSError("no such card")

    with pytest.raises(OSError, match="no such card"):
        await Aside[None]().answer(fail, within_s=20)


class Hung(Collector):
    """A figure that is asked of a driver that does not answer."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def describe(self) -> list[object]:
        return []

    def collect(self) -> list[object]:  # type: ignore[override]
        self.answers.wait()
        return []


async def test_metrics_that_hang_take_no_thread_from_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape every few seconds took them all, and no job's folder was ever removed again."""
    monkeypatch.setattr(admin, "METRICS_S", 0.01)
    hung = Hung()
    REGISTRY.register(hung)
    transport = httpx2.ASGITransport(admin.admin_app({}))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://here") as client:
            answers = [(await client.get("/metrics")).status_code for _ in range(40)]
        assert answers == [503] * 40
        assert len([thread for thread in threading.enumerate() if thread.name == NAME]) == 1
        async with asyncio.timeout(20):
            await asyncio.to_thread(hung.answers.set)
    finally:
        hung.answers.set()
        REGISTRY.unregister(hung)
