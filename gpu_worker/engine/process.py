"""One engine process as its parent sees it: started by exec, spoken to in frames, killed whole.

Several requests may be inside. The process says whom each of its stages works on (`at`), so that every
request's own time is counted, and that who only stood in line when it ended is told so (`EngineDied.inside`).
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
from gpu_worker.engine.ask import Ask
from gpu_worker.engine.memory import memory_mb
from gpu_worker.engine.meter import Meter
from gpu_worker.engine.output import OutputPipe, OutputTail
from gpu_worker.engine.protocol import HEADER, Frame, ProtocolError, body_size, pack, unpack
from shared.errors import EngineDied, ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_LAST_FRAMES_S = 1.0
_KEEPER_S = 10.0
_CHUNK = 256 * 1024
_LOOK_S = 0.1
"""How often requests are looked at for their time limit."""
_STAGES = ("prepare", "device", "finish")
_FORGED = (ProtocolError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError)
"""What frames of another form raise: an `id` that is a list, a `value` that no float holds."""


class EngineProcess:
    """A running engine. When it ends, for whatever reason, every request in flight fails with EngineDied."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        output: OutputPipe,
        device: launch.Device,
    ) -> None:
        self._process = process
        self._device = device
        self._reader, self._writer = streams
        self.output = output
        self._numbers = itertools.count(1)
        self._asks: dict[int, Ask] = {}
        self._stages: dict[str, list[Ask]] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._broken = ""
        self._ready: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._killed = self._over = False
        self._outbox: list[bytes] = []
        self._culprit: Ask | None = None
        self.most_mb = 0
        """Of memory, above which it is killed; 0 for no limit."""
        self.meter = Meter()
        """Of its device stage."""
        self._exit = asyncio.create_task(process.wait(), name=f"engine-exit-{process.pid}")
        self._reading = asyncio.create_task(self._read(), name=f"engine-frames-{process.pid}")
        self._ending = asyncio.create_task(self._watch(), name=f"engine-end-{process.pid}")

    @classmethod
    async def start(cls, interpreter: str | None, device: launch.Device, folder: Path) -> EngineProcess:
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
                *launch.command(interpreter, "serve", "--fd", str(theirs.fileno()), "--device", device.kind),
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
        return cls(process, streams, OutputPipe(read_end), device)

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

    def memory_mb(self) -> float:
        """Resident memory of the engine below the keeper; 0 where it is gone."""
        came_up = self._ready.done() and not self._ready.exception()
        return memory_mb(int(self._ready.result()["pid"])) if came_up else 0.0

    async def request(self, ask: Ask) -> Frame:
        """Send a request and wait for its `done` or `failed` frame.

        Raises:
            EngineDied: The process ended before it answered; `inside` says whether it was in a stage then.
        """
        ask.number = next(self._numbers)
        self._asks[ask.number] = ask
        self.output.open(ask.number, ask.log)
        try:
            self.send(ask.frame | {"id": ask.number})
            self._look_soon()
            return await ask.reply
        finally:
            if not ask.begun and ask.reply.cancelled() and self.alive:
                self._abandon(ask)
            else:
                self._forget(ask)

    def _abandon(self, ask: Ask) -> None:
        """Its caller left while it stood in line: the process refuses it when its turn comes.

        Until then its time is watched, should it have begun in just this moment.
        """
        ask.abandoned = True
        ask.reply = asyncio.get_running_loop().create_future()
        ask.reply.add_done_callback(lambda _: self._forget(ask))
        self.cancel(ask)

    def _forget(self, ask: Ask) -> None:
        self._asks.pop(ask.number, None)
        self.output.shut(ask.number)

    def cancel(self, ask: Ask) -> None:
        """Ask it to end this request; whether it does is the algorithm's affair."""
        if self.alive and ask.number in self._asks:
            self.send({"op": "cancel", "id": ask.number})

    def send(self, frame: Frame) -> None:
        """Send one frame.

        Raises:
            EngineDied: The process has ended.
        """
        if not self.alive:
            raise EngineDied(self._epitaph(OutputTail()), inside=False)
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(pack(frame))

    def _flush(self) -> None:
        """What was sent in one turn of the loop leaves in one piece: each piece wakes the process."""
        data = b"".join(self._outbox)
        self._outbox.clear()
        if not (self._over or self._writer.is_closing()):  # it may just have died: `_watch` tells everybody
            self._writer.write(data)  # small frames to a process that reads all the time: no drain

    def kill(self, because: str = "", *, over: Ask | None = None) -> None:
        """End the process and all that it started, at once.

        Args:
            because: For its requests' errors.
            over: The request that it is about; the others are not to blame.
        """
        self._broken = self._broken or because
        if self.alive:  # whoever ended it before this is to blame
            self._culprit = self._culprit or over
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
        received = bytearray()
        try:
            while chunk := await self._reader.read(_CHUNK):
                received += chunk
                self._take_all(received)
        except OSError:
            pass  # a death closes the line, too
        except _FORGED:
            self.kill("sent what is no frame, and was ended")
            return
        await asyncio.wait([self._exit], timeout=_LAST_FRAMES_S)
        self.kill("" if self._exit.done() else "closed its line to the worker, and was ended")

    def _take_all(self, received: bytearray) -> None:
        """Every whole frame; the rest stays for what comes next."""
        start = 0
        while len(received) - start >= HEADER.size:
            begin = start + HEADER.size
            end = begin + body_size(bytes(received[start:begin]))
            if len(received) < end:
                break
            self._take(unpack(bytes(received[begin:end])))
            start = end
        del received[:start]

    def _take(self, frame: Frame) -> None:
        if frame["op"] == "at":
            if frame["stage"] not in _STAGES:
                raise ProtocolError("a stage that there is not")
            self._enter(frame["stage"], frame["ids"])
        elif frame["op"] == "progress":
            ask = self._asks.get(frame["id"])
            if ask is not None and ask.on_progress is not None and 0 <= (told := float(frame["value"])) <= 1:
                ask.on_progress(told)  # anything else is forged
        elif frame["op"] == "ready":
            _settle(self._ready, frame)
        elif (ask := self._asks.get(frame["id"])) is not None:
            _settle(ask.reply, self._believed(frame))

    def _believed(self, frame: Frame) -> Frame:
        """Only a GPU can be missing: elsewhere an algorithm says so, and would end its worker."""
        if frame.get("kind") == "device_missing" and self._device.kind == "cpu":
            return frame | {"kind": "algorithm"}
        return frame

    def _enter(self, stage: str, numbers: list[int]) -> None:
        if stage == "device":
            self.meter.mark(busy=bool(numbers))
        now = asyncio.get_running_loop().time()
        entering = [self._asks[number] for number in numbers if number in self._asks]
        leaving, self._stages[stage] = self._stages.get(stage, []), entering
        for ask in leaving:  # it may be in the next stage already
            if not any(ask in others for others in self._stages.values()):
                ask.leave(now)
        mates = tuple(ask.label for ask in entering) if len(entering) > 1 else ()
        for ask in entering:
            ask.enter(now)
            if stage == "device":
                ask.together = mates

    def _look_soon(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        """End the process over a request whose time is up, or over its memory.

        Nothing less ends Python code that hangs; and the kernel, short of memory, may choose somebody else.
        """
        self._looking = None
        now = asyncio.get_running_loop().time()
        for ask in self._asks.values():
            if ask.left_s(now) <= 0 and not ask.reply.done():
                ask.overdue = True
                self.kill(f"was killed: a job was at work for more than {ask.limit_s:g} s", over=ask)
                return
        if self.most_mb and (held := self.memory_mb()) > self.most_mb:
            self.kill(f"was killed: it held {held:.0f} MB of memory, more than {self.most_mb} MB")
        elif self._asks and not self._killed:
            self._look_soon()

    async def _watch(self) -> None:
        await self._exit
        self._killed = True
        self.meter.mark(busy=False)
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
        _end(self._ready, EngineDied(self._epitaph(self.output.early)))
        for ask in self._asks.values():
            to_blame = ask.inside if self._culprit is None else ask is self._culprit
            _end(ask.reply, EngineDied(self._epitaph(ask.log), inside=to_blame))

    def _end_group(self) -> None:
        """A keeper killed by force (short of memory, say) left the engine's group to us."""
        came_up = self._ready.done() and not self._ready.exception()
        group = self._ready.result().get("pid") if came_up else None
        if self._process.returncode == -signal.SIGKILL and isinstance(group, int) and group > 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def _epitaph(self, log: OutputTail) -> str:
        code = self._process.returncode or 0
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
        printed = log.last_words()
        return f"the engine process {self._broken or how}" + (f"; it printed: {printed}" if printed else "")


def _end(future: asyncio.Future[Frame], error: EngineDied) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # taken: nobody may be waiting for it any more


def _settle(future: asyncio.Future[Frame] | None, frame: Frame) -> None:
    if future is not None and not future.done():
        future.set_result(frame)


def _signal_name(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return f"{name} (as the kernel does when memory runs out)" if number == signal.SIGKILL else name
