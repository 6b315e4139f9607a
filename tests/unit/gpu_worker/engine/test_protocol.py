from __future__ import annotations

import socket

import pytest

from gpu_worker.engine.protocol import MAX_FRAME_BYTES, Channel, ProtocolError, body_size, pack, unpack


def test_a_frame_comes_out_as_it_went_in() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Channel(ours).send({"op": "run", "name": "größe", "value": [1, None]})
        assert Channel(theirs).receive() == {"op": "run", "name": "größe", "value": [1, None]}


def test_a_closed_line_is_none() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\0\0\0\x05{")
        ours.close()
        assert Channel(theirs).receive() is None


@pytest.mark.parametrize("body", [b"x", b"[]", b"{}", b'{"op": 3}', b"[" * 100_000])
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(body)


def test_an_endless_frame_is_refused() -> None:
    with pytest.raises(ProtocolError):
        body_size((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ProtocolError):
        pack({"op": "x" * MAX_FRAME_BYTES})
