"""Free local ports, kept out of the kernel's range for outgoing connections."""

from __future__ import annotations

import secrets
import socket

LOWEST, HIGHEST = 15_000, 21_999
TWIN_OFFSET = 10_000
"""SeaweedFS takes P + 10000 beside each port P; every port is chosen so that its twin is free as well."""


def free_ports(count: int) -> list[int]:
    """Choose `count` different ports that are free on 127.0.0.1 together with their twins."""
    chosen: set[int] = set()
    while len(chosen) < count:
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST + 1)
        if is_free(port) and is_free(port + TWIN_OFFSET):
            chosen.add(port)
    return list(chosen)


def is_free(port: int) -> bool:
    """Can a server listen on this port of 127.0.0.1 now?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
