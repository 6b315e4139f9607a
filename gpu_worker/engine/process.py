"""One engine process as its parent sees it: started by exec, spoken to in frames, killed whole.

What is started is the engine's keeper (see `keeper`), which ends all that it leaves behind, then as it did.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
from typing import TYPE_CHECKING

from gpu_worker.engine import launch
from gpu_worker.engine.output import OutputPipe
from gpu_worker.engine.protocol import HEADER, Frame, ProtocolError, body_size, pack, unpack
from shared.errors import EngineDied, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LAST_FRAMES_S = 1.0
_KEEPER_S = 10.0


class EngineProcess:
    """A running engine. When it ends, for whatever reason, every request in flight fails with EngineDied."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        output: OutputPipe,
    ) -> None:
        self._process = process
        self._reader, self._writer = streams
        self.output = output
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._progress: dict[int, Callable[[float], None]] = {}
        self._broken = ""
        self._ready: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._killed = self._over = False
        self._exit = asyncio.create_task(process.wait(), name=f"engine-exit-{process.pid}")
        self._reading = asyncio.create_task(self._read(), name=f"engine-frames-{process.pid}")
        self._ending = asyncio.create_task(self._watch(), name=f"engine-end-{process.pid}")

    @classmethod
    async def start(cls, interpreter: str | None, device: str, folder: Path) -> EngineProcess:
        """Start `interpreter` (None: this one) with its private files in `folder`.

        Raises:
            ModelUnavailable: There is no such interpreter here.
        """
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        streams = await asyncio.open_connection(
            sock=ours
        )  # before the start: nothing may come between it and us
        try:
            process = await asyncio.create_subprocess_exec(
                *launch.command(interpreter, "serve", "--fd", str(theirs.fileno()), "--device", device),
                env=launch.environment(folder, device=device),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # its own group: an interpreter may be a script around the real one
            )
        except BaseException as error:
            streams[1].close()
            os.close(read_end)
            if isinstance(error, OSError):
                raise ModelUnavailable(f"can't start {interpreter or 'Python'}: {error.strerror}") from error
            raise
        finally:
            theirs.close()
            os.close(write_end)
        return cls(process, streams, OutputPipe(read_end))

    @property
    def pid(self) -> int:
        """The process id of its keeper, which is its group's too."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return not self._killed and not self._exit.done()

    async def ready(self) -> Frame:
        """Wait until it has come up; its `ready` frame.

        Raises:
            EngineDied: It ended instead.
        """
        frame: Frame = await asyncio.shield(self._ready)
        return frame

    async def request(
        self,
        frame: Frame,
        *,
        on_sent: Callable[[int], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Frame:
        """Send a request and wait for its `done` or `failed` frame; `on_sent` gets the request's number.

        Raises:
            EngineDied: The process ended before it answered.
        """
        number = next(self._numbers)
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        self._progress[number] = on_progress or _ignore
        (on_sent or _ignore)(number)
        try:
            self.send(frame | {"id": number})
            return await reply
        finally:
            del self._replies[number], self._progress[number]

    def send(self, frame: Frame) -> None:
        """Send one frame.

        Raises:
            EngineDied: The process has ended.
        """
        if not self.alive:
            raise EngineDied(self._epitaph())
        self._writer.write(pack(frame))  # small frames to a process that reads all the time: no drain

    def kill(self, because: str = "") -> None:
        """End the process and all that it started, at once; `because` goes into its requests' errors."""
        self._broken = self._broken or because
        self._killed = True
        self._signal(signal.SIGTERM)  # for its keeper, who kills the rest
        asyncio.get_running_loop().call_later(_KEEPER_S, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._over:
            return  # its number may be another process's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def ended(self) -> None:
        """Wait until the process is gone and nothing of it is left open here."""
        await asyncio.shield(self._ending)

    async def _read(self) -> None:
        try:
            while True:
                size = body_size(await self._reader.readexactly(HEADER.size))
                self._take(unpack(await self._reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            await asyncio.wait([self._exit], timeout=_LAST_FRAMES_S)  # a death closes the line, too
            self.kill("" if self._exit.done() else "closed its line to the worker, and was ended")
        except (ProtocolError, KeyError, TypeError, ValueError):
            self.kill("sent what is no frame, and was ended")

    def _take(self, frame: Frame) -> None:
        if frame["op"] == "ready":
            _settle(self._ready, frame)
        elif frame["op"] == "progress":
            self._progress.get(frame["id"], _ignore)(float(frame["value"]))
        else:
            _settle(self._replies.get(frame["id"]), frame)

    async def _watch(self) -> None:
        await self._exit
        self._killed = True
        self._signal(
            signal.SIGTERM
        )  # a script around the interpreter may leave the keeper, and the pipe open
        self._end_group()
        await asyncio.wait([self._reading], timeout=_LAST_FRAMES_S)
        self._reading.cancel()
        self._over = True
        self.output.drain()
        self.output.close()
        self._writer.close()
        for future in (self._ready, *self._replies.values()):
            if not future.done():
                future.set_exception(EngineDied(self._epitaph()))
                future.exception()  # taken: nobody may be waiting for `ready` any more

    def _end_group(self) -> None:
        """A keeper killed by force (short of memory, say) left the engine's group to us."""
        came_up = self._ready.done() and not self._ready.exception()
        group = self._ready.result().get("pid") if came_up else None
        if self._process.returncode == -signal.SIGKILL and isinstance(group, int) and group > 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def _epitaph(self) -> str:
        code = self._process.returncode or 0
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
        printed = self.output.tail.last_words()
        return f"the engine process {self._broken or how}" + (f"; it printed: {printed}" if printed else "")


def _ignore(_: object) -> None:
    pass


def _settle(future: asyncio.Future[Frame] | None, frame: Frame) -> None:
    if future is not None and not future.done():
        future.set_result(frame)


def _signal_name(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name} (as the kernel does when memory runs out)" if number == signal.SIGKILL else name
