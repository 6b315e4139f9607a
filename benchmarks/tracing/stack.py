"""Whole jobs through a real gateway and worker: the processor time that each of the two spends on one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks import load
from benchmarks.leveret import Leveret

CLIENTS = 8
SLOTS = 8
WARM = 100
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of a processor for each job, user and system together."""

    gateway: float
    worker: float

    @property
    def both(self) -> float:
        """Of the two processes."""
        return self.gateway + self.worker


async def measured(folder: Path, settings: Mapping[str, str], jobs: int) -> Used:
    """Run so many jobs that do nothing, each waited for."""
    side = Leveret(folder, settings)
    await side.start()
    try:
        await side.start_worker(SLOTS)
        await load.run_count(side.url, side.submit_and_wait, clients=CLIENTS, count=WARM)
        pids = side.pids()
        before = {name: _spent(pids[name]) for name in ("gateway", "worker")}
        await load.run_count(side.url, side.submit_and_wait, clients=CLIENTS, count=jobs)
        used = {name: (_spent(pids[name]) - before[name]) / jobs for name in before}
    finally:
        await side.stop_worker()
        await side.stop()
    return Used(**used)


def _spent(pid: int) -> float:
    """A process's own processor seconds; of those it started, its engine, nothing is in it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def collector() -> Iterator[str]:
    """The address of a receiver that takes everything and looks at nothing."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
