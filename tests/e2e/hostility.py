"""What the hostile cases are made of: their catalog, their company, and what is measured beside them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import struct
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.client import AsyncClient, AsyncJob
from shared.catalog import write_index
from tests import onnx_graphs as graphs
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, WorkerProcess

MODELS = Path(__file__).parent / "models"
BESIDE, APART = "hostile_beside", "hostile_apart"
PICTURE = """
name = "hostile_picture"
version = "1"
queue = "hostile"
backend = "onnx"
handler = "gpu_worker.handlers.images:ImageToImage"
file = "m.onnx"
timeout_s = 60
[inputs.image]
kind = "image"
[outputs.result]
kind = "image"
"""
GRAPH = """
name = "hostile_graph"
version = "1"
queue = "hostile"
backend = "onnx"
handler = "gpu_worker.handlers.tensors:Tensors"
file = "m.onnx"
timeout_s = 60
[inputs.x]
kind = "bytes"
[outputs.y]
kind = "bytes"
"""


def hostile_catalog(root: Path) -> None:
    """Every model but the two neighbours has something wrong with it, or does wrong."""
    for name in ("hostile", "hostile_shape"):
        shutil.copytree(MODELS / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    python = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    good_neighbour(root, BESIDE)
    good_neighbour(root, APART, f'interpreter = "{python}"')
    good_neighbour(root, "hostile_swapped")
    model_of_graph(root, "hostile_picture", PICTURE, graphs.identity(["n", 3, "h", "w"]))
    weight = np.arange(4, dtype=np.float32)
    (root.parent / "w.bin").write_bytes(weight.tobytes())
    model_of_graph(root, "hostile_graph", GRAPH, graphs.plus(graphs.outside("w", weight, "../../w.bin"), [4]))
    write_index(root)
    with (root / "hostile_swapped" / "gated.py").open("a") as code:
        code.write("# not what was published\n")


def good_neighbour(root: Path, name: str, extra: str = "") -> None:
    """The gated algorithm for this worker."""
    folder = shutil.copytree(MODELS / "gated", root / name)
    table = (folder / "model.toml").read_text()
    table = table.replace('name = "gated"', f'name = "{name}"').replace('"steady"', '"hostile"')
    (folder / "model.toml").write_text(f"{extra}\n{table}")


def model_of_graph(root: Path, name: str, table: str, graph: bytes) -> None:
    folder = root / name
    folder.mkdir()
    (folder / "model.toml").write_text(table)
    (folder / "m.onnx").write_bytes(graph)


@dataclass(frozen=True, slots=True)
class Company:
    """Sends a hostile job in the company of good ones."""

    caller: AsyncClient
    worker: WorkerProcess
    books: Books
    gate: Gate

    async def misdeed(self, deed: str, note: Any = 1, **options: Any) -> AsyncJob:
        """A job that does this while another one stands in line behind it; returned as it ended."""
        params = {"deed": deed, **self.gate.params}
        job = await self.caller.submit("hostile", note=note, params=params, **options)
        await self.gate.until_runs(1)
        beside = await self._in_hand(BESIDE, note="beside")
        self.gate.open()
        await job.wait(check=False)
        await unharmed(beside, self.books)
        return job

    async def failing(self, model: str, **inputs: Any) -> AsyncJob:
        """A job of a model or with an input that can't do, while another one runs; returned as it ended."""
        beside = await self.caller.submit(BESIDE, note="beside", params=self.gate.params)
        await self.gate.until_runs(1)
        job = await self._in_hand(model, max_attempts=1, **inputs)
        self.gate.open()
        await job.wait(check=False)
        await unharmed(beside, self.books)
        return job

    async def _in_hand(self, model: str, **inputs: Any) -> AsyncJob:
        job = await self.caller.submit(model, **inputs)
        await self.worker.until_logged("job.claimed", job_id=job.id)
        return job


async def unharmed(job: AsyncJob, books: Books) -> None:
    await job.wait()
    assert await job.outputs["note"].bytes()
    assert await books.attempts(job.id) == [(1, "succeeded")]


def canvas(side: int) -> bytes:
    """A whole PNG of so many black pixels each way, of one bit each."""
    deflate = zlib.compressobj(1)
    row = b"\0" * (1 + side // 8)
    pixels = b"".join(deflate.compress(row * 1000) for _ in range(side // 1000)) + deflate.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def peak_mb(pid: int) -> float:
    """The most that a process ever had resident; what it shares counts whole, so its PSS was less."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


def size_mb(folder: Path) -> float:
    """What its files take; those that go while it is looked at count as nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total / 1e6


@asynccontextmanager
async def largest(*places: Path) -> AsyncIterator[list[float]]:
    """The sizes that these have together, again and again within the block."""
    sizes = [0.0]

    async def look() -> None:
        while True:
            sizes.append(sum(size_mb(place) for place in places))
            await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    try:
        yield sizes
    finally:
        looking.cancel()
