"""The engine process: frames in, one job at a time on the main thread, frames out.

The main thread runs the algorithms, since CUDA contexts, signal handlers and some libraries want it. A second
thread only reads: it can cancel a graph that is running, and it ends the process when the worker is gone.
What was started here ends with the process: see `keeper`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_worker.engine.failure import describe
from gpu_worker.engine.job import CanceledError, Job
from gpu_worker.engine.protocol import Channel, Frame, ProtocolError
from gpu_worker.engine.runner import Request, Runner
from gpu_worker.engine.spec import spec_of

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(fd: int, device: str) -> None:
    """Serve the worker at the other end of the socket until it says stop or goes away."""
    os.set_inheritable(fd, False)  # noqa: FBT003  the call's own form; an algorithm's own processes must not hold the line open
    with socket.socket(fileno=fd) as connection:
        Service(Channel(connection), device).run()


class Service:
    """The models of this process and the job in hand."""

    def __init__(self, channel: Channel, device: str) -> None:
        self._channel = channel
        self._device = device
        self._inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._models: dict[str, Runner] = {}
        self._now: tuple[int, Job, Runner] | None = None
        self._canceled: set[int] = set()

    def run(self) -> None:
        """Answer frames until `stop`."""
        threading.Thread(target=self._read, name="frames", daemon=True).start()
        self._channel.send({"op": "ready", "pid": os.getpid(), "python": sys.version.split()[0]})
        while (frame := self._inbox.get())["op"] != "stop":
            self._answer(frame, {"load": self._load, "run": self._run}[frame["op"]])

    def _read(self) -> None:
        with contextlib.suppress(OSError, ProtocolError):
            while (frame := self._channel.receive()) is not None:
                if frame["op"] == "cancel":
                    self._cancel(frame["id"])
                else:
                    self._inbox.put(frame)
        os.killpg(0, signal.SIGKILL)  # the worker is gone: leave at once, with all that was started here

    def _answer(self, frame: Frame, act: Callable[[Frame], Frame]) -> None:
        try:
            reply = {"op": "done"} | act(frame)
        except BaseException as error:  # noqa: BLE001  the execution step: an algorithm may raise anything, SystemExit too
            reply = {"op": "failed"} | describe(error, canceled=frame["id"] in self._canceled)
        self._canceled.discard(frame["id"])
        _flush()  # before the answer: what was printed must be in the pipe when the worker reads it
        self._channel.send(reply | {"id": frame["id"]})

    def _load(self, frame: Frame) -> Frame:
        started = time.perf_counter()
        spec = spec_of(frame["model"], Path(frame["model"]["folder"]))
        runner = Runner(spec, self._device)
        self._models[spec.ref] = runner
        providers = runner.session.providers if runner.session else []
        return {"load_s": round(time.perf_counter() - started, 6), "providers": providers}

    def _run(self, frame: Frame) -> Frame:
        number, runner = frame["id"], self._models[frame["model"]]
        job = Job(frame["job_id"], lambda value: self._progress(number, value))
        try:
            self._now = (number, job, runner)
            if number in self._canceled:  # asked before the line above was reached
                raise CanceledError
            return runner.run(Request(frame["inputs"], frame["params"], Path(frame["scratch"])), job)
        finally:
            self._now = None

    def _cancel(self, number: int) -> None:
        self._canceled.add(number)
        now = self._now
        if now is not None and now[0] == number:
            now[1].cancel()
            now[2].cancel()

    def _progress(self, number: int, value: float) -> None:
        self._channel.send({"op": "progress", "id": number, "value": value})


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            OSError, ValueError, AttributeError
        ):  # an algorithm may have closed or replaced it
            stream.flush()
