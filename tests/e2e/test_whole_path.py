"""The whole path: an image in by REST, a cut-out back by push, whoever listens, and however."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway.client import AsyncClient, Client, JobFailed
from shared.catalog import load_catalog
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, House, WorkerProcess
from tests.gateway_process import GatewayProcess, next_event, open_socket
from tests.integration.test_engine_cutout import astronaut, reference_mask
from tests.stack import ROOT, process_environment

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

WHOLE = ["job.queued", "job.running", "job.succeeded"]


@pytest.fixture(scope="module")
def picture() -> bytes:
    file = io.BytesIO()
    astronaut().save(file, "PNG")
    return file.getvalue()


async def rest_of(socket: ClientConnection) -> list[dict[str, Any]]:
    """All events up to the end of the stream, which must be the job's."""
    told = []
    try:
        while True:
            told.append(await next_event(socket))
    except ConnectionClosed as closed:
        goodbye = closed.rcvd
    assert goodbye is not None
    assert goodbye.code == 1000
    return told


def states(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events if event["type"] != "job.progress"]


def intersection_over_union(one: Any, other: Any) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.usefixtures("images")
async def test_an_image_becomes_the_cutout_that_onnx_runtime_itself_makes(
    client: AsyncClient, picture: bytes, house: House, tmp_path: Path, measured: list[str]
) -> None:
    # When an image is submitted and its events are followed
    job = await client.submit("cutout", image=picture, priority=7, metadata={"who": "ünï"})
    told = [event async for event in job.events(after=0)]
    # Then they were pushed in order
    assert [event.type for event in told] == WHOLE
    assert [event.seq for event in told] == [1, 2, 3]
    # And the outputs are those of the graph, whole
    files = {name: await output.save(tmp_path / name) for name, output in job.outputs.items()}
    model = load_catalog(house.catalog).find("cutout")
    assert model is not None
    mask = np.asarray(Image.open(files["mask"])) > 127
    expected = reference_mask(model, astronaut()) > 127
    likeness = intersection_over_union(mask, expected)
    measured.append(f"IoU of the cut-out's mask with onnxruntime called directly: {likeness:.4f}")
    assert likeness >= 0.98
    with Image.open(files["cutout"]) as cut:
        assert np.array_equal(np.asarray(cut.getchannel("A")) > 127, mask)
        assert np.array_equal(np.asarray(cut.convert("RGB")), np.asarray(astronaut()))
    # And a look shows the same as the push
    look = await client.job(job.id)
    assert (look.raw["state"], look.raw["attempt"], look.raw["progress"]) == ("succeeded", 1, 1.0)
    stages = {"fetch_s", "turn_s", "prepare_s", "infer_s", "finish_s", "store_s", "queue_s"}
    assert look.raw["timings"].keys() == stages | {"batch_size"}
    assert look.raw["outputs"].keys() == told[-1].data["outputs"].keys()


