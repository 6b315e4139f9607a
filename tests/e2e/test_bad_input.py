"""Bad input of every kind, at the door and behind it: told clearly, nothing lost, and the work goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aio_pika
import httpx2
import pytest
from aio_pika.abc import AbstractChannel
from uuid_utils.compat import uuid7
from websockets.exceptions import ConnectionClosed

from gateway.client import AsyncClient
from shared.messages import encode_hint
from tests.e2e.counting import Books
from tests.e2e.processes import WorkerProcess
from tests.gateway_process import Backstage, GatewayProcess, api, open_socket

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

GOOD: dict[str, Any] = {"model": "gated", "inputs": {"note": {"json": "good"}}}
OBJECT: dict[str, Any] = {"model": "cutout", "inputs": {"image": {"uri": "s3://other-tenant/a.png"}}}
REFUSED = [
    pytest.param({**GOOD, "model": "nope"}, "unknown_model", id="unknown model"),
    pytest.param({**GOOD, "model": "gated@7"}, "unknown_model", id="unknown version"),
    pytest.param({**GOOD, "model": 7}, "invalid_job", id="wrong type"),
    pytest.param({**GOOD, "params": {"gate": 7}}, "invalid_job", id="wrong type of a param"),
    pytest.param({**GOOD, "priority": 11}, "invalid_job", id="priority 11"),
    pytest.param({**GOOD, "inputs": {"note": {"json": "a\0b"}}}, "invalid_job", id="NUL byte"),
    pytest.param({**GOOD, "inputs": {}}, "invalid_job", id="no input"),
    pytest.param(OBJECT, "invalid_job", id="object under no allowed prefix"),
]


@pytest.fixture(autouse=True)
async def good_jobs_still_pass(
    client: AsyncClient, steady: WorkerProcess, books: Books
) -> AsyncIterator[list[str]]:
    """Whatever a test did, each job it was promised has ended once, and a good one runs as ever."""
    assert steady.pid
    accepted: list[str] = []
    yield accepted
    job = await client.submit("gated", note="good")
    await job.wait(timeout_s=60)
    tally = await books.tally([*accepted, job.id])
    assert (tally.accepted, tally.lost, tally.duplicated) == (len(accepted) + 1, 0, 0)
    assert steady.process.poll() is None


def check_problem(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["detail"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(("body", "code"), REFUSED)
async def test_what_does_not_fit_is_refused_and_never_becomes_a_job(
    http: httpx2.AsyncClient, books: Books, body: dict[str, Any], code: str
) -> None:
    before = await books.tally()
    check_problem(await http.post("/v1/jobs", json=body), 422, code)
    assert (await books.tally()).accepted == before.accepted


async def test_an_oversized_body_is_refused(http: httpx2.AsyncClient, books: Books) -> None:
    before = await books.tally()
    files = {"image": ("large.png", b"x" * (5 * 1024 * 1024), "image/png")}
    check_problem(await http.post("/v1/jobs", data={"model": "cutout"}, files=files), 413, "body_too_large")
    assert (await books.tally()).accepted == before.accepted


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("image", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
async def test_bytes_that_are_no_image_fail_their_own_job_alone(
    http: httpx2.AsyncClient, books: Books, good_jobs_still_pass: list[str], image: bytes
) -> None:
    files = {"image": ("a.png", image, "image/png")}
    answer = await http.post(
        "/v1/jobs", data={"model": "cutout"}, files=files, headers={"Prefer": "wait=30"}, timeout=60
    )
    job = answer.json()
    good_jobs_still_pass.append(job["id"])
    assert (job["state"], job["error"]["code"], job["outputs"]) == ("failed", "bad_input", {})
    assert await books.attempts(job["id"]) == [(1, "failed")]


@pytest.mark.usefixtures("images")
async def test_an_allowed_object_that_is_not_there_fails_its_job(
    http: httpx2.AsyncClient, good_jobs_still_pass: list[str]
) -> None:
    body = {"model": "cutout", "inputs": {"image": {"uri": "s3://shelf/e2e/nothing.png"}}}
    answer = await http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"}, timeout=60)
    job = answer.json()
    good_jobs_still_pass.append(job["id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "input_unavailable")


@pytest.fixture
async def rival(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    """Another tenant."""
    async with api(gateway.url, await behind.key("rival", "s3://shelf/rival/")) as opened:
        yield opened


async def test_another_tenants_job_and_bytes_do_not_exist(
    client: AsyncClient, rival: httpx2.AsyncClient, gateway: GatewayProcess, good_jobs_still_pass: list[str]
) -> None:
    # Given a job with uploaded bytes and an output
    job = await client.submit("cutout", image=b"mine")
    good_jobs_still_pass.append(job.id)
    await job.wait(check=False)
    uri = job.raw["inputs"]["image"]["uri"]
    # When another tenant asks for anything of it, then the answer is that for a job nobody has
    for path in ("", "/events", "/logs", "/outputs/note"):
        for job_id in (job.id, uuid7()):
            check_problem(await rival.get(f"/v1/jobs/{job_id}{path}"), 404, "not_found")
    for job_id in (job.id, uuid7()):
        check_problem(await rival.post(f"/v1/jobs/{job_id}/cancel"), 404, "not_found")
    # And its bytes are no input of anybody else
    for said in ({"uri": uri}, {"upload_id": uri.rpartition("/")[2]}, {"uri": "s3://shelf/e2e/a.png"}):
        answer = await rival.post("/v1/jobs", json={"model": "cutout", "inputs": {"image": said}})
        check_problem(answer, 422, "invalid_job")
    # And its stream is none
    token = rival.headers["Authorization"].removeprefix("Bearer ")
    async with open_socket(gateway.url, token, job.id) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


@pytest.fixture
async def channel(stack_env: dict[str, str]) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(stack_env["LEVERET_RABBITMQ_URL"])
    async with connection, connection.channel() as opened:
        yield opened


GARBAGE = [
    b"",
    b"garbage",
    b"\xff\xfe\0",
    b"{}",
    b'{"v":2,"job_id":"01a203ed-326a-75c3-99e8-1d8af5e67ddc"}',
    b'{"v":1,"job_id":"no id"}',
    encode_hint(UUID(int=7)),
]


async def test_garbage_on_the_queue_is_put_aside_with_the_reason(
    channel: AbstractChannel, client: AsyncClient, good_jobs_still_pass: list[str]
) -> None:
    for body in GARBAGE:
        await channel.default_exchange.publish(aio_pika.Message(body, priority=10), "leveret.steady")
    job = await client.submit("gated", note="behind the garbage")
    good_jobs_still_pass.append(job.id)
    await job.wait(timeout_s=60)

    dead = await channel.get_queue("leveret.dead")
    aside: dict[bytes, str] = {}
    async with asyncio.timeout(30):
        while len(aside) < len(GARBAGE):
            message = await dead.get(fail=False, timeout=10)
            if message is None:
                await asyncio.sleep(0.05)
                continue
            await message.ack()
            aside[message.body] = str(message.headers["reason"])

    assert aside.keys() == set(GARBAGE)
    assert aside[encode_hint(UUID(int=7))] == "no such job"
    assert all(reason.startswith("not a hint: ") for body, reason in aside.items() if body != GARBAGE[-1])


async def test_a_message_for_a_job_that_ended_long_ago_changes_nothing(
    channel: AbstractChannel,
    client: AsyncClient,
    behind: Backstage,
    books: Books,
    good_jobs_still_pass: list[str],
) -> None:
    job = await client.submit("gated", note=1)
    good_jobs_still_pass.append(job.id)
    await job.wait()
    hint = encode_hint(UUID(job.id))
    await behind.database.write(
        "update jobs set finished_at = finished_at - interval '1 hour' where id = $1", UUID(job.id)
    )
    before = json.dumps((await client.job(job.id)).raw["outputs"]["note"]["uri"])

    await channel.default_exchange.publish(aio_pika.Message(hint, priority=10), "leveret.steady")
    await (await client.submit("gated", note=2, priority=0)).wait()

    assert await books.attempts(job.id) == [(1, "succeeded")]
    assert json.dumps((await client.job(job.id)).raw["outputs"]["note"]["uri"]) == before
