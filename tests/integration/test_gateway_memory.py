"""What large uploads leave in the gateway's memory. It is printed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from benchmarks.memory import LIMIT_MB, held_by
from tests.gateway_process import GatewayProcess, api, backstage, gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

SIZE = 62 * 1024 * 1024
AT_ONCE = 5
BOUNDARY = "leveret-boundary"
MODEL = """
name = "blob"
backend = "python"
handler = "blob:run"
[inputs.file]
kind = "bytes"
[outputs.file]
kind = "bytes"
"""


@pytest.fixture(scope="module")
def gateway(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "catalog" / "blob").mkdir(parents=True)
    (folder / "catalog" / "blob" / "model.toml").write_text(MODEL)
    own = {"LEVERET_CATALOG_PATH": str(folder / "catalog"), "LEVERET_GATEWAY_MAX_BODY_BYTES": str(64 << 20)}
    with gateway_process(stack_env, folder, **own) as started:
        yield started


async def _form(body: bytes) -> AsyncIterator[bytes]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{{}}"'
    yield (head.format("model") + "\r\n\r\nblob\r\n").encode()
    file = '"; filename="file.bin"\r\nContent-Type: application/octet-stream\r\n\r\n'
    yield (head.format("file").removesuffix('"') + file).encode()
    for _ in range(SIZE // len(body)):
        yield body
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


async def _upload(client: httpx2.AsyncClient) -> int:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await client.post("/v1/jobs", content=_form(bytes(64 * 1024)), headers=headers, timeout=120)
    assert answer.status_code == 202, answer.text
    return answer.status_code


async def _highest(pid: int, seen: list[float]) -> None:
    while True:
        seen.append(held_by(pid).pss)
        await asyncio.sleep(0.1)


async def test_large_uploads_leave_the_gateway_within_its_limit(
    gateway: GatewayProcess, stack_env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    pid, figures = gateway.process.pid, dict[str, float]()
    async with backstage(stack_env) as behind:
        key = await behind.key("uploaders")
    async with api(gateway.url, key) as client:
        figures["fresh"] = held_by(pid).pss
        for round_of in ("first", "second"):
            seen = list[float]()
            watch = asyncio.create_task(_highest(pid, seen))
            await asyncio.gather(*(_upload(client) for _ in range(AT_ONCE)))
            watch.cancel()
            figures[f"highest during the {round_of} {AT_ONCE} uploads"] = max(seen)
            figures[f"after the {round_of} {AT_ONCE} uploads"] = held_by(pid).pss
    with capsys.disabled():
        told = json.dumps({name: round(mb) for name, mb in figures.items()})
        print(f"\ngateway, MB PSS: {told}")  # noqa: T201  a figure to read, beside what is asserted
    assert max(figures.values()) <= LIMIT_MB