@pytest.mark.usefixtures("images")
async def test_the_command_saves_the_cutout(
    gateway: GatewayProcess, key: str, picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "face.png").write_bytes(picture)
    target = {"LEVERET_URL": gateway.url, "LEVERET_API_KEY": key}
    command = ["-m", "gateway.client", "submit", "cutout", f"image=@{tmp_path / 'face.png'}"]

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "-o",
        f"{tmp_path / 'out'}/",
        cwd=ROOT,
        env=process_environment(target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()

    assert process.returncode == 0, said.decode()
    with Image.open(tmp_path / "out" / "cutout.png") as cut:
        assert (cut.mode, cut.size) == ("RGBA", (512, 512))


@pytest.mark.usefixtures("images")
def test_the_blocking_client_waits_by_push(gateway: GatewayProcess, key: str, picture: bytes) -> None:
    seen = []
    with Client(gateway.url, key) as client:
        job = client.submit("cutout", image=picture).wait(progress=lambda event: seen.append(event.type))
        assert Image.open(io.BytesIO(job.outputs["mask"].bytes())).mode == "L"
    assert seen[-1] == "job.succeeded"


@pytest.fixture
async def held(client: AsyncClient, gate: Gate, steady: WorkerProcess) -> AsyncIterator[str]:
    """A job that runs until the gate opens."""
    assert steady.pid
    job = await client.submit("gated", note={"deep": [1, "ü"]}, params=gate.params)
    await gate.until_runs(1)
    yield job.id
    gate.open()
    await job.wait()


async def test_early_and_late_subscribers_get_the_same_history_and_result(
    held: str, gate: Gate, gateway: GatewayProcess, key: str, http: httpx2.AsyncClient
) -> None:
    # Given subscribers to a job that runs: two by socket, one by SSE
    async with open_socket(gateway.url, key, held) as one, open_socket(gateway.url, key, held) as two:
        sse = asyncio.create_task(server_sent(http, held))
        assert (await next_event(one))["type"] == "job.queued"
        assert (await next_event(two))["type"] == "job.queued"
        # When it goes on to its end
        gate.open()
        early = await asyncio.gather(rest_of(one), rest_of(two))
    # Then each of them, and whoever comes too late, was told all of it
    async with open_socket(gateway.url, key, held) as socket:
        late = await rest_of(socket)
    history = (await http.get(f"/v1/jobs/{held}/events")).json()["events"]
    assert states(late) == states(history) == states(await sse) == WHOLE
    for told in early:
        assert states(told) == WHOLE[1:]
        assert told[-1]["data"]["outputs"].keys() == {"note"}
    assert [event["seq"] for event in history] == [1, 2, 3]
    # And the result is what went in
    answer = await http.get(f"/v1/jobs/{held}/outputs/note", follow_redirects=True)
    assert json.loads(answer.content) == {"deep": [1, "ü"]}


async def server_sent(http: httpx2.AsyncClient, job_id: str) -> list[dict[str, Any]]:
    """What an event source of the whole job gets."""
    headers = {"Accept": "text/event-stream"}
    async with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=60) as answer:
        lines = [line async for line in answer.aiter_lines()]
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


async def test_a_reconnect_with_its_cursor_goes_on_where_it_was(
    held: str, gate: Gate, gateway: GatewayProcess, key: str
) -> None:
    # Given a subscriber that saw the job run, and went away
    async with open_socket(gateway.url, key, held) as socket:
        seen = [await next_event(socket), await next_event(socket)]
    cursor = seen[-1]["seq"]
    # When the job ends meanwhile and the subscriber comes back
    gate.open()
    async with open_socket(gateway.url, key, held, after=cursor) as socket:
        missed = await rest_of(socket)
    # Then it gets what it had not seen, and only that
    assert states(seen + missed) == WHOLE
    assert all(event["seq"] > cursor for event in missed if event["type"] != "job.progress")


async def test_progress_is_pushed_while_the_job_runs(held: str, gate: Gate, client: AsyncClient) -> None:
    job = await client.job(held)
    fractions = []

    async def watch() -> None:
        async for event in job.events(after=0):
            if event.type == "job.running":
                gate.open()
            if event.type == "job.progress":
                fractions.append(event.data["progress"])

    async with asyncio.timeout(60):
        await watch()
    assert set(fractions) <= {0.25}
    logs = (await client.logs(held))["attempts"]
    assert [attempt["log"] for attempt in logs] == [f"running in {gate.runs()[0]}\n"]


@pytest.mark.usefixtures("steady")
async def test_prefer_wait_answers_with_the_result(http: httpx2.AsyncClient) -> None:
    body = {"model": "gated", "inputs": {"note": {"json": 42}}}
    answer = await http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"}, timeout=60)
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")


@pytest.mark.usefixtures("images")
async def test_a_job_that_fails_says_why_to_everybody(
    client: AsyncClient, picture: bytes, books: Books
) -> None:
    # When the image breaks off in the middle
    job = await client.submit("cutout", image=picture[: len(picture) // 2])
    with pytest.raises(JobFailed) as failed:
        await job.wait()
    # Then its sender is told, it was not tried again, and the worker takes the next one
    assert failed.value.code == "bad_input"
    assert "image" in str(failed.value)
    assert await books.attempts(job.id) == [(1, "failed")]
    await (await client.submit("cutout", image=picture)).wait()
