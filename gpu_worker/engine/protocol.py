"""The frames between a worker and its engine: four bytes of length, then JSON. Nothing is ever unpickled.

Inputs and outputs travel as files; a frame carries names, paths, short texts and small values.

    worker → engine   load {id, model}   run {id, model, priority, inputs, params, scratch}
                      cancel {id}   stop
    engine → worker   ready {pid, python}   at {stage, ids}   progress {id, value}
                      done {id, …}   failed {id, kind, …}

`at` says whom a stage works on from now on: those named in its last `at`, and nobody else.
"""

from __future__ import annotations

import json
import struct
import threading
from typing import TYPE_CHECKING, Any

from gpu_worker.engine.own import OwnProcess

if TYPE_CHECKING:
    import socket

Frame = dict[str, Any]

MAX_FRAME_BYTES = 16 * 1024 * 1024
HEADER = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side sent something that is no frame."""


def pack(frame: Frame) -> bytes:
    """One frame as bytes."""
    body = json.dumps(frame, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(body)} bytes; at most {MAX_FRAME_BYTES} fit")
    return HEADER.pack(len(body)) + body


def body_size(header: bytes) -> int:
    """The length that a header announces."""
    (size,) = HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {size} bytes was announced; at most {MAX_FRAME_BYTES} are accepted")
    return int(size)


def unpack(body: bytes) -> Frame:
    """One frame from its body."""
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("op"), str):
        raise ProtocolError("not an object with an `op`")
    return frame


class Channel:
    """The engine's end of the socket; any thread may send, one thread receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")  # buffered: many small frames, one call
        self._sending = threading.Lock()
        self._own = OwnProcess()

    def send(self, *frames: Frame) -> None:
        """Send frames whole, in one piece: each piece wakes the worker.

        A child that an algorithm forked ends here, should it speak for its parent.
        """
        self._own.check()
        data = b"".join(map(pack, frames))
        with self._sending:
            self._connection.sendall(data)

    def receive(self) -> Frame | None:
        """The next frame; None when the worker is gone."""
        header = self._stream.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        size = body_size(header)
        body = self._stream.read(size)
        return unpack(body) if len(body) == size else None
