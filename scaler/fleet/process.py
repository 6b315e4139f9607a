"""The `process` fleet: real workers as processes of this machine.

Each worker runs in a session of its own with a log file of its own, and survives the scaler's restart: its
number and start time are in a small file, and no other process is ever touched.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import structlog

from scaler.fleet.book import Book
from scaler.fleet.system import Process, collect, spawn
from scaler.snapshot import Machine
from shared.errors import Unavailable

log = structlog.get_logger()

T = TypeVar("T")

REMEMBERED_S = 600.0
"""How long a worker that ended is still told of."""
KILL_AFTER_S = 30.0
"""A worker that is to be terminated is asked once, and after this long no more."""
KILL_S = 5.0
LAST_WORDS = 300
POLL_S = 0.1


class ProcessFleet:
    """The workers of one queue on this machine.

    Args:
        queue: Its name, which the workers' ids begin with.
        command: The program and its arguments.
        environment: Of the workers; `LEVERET_WORKER_QUEUE` and `LEVERET_WORKER_ID` are added.
        log_dir: Where each worker's output goes, in a file of its own.
        state_file: Where the workers are remembered across restarts of the scaler.
        per_hour: What one costs; None: nobody has told.
    """

    def __init__(
        self,
        queue: str,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_dir: Path,
        state_file: Path,
        per_hour: Decimal | None = None,
    ) -> None:
        self._queue = queue
        self._command = command
        self._environment = environment
        self._log_dir = log_dir
        self._book = Book(state_file)
        self._per_hour = per_hour
        self._alive: dict[str, Process] = {}
        self._ended: dict[str, tuple[float, Machine]] = {}
        self._asked: dict[str, float] = {}
        self._turn = asyncio.Lock()

    async def machines(self) -> Sequence[Machine]:
        """The living, and those that ended within ten minutes.

        Raises:
            Unavailable: This machine's processes can't be read.
        """
        return await self._in_turn(self._list)

    async def launch(self, count: int, *, token: str) -> Sequence[str]:
        """Start workers; the ids follow from the token, so that the same one starts them once.

        Raises:
            Unavailable: The program or a log file can't be opened.
        """
        return await self._in_turn(lambda: self._launch(count, token))

    async def terminate(self, ids: Sequence[str]) -> None:
        """Ask processes to end, and make those end that were asked a while ago.

        Raises:
            Unavailable: One of them is not ours to signal.
        """
        await self._in_turn(lambda: self._terminate(ids))

    def alarms(self) -> Sequence[str]:
        """None: what goes wrong here is an error of the call."""
        return ()

    async def close(self, *, within_s: float) -> None:
        """Drain all workers and wait until they left; what is left over then is killed."""
        for number, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, KILL_S)):
            if await self._ended_by(number, patience_s):
                return
        log.error("scaler.workers_left", fleet=self._queue, workers=sorted(self._alive))

    async def _ended_by(self, number: int, patience_s: float) -> bool:
        await self._in_turn(lambda: self._signal_all(number))
        deadline = time.monotonic() + patience_s
        while await self._in_turn(self._refresh):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """One at a time and off the loop: it is all files and system calls.

        A thread can't be called off: who is, waits for its end, for the next one may not begin beside it.
        """
        async with self._turn:
            working = asyncio.create_task(asyncio.to_thread(work))
            try:
                with _translated():
                    return await asyncio.shield(working)
            finally:
                await asyncio.wait({working})

    def _list(self) -> Sequence[Machine]:
        price = self._per_hour
        living = [Machine(id=n, age_s=p.age_s, per_hour=price) for n, p in self._refresh().items()]
        return [*living, *(machine for _, machine in self._ended.values())]

    def _refresh(self) -> dict[str, Process]:
        """Adopt what the book knows, bury what ended, and return the living."""
        known = self._book.read() | self._alive
        self._ended = self._inherited() | self._ended
        self._alive = {name: process for name, process in known.items() if process.alive}
        for name in known.keys() - self._alive.keys() - self._ended.keys():
            self._bury(name, known[name])
        now = time.monotonic()
        self._ended = {name: end for name, end in self._ended.items() if now - end[0] < REMEMBERED_S}
        if known.keys() != self._alive.keys():
            self._write()
        return self._alive

    def _inherited(self) -> dict[str, tuple[float, Machine]]:
        """Those that ended under an earlier scaler: their rows may not tell it, if the database was away."""
        ends = self._book.ended().items()
        return {name: (at, Machine(id=name, age_s=0.0, alive=False, inherited=True)) for name, at in ends}

    def _write(self) -> None:
        self._book.write(self._alive, {name: at for name, (at, _) in self._ended.items()})

    def _bury(self, name: str, process: Process) -> None:
        lived_s = process.age_s
        code = collect(process)
        why = f"exit code {'unknown' if code is None else code} after {lived_s:.1f} s"
        last = _last_line(self._log_of(name))
        self._ended[name] = (
            time.monotonic(),
            Machine(
                id=name,
                age_s=lived_s,
                alive=False,
                exit=f"{why}; last words: {last}" if last else why,
                per_hour=self._per_hour,
            ),
        )
        self._asked.pop(name, None)
        log.info("scaler.worker_ended", worker=name, exit=why)

    def _launch(self, count: int, token: str) -> Sequence[str]:
        names = [f"{self._queue}-{token[:10]}-{number}" for number in range(count)]
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with self._book.locked():
            present = self._refresh().keys() | self._ended.keys()
            for name in names:
                if name not in present:
                    self._start(name)
        return names

    def _start(self, name: str) -> None:
        own = {"LEVERET_WORKER_QUEUE": self._queue, "LEVERET_WORKER_ID": name}
        process = spawn(self._command, {**self._environment, **own}, self._log_of(name))
        self._alive[name] = process
        self._write()
        log.info("scaler.worker_started", worker=name, pid=process.pid, log=str(self._log_of(name)))

    def _terminate(self, ids: Sequence[str]) -> None:
        now = time.monotonic()
        for name in ids:
            process = self._alive.get(name)
            if process is None:
                continue
            asked_at = self._asked.setdefault(name, now)
            late = now - asked_at > KILL_AFTER_S
            process.send(signal.SIGKILL if late else signal.SIGTERM, group=late)

    def _signal_all(self, number: int) -> None:
        for process in self._refresh().values():
            process.send(number, group=number == signal.SIGKILL)

    def _log_of(self, name: str) -> Path:
        return self._log_dir / f"worker-{name}.log"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"processes of this machine: {error}") from error


def _last_line(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - 4096))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][-LAST_WORDS:] if lines else ""
