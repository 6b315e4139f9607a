"""A child that a handler forks, and that comes back out of it beside its parent, makes nothing of the job."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gpu_worker.engine.calls import EngineCall, Inline
from shared.catalog import Model, load_model
from tests.integration.test_engine_host import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gpu_worker.engine.host import EngineHost

pytestmark = pytest.mark.anyio

SIZE = 300_000
"""Bytes of output: too many for the answer's own frame, so they are a file whatever their kind."""
DELAYS_S = [0.0, 0.001, 0.01, 0.1, 0.2]
"""How long after its parent the child comes back: beside its writing, and after it."""
TABLE = """
name = "mine"
backend = "python"
handler = "mine:{handler}"
[inputs.given]
kind = "json"
[outputs.made]
kind = "{kind}"
"""
CODE = """
import asyncio, os, time
import numpy

def forked(given):
    child = os.fork()
    if child:
        with open(given["children"], "a") as file:
            file.write(f"{child}\\n")
        return b"p"
    time.sleep(given["delay_s"])
    if given.get("raises"):
        raise SystemExit(0)
    return b"c"

def text(given):
    return {"said": (forked(given) * SIZE).decode()}

def plain(given):
    return forked(given) * SIZE

class Infer:
    def infer(self, items):
        return [forked(item["given"]) * SIZE for item in items]

class Finish:
    def infer(self, items):
        return items
    def finish(self, item, raw):
        return forked(item["given"]) * SIZE

class Picture(Finish):
    def finish(self, item, raw):
        return numpy.full((400, 400, 3), forked(item["given"])[0], numpy.uint8)

class Awaited(Finish):
    async def finish(self, item, raw):
        made = forked(item["given"]) * SIZE
        await asyncio.sleep(0)
        return made
""".replace("SIZE", str(SIZE))
FORMS = [
    ("text", "json"),
    ("plain", "bytes"),
    ("Infer", "bytes"),
    ("Finish", "bytes"),
    ("Picture", "image"),
    ("Awaited", "bytes"),
]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    async with running(tmp_path) as host:
        yield host


def write_model(root: Path, handler: str, kind: str) -> Model:
    folder = root / "mine"
    folder.mkdir()
    (folder / "model.toml").write_text(TABLE.format(handler=handler, kind=kind))
    (folder / "mine.py").write_text(CODE)
    return load_model(folder)


def call(model: Model, root: Path, number: int, **given: Any) -> EngineCall:
    given |= {"children": str(root / "children")}
    return EngineCall(f"job-{number}", model, {"given": Inline(given)}, {}, root / f"out-{number}", 30)


async def childless(root: Path) -> None:
    """Wait until every child that was forked has ended; who has not been waited for counts as gone."""
    while any(map(lives, (root / "children").read_text().split())):
        await asyncio.sleep(0.01)


def lives(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def who_made(data: bytes, kind: str) -> set[str]:
    """The processes that a file's bytes come from."""
    if kind == "image":
        data = np.asarray(Image.open(io.BytesIO(data))).tobytes()
    if kind == "json":
        data = data.removeprefix(b'{"said": "').removesuffix(b'"}')
    return set(data.decode())


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize(("handler", "kind"), FORMS)
async def test_the_stored_output_is_the_parents(
    host: EngineHost, tmp_path: Path, handler: str, kind: str, *, raises: bool
) -> None:
    model = write_model(tmp_path, handler, kind)
    for number, delay_s in enumerate(DELAYS_S):
        result = await host.run(call(model, tmp_path, number, delay_s=delay_s, raises=raises))
        await childless(tmp_path)
        assert who_made(result.outputs["made"].read(), kind) == {"p"}
    assert host.starts == 1
