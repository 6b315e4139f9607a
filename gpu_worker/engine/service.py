"""The engine process: frames in, three stages side by side, frames out.

    reader    takes frames; cancels; ends the process when the worker is gone
    prepare   decodes and prepares the next jobs                     ┐ only where a model's steps stand apart
    device    the main thread: loads models, infers batches          │ (see Runner.apart), else all of a job
    finish    finishes and encodes the last jobs                     ┘ runs on the device's thread

Each stage has one thread, so no step of a handler ever runs beside itself. CUDA contexts, signal handlers and
some libraries want the main thread, hence it is the device's. Before a stage begins with a job it says so:
the worker counts each job's time, and charges a crash to those that were in a stage, and to nobody in a line.
What was started here ends with the process: see `keeper`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_worker.engine.failure import describe
from gpu_worker.engine.job import CanceledError, Job
from gpu_worker.engine.line import Line, Work
from gpu_worker.engine.memory import memory_mb
from gpu_worker.engine.printing import NOBODY, listen, speaking
from gpu_worker.engine.protocol import Channel, Frame, ProtocolError
from gpu_worker.engine.runner import Request, Runner, timed
from gpu_worker.engine.spec import spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOAD, _STOP = 100, 101
"""Before every job: a load's time is counted from its frame's arrival at the device."""


def serve(fd: int, device: str) -> None:
    """Serve the worker at the other end of the socket until it says stop or goes away."""
    os.set_inheritable(fd, False)  # noqa: FBT003  the call's own form; an algorithm's own processes must not hold the line open
    listen()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as an exception it would meet whoever is at the device
    with socket.socket(fileno=fd) as connection:
        Service(Channel(connection), device).run()


class Service:
    """The models of this process and the jobs on their way through it."""

    def __init__(self, channel: Channel, device: str) -> None:
        self._channel = channel
        self._device = device
        self._models: dict[str, Runner] = {}
        self._to_prepare, self._to_infer, self._to_finish = Line(), Line(), Line()
        self._works: dict[int, Work] = {}
        self._computing: list[Work] = []
        self._canceled: set[int] = set()
        self._ending = threading.Lock()
        """Held while it is decided whom a cancel meets."""
        self._answers: list[Frame] = []
        """Of the device's thread, to leave with what it says next."""

    def run(self) -> None:
        """Answer frames until `stop`."""
        for name, target in (
            ("frames", self._read),
            ("prepare", self._prepare_all),
            ("finish", self._finish_all),
        ):
            threading.Thread(target=target, name=name, daemon=True).start()
        self._channel.send({"op": "ready", "pid": os.getpid(), "python": sys.version.split()[0]})
        while self._serve_next():
            pass
        self._say()

    def _serve_next(self) -> bool:
        """One entry; nothing of it is held while the next one is waited for, or its model could not leave."""
        entry = self._to_infer.take(self._rest)
        if isinstance(entry, Work):
            self._compute(entry)
        elif entry is not None:
            acts = {"load": self._load, "unload": self._unload}
            acts[entry["op"]](entry)
        return entry is not None

    # --- the reader's thread

    def _read(self) -> None:
        acts: dict[str, Callable[[Frame], None]] = {
            "run": self._begin,
            "cancel": self._cancel,
            "load": lambda frame: self._to_infer.put(frame, _LOAD),
            "unload": lambda frame: self._to_infer.put(frame, _LOAD),
            "stop": lambda _: self._to_infer.put(None, _STOP),
        }
        try:
            with contextlib.suppress(OSError, ProtocolError):
                while (frame := self._channel.receive()) is not None:
                    acts[frame["op"]](frame)
        finally:
            os.killpg(0, signal.SIGKILL)  # the worker is gone: leave at once, with all that was started here

    def _begin(self, frame: Frame) -> None:
        number = frame["id"]
        job = Job(frame["job_id"], lambda value: self._progress(number, value))
        request = Request(frame["inputs"], frame["params"], Path(frame["scratch"]))
        work = Work(number, frame["priority"], self._models[frame["model"]], request, job)
        self._works[number] = work
        line = self._to_prepare if work.runner.apart else self._to_infer
        line.put(work, work.priority)

    def _cancel(self, frame: Frame) -> None:
        work = self._works.get(frame["id"])
        if work is None:
            return
        with self._ending:
            self._canceled.add(work.number)
            work.job.cancel()
            if work in self._computing:
                work.runner.cancel()
        self._refuse_in_line(work)

    def _refuse_in_line(self, work: Work) -> None:
        """Answer a canceled job that stands in line, and need not wait for its turn."""
        lines = (self._to_prepare, self._to_infer, self._to_finish)
        if work.number in self._canceled and any(line.drop(work) for line in lines):
            self._step(work, _refuse)

    def _progress(self, number: int, value: float) -> None:
        self._channel.send({"op": "progress", "id": number, "value": value})

    # --- the stages

    def _prepare_all(self) -> None:
        while True:
            self._prepare_next()

    def _prepare_next(self) -> None:
        work: Work = self._to_prepare.take(lambda: self._at("prepare", []))
        with work.runner.turn():
            self._at("prepare", [work])
            done = self._step(work, self._prepare)
        if done:
            self._pass_on(work, self._to_infer)

    def _finish_all(self) -> None:
        while True:
            self._finish_next()

    def _finish_next(self) -> None:
        work: Work = self._to_finish.take(lambda: self._at("finish", []))
        with work.runner.turn():
            self._at("finish", [work])
            if self._step(work, self._finish):
                self._answer(work)

    def _compute(self, first: Work) -> None:
        """One batch through the device; a job of a handler whose steps stand together goes through all."""
        batch = [first, *self._others_like(first)]
        with first.runner.turn():
            self._at_device(batch)
            if not first.runner.apart:
                batch = [work for work in batch if self._step(work, self._prepare)]
            for work in self._inferred(batch):
                if first.runner.apart:
                    self._pass_on(work, self._to_finish)
                elif self._step(work, self._finish):
                    self._answer(work)

    def _pass_on(self, work: Work, line: Line) -> None:
        line.put(work, work.priority)
        self._refuse_in_line(work)

    def _at_device(self, works: list[Work]) -> None:
        self._say({"op": "at", "stage": "device", "ids": [work.number for work in works]})

    def _rest(self) -> None:
        self._at_device([])

    def _say(self, *frames: Frame) -> None:
        """Send what the device's thread has to tell, the answers that it has kept first."""
        answers, self._answers = self._answers, []
        if answers or frames:
            self._channel.send(*answers, *frames)

    def _others_like(self, first: Work) -> list[Work]:
        batching = first.runner.batching
        if batching is None or first.job.cancelled:
            return []
        return self._to_infer.take_like(
            lambda entry: (
                isinstance(entry, Work) and entry.runner is first.runner and entry.kind == first.kind
            ),
            batching.max_size - 1,
            batching.max_delay_s,
            self._rest,
        )

    def _inferred(self, batch: list[Work]) -> Iterator[Work]:
        """Those that succeeded: together, or, when that failed, one by one."""
        if len(batch) > 1 and self._together(batch):
            yield from batch
            return
        for work in batch:
            if len(batch) > 1:
                self._at_device([work])
            if self._step(work, lambda each: self._infer([each])):
                yield work

    def _together(self, batch: list[Work]) -> bool:
        with contextlib.suppress(BaseException), speaking(NOBODY):
            self._infer(batch)
            return True
        return False

    # --- the steps

    def _prepare(self, work: Work) -> None:
        with timed(work.timings, "prepare_s", work.began):
            work.item = work.runner.prepare(work.request, work.job)
            if work.runner.batching is not None:
                work.kind = work.runner.shape_of(work.item)

    def _infer(self, batch: list[Work]) -> None:
        runner = batch[0].runner
        with self._ending:  # no cancel falls between these lines
            runner.rearm()
            for work in batch:
                self._check(work)
            self._computing = batch
        began = time.perf_counter()
        try:
            raws = runner.infer([work.item for work in batch])
        finally:
            with self._ending:
                self._computing = []
            took = round(time.perf_counter() - began, 6)
            for work in batch:
                work.timings["infer_s"], work.began["infer"], work.batch_size = took, began, len(batch)
        for work, raw in zip(batch, raws, strict=True):
            work.raw = raw

    def _finish(self, work: Work) -> None:
        with timed(work.timings, "finish_s", work.began):
            outputs = work.runner.finish(work.item, work.raw, work.request.scratch, inline=True)
        work.raw = {"op": "done", "outputs": outputs}

    def _step(self, work: Work, step: Callable[[Work], None]) -> bool:
        """Do one step of one job; False, and the job is answered, when it failed."""
        try:
            with speaking(work.number):
                self._check(work)
                step(work)
        except BaseException as error:  # noqa: BLE001  the execution step: an algorithm may raise anything, SystemExit too
            work.raw = {"op": "failed"} | describe(error, canceled=work.number in self._canceled)
            self._answer(work)
            return False
        return True

    def _check(self, work: Work) -> None:
        if work.number in self._canceled:
            raise CanceledError

    def _load(self, frame: Frame) -> None:
        self._say({"op": "at", "stage": "device", "ids": [frame["id"]]})
        began, before = time.perf_counter(), memory_mb()
        try:
            spec = spec_of(frame["model"], Path(frame["model"]["folder"]))
            with speaking(frame["id"]):
                runner = self._models[spec.ref] = Runner(spec, self._device)
            places = (
                {"providers": runner.session.providers, "nodes": runner.session.nodes}
                if runner.session
                else {}
            )
            took = round(time.perf_counter() - began, 6)
            grown = round(max(memory_mb() - before, runner.weights_mb), 1)
            reply: Frame = {"op": "done", "load_s": took, "memory_mb": grown, **places}
        except BaseException as error:  # noqa: BLE001  the execution step: a model's own code is loaded
            reply = {"op": "failed"} | describe(error)
        _flush()
        self._channel.send(reply | {"id": frame["id"]})

    def _unload(self, frame: Frame) -> None:
        """Let a model go that no job needs: the worker sees to that."""
        self._say({"op": "at", "stage": "device", "ids": [frame["id"]]})
        self._models.pop(frame["model"], None)
        gc.collect()  # sessions and tensors in cycles hold the device's memory
        self._say({"op": "done", "id": frame["id"]})

    def _answer(self, work: Work) -> None:
        self._works.pop(work.number, None)
        self._canceled.discard(work.number)
        _flush()  # before the answer: what was printed must be in the pipe when the worker reads it
        told: dict[str, Any] = {
            "id": work.number,
            "timings": work.timings,
            "began": work.began,
            "batch_size": work.batch_size,
        }
        reply = work.raw | told
        if threading.current_thread() is threading.main_thread():
            self._answers.append(reply)
        else:
            self._channel.send(reply)

    def _at(self, stage: str, works: list[Work]) -> None:
        self._channel.send({"op": "at", "stage": stage, "ids": [work.number for work in works]})


def _refuse(_: Work) -> None:
    raise CanceledError


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            OSError, ValueError, AttributeError
        ):  # an algorithm may have closed or replaced it
            stream.flush()
