"""Submitting on real servers: what is accepted, what the row, the queue and the object store then hold."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from uuid import UUID

import aio_pika
import httpx2
import pytest

from deploy.local.seaweedfs import s3_client
from tests.gateway_process import Backstage, GatewayProcess, api, gateway_process, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TENANT = "submitters"
PIXELS = b"\x89PNG not really"


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key(TENANT, "s3://shelf/submitters/")


async def read_object(env: dict[str, str], uri: str) -> bytes:
    bucket, _, name = uri.removeprefix("s3://").partition("/")
    async with s3_client(env) as s3:
        answer = await s3.get_object(Bucket=bucket, Key=name)
        body: bytes = await answer["Body"].read()
        return body


async def test_an_accepted_job_is_a_row_and_a_message_with_its_priority(
    client: httpx2.AsyncClient, behind: Backstage, stack_env: dict[str, str]
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await client.post(
        "/v1/jobs",
        json={"model": "free", "priority": 9, "metadata": {"order": 1}, "params": {}},
        headers={"traceparent": trace},
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["urls"]["self"]
    assert (job["state"], job["priority"], job["done"], job["seq"]) == ("queued", 9, False, 1)
    row = await behind.reads.job(TENANT, UUID(job["id"]))
    assert row is not None
    assert row.metadata == {"order": 1}
    connection = await aio_pika.connect(stack_env["LEVERET_RABBITMQ_URL"])
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue("leveret.default", ensure=False)
        message = await queue.get(timeout=5)
        assert message is not None
        await message.ack()
    assert json.loads(message.body) == {"v": 1, "job_id": job["id"], "traceparent": trace}
    assert (message.priority, message.delivery_mode) == (9, 2)


async def test_the_answer_to_a_submit_is_what_a_look_shows(client: httpx2.AsyncClient) -> None:
    accepted = await submit(client, params={}, metadata={"a": [1, {"b": None}]}, delay_s=3600)
    seen = (await client.get(f"/v1/jobs/{accepted['id']}")).json()
    moving = {"created_at", "run_at", "queued_at", "queue_position", "queue_reason"}
    assert accepted.keys() == seen.keys()
    assert {k: v for k, v in accepted.items() if k not in moving} == {
        k: v for k, v in seen.items() if k not in moving
    }
    assert seen["state"] == "waiting"
    assert seen["queue_reason"] == "scheduled"


async def test_a_multipart_submit_stores_its_file_before_the_job(
    client: httpx2.AsyncClient, stack_env: dict[str, str]
) -> None:
    answer = await client.post(
        "/v1/jobs",
        data={"model": "echo", "options": json.dumps({"priority": 8, "params": {"size": 7}})},
        files={"image": ("face.png", PIXELS, "image/png")},
    )
    assert answer.status_code == 202, answer.text
    job = answer.json()
    uri = job["inputs"]["image"]["uri"]
    assert uri.startswith(f"s3://{stack_env['LEVERET_S3_BUCKET']}/{TENANT}/uploads/")
    assert await read_object(stack_env, uri) == PIXELS
    assert (job["priority"], job["params"], job["queue"]) == (8, {"size": 7}, "quick")


async def test_a_file_too_large_for_memory_arrives_whole(
    client: httpx2.AsyncClient, stack_env: dict[str, str]
) -> None:
    body = bytes(range(256)) * 6000
    answer = await client.post("/v1/jobs", data={"model": "echo"}, files={"image": ("a.png", body)})
    assert answer.status_code == 202, answer.text
    assert await read_object(stack_env, answer.json()["inputs"]["image"]["uri"]) == body


async def test_bytes_inline_json_and_defaults(client: httpx2.AsyncClient, stack_env: dict[str, str]) -> None:
    inputs = {
        "image": {"data": base64.b64encode(PIXELS).decode(), "content_type": "image/png"},
        "note": {"json": "words"},
        "extra": {"json": {"deep": [1, 2.5, None]}},
    }
    job = await submit(client, model="echo@1", inputs=inputs)
    assert await read_object(stack_env, job["inputs"]["image"]["uri"]) == PIXELS
    assert job["inputs"]["note"] == {"json": "words"}
    assert job["inputs"]["extra"] == {"json": {"deep": [1, 2.5, None]}}
    assert job["params"] == {"size": 256}


async def test_an_upload_made_before_is_an_input(client: httpx2.AsyncClient) -> None:
    made = (await client.post("/v1/uploads", json={"content_type": "image/png"})).json()
    early = await client.post(
        "/v1/jobs", json={"model": "echo", "inputs": {"image": {"upload_id": made["upload_id"]}}}
    )
    assert early.json()["errors"][0]["path"] == "inputs.image.upload_id"
    async with httpx2.AsyncClient() as store:
        put = await store.put(made["url"], content=PIXELS, headers=made["headers"])
        assert put.is_success
    job = await submit(client, model="echo", inputs={"image": {"upload_id": made["upload_id"]}})
    assert job["inputs"]["image"]["uri"].endswith(made["upload_id"])


async def test_an_address_and_a_destination_under_the_tenants_prefix(client: httpx2.AsyncClient) -> None:
    job = await submit(
        client,
        model="echo",
        inputs={"image": {"uri": "s3://shelf/submitters/a.png"}},
        outputs={"image": {"uri": "s3://shelf/submitters/out.png"}},
    )
    assert job["inputs"]["image"] == {"uri": "s3://shelf/submitters/a.png"}


async def test_one_key_is_one_job_however_many_ask_at_once(client: httpx2.AsyncClient) -> None:
    async def ask() -> httpx2.Response:
        return await client.post(
            "/v1/jobs", json={"model": "free", "priority": 3}, headers={"Idempotency-Key": "once"}
        )

    answers = await asyncio.gather(*(ask() for _ in range(12)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_one_key_with_another_body_is_refused(client: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "twice"}
    first = await client.post("/v1/jobs", json={"model": "free", "priority": 3}, headers=headers)
    spelled_otherwise = await client.post(
        "/v1/jobs", content=b'{ "priority":3, "model": "free"}', headers=headers | _JSON
    )
    other = await client.post("/v1/jobs", json={"model": "free", "priority": 4}, headers=headers)
    assert spelled_otherwise.json()["id"] == first.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


async def test_a_repeated_upload_is_the_same_job_and_another_file_is_not(client: httpx2.AsyncClient) -> None:
    async def send(body: bytes) -> httpx2.Response:
        files = {"image": ("a.png", body, "image/png")}
        return await client.post(
            "/v1/jobs", data={"model": "echo"}, files=files, headers={"Idempotency-Key": "file"}
        )

    first, again, other = await send(b"one"), await send(b"one"), await send(b"two")
    assert first.json()["id"] == again.json()["id"]
    assert other.json()["code"] == "idempotency_conflict"


async def test_the_same_key_of_another_tenant_is_another_job(
    client: httpx2.AsyncClient, gateway: GatewayProcess, behind: Backstage
) -> None:
    headers = {"Idempotency-Key": "shared"}
    mine = await client.post("/v1/jobs", json={"model": "free"}, headers=headers)
    async with api(gateway.url, await behind.key("neighbours")) as neighbour:
        theirs = await neighbour.post("/v1/jobs", json={"model": "free"}, headers=headers)
    assert mine.json()["id"] != theirs.json()["id"]


async def test_waiting_for_the_result_gets_it(client: httpx2.AsyncClient, behind: Backstage) -> None:
    waiting = asyncio.create_task(
        client.post(
            "/v1/jobs",
            json={"model": "free"},
            headers={"Prefer": "respond-async, wait=20", "Idempotency-Key": "w"},
        )
    )
    job_id = await _id_of(behind, "w")
    await behind.finish(await behind.claim(job_id))
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["state"] == "succeeded"
    assert answer.headers["preference-applied"] == "wait=20"


async def test_waiting_in_vain_is_an_ordinary_acceptance(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/jobs", json={"model": "free"}, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"


async def _id_of(behind: Backstage, idempotency_key: str) -> str:
    async with asyncio.timeout(10):
        while True:
            rows = await behind.database.read(
                "select id from specs where idempotency_key = $1", idempotency_key
            )
            if rows:
                return str(rows[0]["id"])
            await asyncio.sleep(0.02)


_JSON = {"Content-Type": "application/json"}


async def test_a_refused_queue_is_named_and_nothing_is_accepted(
    stack_env: dict[str, str], tmp_path: Path, behind: Backstage
) -> None:
    connection = await aio_pika.connect(stack_env["LEVERET_RABBITMQ_URL"])
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete("leveret.quick")
        await channel.declare_queue("leveret.quick", durable=True)
        with gateway_process(stack_env, tmp_path) as other:
            async with api(other.url, await behind.key("refused")) as client:
                inputs = {"image": {"data": base64.b64encode(PIXELS).decode()}}
                answer = await client.post("/v1/jobs", json={"model": "echo", "inputs": inputs})
                works = await client.post("/v1/jobs", json={"model": "free"})
        await channel.queue_delete("leveret.quick")
    assert (answer.status_code, answer.json()["code"]) == (503, "misconfigured")
    assert "leveret.quick" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert works.status_code == 202
    rows = await behind.database.read("select 1 from specs where tenant = 'refused' and model = 'echo'")
    assert not rows
