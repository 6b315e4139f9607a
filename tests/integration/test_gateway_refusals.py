"""Bad input of every kind: a clear problem, nothing accepted, and the gateway goes on."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from uuid_utils.compat import uuid7

from deploy.local.seaweedfs import s3_client
from gateway.problems import KINDS
from tests.gateway_process import Backstage, GatewayProcess, api, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TENANT = "refusers"
DATA = {"data": base64.b64encode(b"bytes").decode()}


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key(TENANT, "s3://shelf/refusers/", "s3://shelf/data")


def check_problem(answer: httpx2.Response, status: int, code: str, path: str | None = None) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["type"].endswith(f"/docs/errors#{code}")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["title"] == KINDS[code].title
    assert "Traceback" not in answer.text
    if path is not None:
        assert path in [entry["path"] for entry in problem["errors"]], problem
    return problem


async def count(behind: Backstage) -> int:
    rows = await behind.database.read("select count(*) as jobs from specs where tenant = $1", TENANT)
    return int(rows[0]["jobs"])


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "nope"}, "unknown_model", "model"),
    ({"model": "echo@2"}, "unknown_model", "model"),
    ({"model": 5}, "invalid_job", "model"),
    ({"priority": 11}, "invalid_job", "priority"),
    ({"priority": -1}, "invalid_job", "priority"),
    ({"priority": "7"}, "invalid_job", "priority"),
    ({"priority": 7.5}, "invalid_job", "priority"),
    ({"priority": True}, "invalid_job", "priority"),
    ({"colour": "red"}, "invalid_job", "colour"),
    ({"depends_on": []}, "invalid_job", "depends_on"),
    ({"webhook": {"url": "https://a.example"}}, "invalid_job", "webhook"),
    ({"result_ttl_s": 60}, "invalid_job", "result_ttl_s"),
    ({"metadata": {"a": "x" * 9000}}, "invalid_job", "metadata"),
    ({"metadata": {"a": "nul \x00 byte"}}, "invalid_job", "metadata.a"),
    ({"metadata": {"nul \x00 byte": 1}}, "invalid_job", "metadata"),
    ({"params": {"size": "\x00"}}, "invalid_job", "params.size"),
    ({"params": {"size": 0}}, "invalid_job", "params.size"),
    ({"params": {"size": "big"}}, "invalid_job", "params.size"),
    ({"params": {"sise": 5}}, "invalid_job", "params.sise"),
    ({"metadata": {"n": 2**70}}, "invalid_job", "metadata.n"),
    ({"inputs": {}}, "invalid_job", "inputs.image"),
    ({"inputs": {"image": DATA, "other": DATA}}, "invalid_job", "inputs.other"),
    ({"inputs": {"image": {"json": 5}}}, "invalid_job", "inputs.image"),
    ({"inputs": {"image": {}}}, "invalid_job", "inputs.image"),
    ({"inputs": {"image": {"uri": None}}}, "invalid_job", "inputs.image"),
    ({"inputs": {"image": {**DATA, "uri": "s3://shelf/refusers/a"}}}, "invalid_job", "inputs.image"),
    ({"inputs": {"image": {"data": "not base64!"}}}, "invalid_job", "inputs.image.data"),
    ({"inputs": {"image": {"data": "A" * 90000}}}, "invalid_job", "inputs.image.data"),
    (
        {"inputs": {"image": {**DATA, "content_type": "a/b\r\nX-More: c"}}},
        "invalid_job",
        "inputs.image.content_type",
    ),
    (
        {"inputs": {"image": {**DATA, "content_type": "\u4e2d/\u6587"}}},
        "invalid_job",
        "inputs.image.content_type",
    ),
    ({"run_at": "1700000000"}, "invalid_job", "run_at"),
    ({"inputs": {"image": {"upload_id": "nothing"}}}, "invalid_job", "inputs.image.upload_id"),
    ({"inputs": {"image": {"upload_id": str(uuid7())}}}, "invalid_job", "inputs.image.upload_id"),
    ({"inputs": {"image": {"uri": "http://a.example/b.png"}}}, "invalid_job", "inputs.image.uri"),
    ({"inputs": {"image": {"uri": "https://u:p@a.example/b.png"}}}, "invalid_job", "inputs.image.uri"),
    ({"inputs": {"image": {"uri": "https://169.254.169.254/b.png"}}}, "invalid_job", "inputs.image.uri"),
    ({"inputs": {"image": {"uri": "https://a.example/" + "b" * 4096}}}, "invalid_job", "inputs.image.uri"),
    ({"outputs": {"image": {"uri": "https://a.example/b.png"}}}, "invalid_job", "outputs.image.uri"),
    ({"inputs": {"image": {"uri": "file:///etc/passwd"}}}, "invalid_job", "inputs.image.uri"),
    ({"inputs": {"image": {"uri": "s3://shelf/others/a.png"}}}, "invalid_job", "inputs.image.uri"),
    ({"inputs": {"image": {"uri": "s3://shelf/refusers/../others/a"}}}, "invalid_job", "inputs.image.uri"),
    ({"inputs": {"image": {"uri": "s3://shelf/database/a.png"}}}, "invalid_job", "inputs.image.uri"),
    ({"outputs": {"image": {"uri": "s3://shelf/others/a.png"}}}, "invalid_job", "outputs.image.uri"),
    ({"outputs": {"mask": {"uri": "s3://shelf/refusers/a.png"}}}, "invalid_job", "outputs.mask"),
    ({"timeout_s": 31}, "invalid_job", "timeout_s"),
    ({"timeout_s": 0}, "invalid_job", "timeout_s"),
    ({"max_attempts": 21}, "invalid_job", "max_attempts"),
    ({"delay_s": -1}, "invalid_job", "delay_s"),
    ({"run_at": "2026-11-22T09:30:00"}, "invalid_job", "run_at"),
    ({"run_at": "2026-11-22T09:30:00Z", "delay_s": 1}, "invalid_job", "body"),
]


@pytest.mark.parametrize(("fields", "code", "path"), BAD_FIELDS)
async def test_a_field_that_is_wrong_is_named(
    client: httpx2.AsyncClient, behind: Backstage, fields: dict[str, Any], code: str, path: str
) -> None:
    before = await count(behind)
    answer = await client.post("/v1/jobs", json={"model": "echo", "inputs": {"image": DATA}, **fields})
    check_problem(answer, 422, code, path)
    assert await count(behind) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"model": "free", "metadata": {"a": NaN}}',
        b'{"model": "free", "metadata": {"a": 1e999}}',
        b'{"model": "free", "metadata": {"a": "\\ud800"}}',
        b"\xff\xfe",
        b'{"model": "free", "metadata": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"model": "free", "metadata": {"a": ' + b"9" * 5000 + b"}}",
    ],
)
async def test_what_is_no_sound_json_is_refused(client: httpx2.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    check_problem(answer, answer.status_code, answer.json()["code"])


async def test_another_tenants_object_is_refused_like_one_that_is_not_there(
    client: httpx2.AsyncClient, gateway: GatewayProcess, behind: Backstage, stack_env: dict[str, str]
) -> None:
    # Given an object of another tenant in Leveret's own bucket, and one of ours there
    async with api(gateway.url, await behind.key("owners")) as owner:
        job = await submit(owner, model="echo", inputs={"image": DATA})
    theirs = job["inputs"]["image"]["uri"]
    bucket = stack_env["LEVERET_S3_BUCKET"]
    mine = (await submit(client, model="echo", inputs={"image": DATA}))["inputs"]["image"]["uri"]
    async with s3_client(stack_env) as s3:
        assert (await s3.head_object(Bucket=bucket, Key=theirs.removeprefix(f"s3://{bucket}/")))["ETag"]
    # When each is named, and one that never was
    details = set()
    for uri in (theirs, mine, f"s3://{bucket}/{TENANT}/nothing"):
        answer = await client.post("/v1/jobs", json={"model": "echo", "inputs": {"image": {"uri": uri}}})
        details.add(check_problem(answer, 422, "invalid_job", "inputs.image.uri")["detail"])
    # Then the answer tells nothing apart
    assert len(details) == 1
    # And their upload's id is worth nothing here
    stolen = {"upload_id": theirs.rpartition("/")[2]}
    answer = await client.post("/v1/jobs", json={"model": "echo", "inputs": {"image": stolen}})
    check_problem(answer, 422, "invalid_job", "inputs.image.upload_id")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "image/png"}])
async def test_a_body_of_another_type_is_refused(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.post("/v1/jobs", content=b'{"model":"free"}', headers=headers)
    check_problem(answer, 415, "unsupported_media_type")


async def test_forms_are_checked_like_json(client: httpx2.AsyncClient) -> None:
    file = {"image": ("a.png", b"bytes", "image/png")}

    async def send(data: dict[str, Any], files: Any = file) -> httpx2.Response:
        return await client.post("/v1/jobs", data=data, files=files)

    check_problem(await send({"model": "nope"}), 422, "unknown_model", "model")
    check_problem(await send({}), 422, "invalid_job", "model")
    check_problem(await send({"model": "echo", "options": "{"}), 400, "malformed_body")
    options = json.dumps({"priority": 11})
    check_problem(await send({"model": "echo", "options": options}), 422, "invalid_job", "priority")
    check_problem(await send({"model": "echo", "priority": "5"}), 422, "invalid_job", "priority")
    check_problem(await send({"model": "echo\0"}), 422, "invalid_job", "model")
    twice = json.dumps({"inputs": {"image": DATA}})
    check_problem(await send({"model": "echo", "options": twice}), 422, "invalid_job", "inputs.image")
    check_problem(await send({"model": "echo"}, {"mask": ("a.png", b"x")}), 422, "invalid_job", "inputs.mask")
    large = {"image": ("a.png", b"x" * (2 * 1024 * 1024 + 1), "image/png")}
    check_problem(await send({"model": "echo"}, large), 422, "invalid_job", "inputs.image")
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await client.post("/v1/jobs", content=b"--y\r\n\r\nno", headers=broken)
    check_problem(answer, answer.status_code, "malformed_body")
    answer = await client.post("/v1/jobs", content=b"x", headers={"Content-Type": "multipart/form-data"})
    check_problem(answer, 400, "malformed_body")


async def test_a_body_above_the_limit_gets_its_answer(client: httpx2.AsyncClient) -> None:
    announced = await client.post("/v1/jobs", content=b"x" * (5 * 1024 * 1024), headers=_JSON)
    check_problem(announced, 413, "body_too_large")
    assert announced.headers["connection"] == "close"

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b"x" * 65536

    unannounced = await client.post("/v1/jobs", content=pieces(), headers=_JSON)
    check_problem(unannounced, 413, "body_too_large")
    large_json = await client.post("/v1/jobs", content=b" " * (2 * 1024 * 1024), headers=_JSON)
    check_problem(large_json, 413, "body_too_large")
    assert (await client.get("/v1/models")).status_code == 200


async def test_a_client_that_asks_first_is_spared_the_sending(gateway: GatewayProcess, key: str) -> None:
    # Given a client that announces 5 MiB and waits to be told to go on (curl does, above 1 MiB)
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 5242880\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    # Then it is refused before a byte of the body, and the connection ends
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer


async def test_without_a_key_nothing_is_told(gateway: GatewayProcess, key: str) -> None:
    keys: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": f"Bearer lev_{'A' * 43}"},
        {"X-API-Key": ""},
    ]
    async with api(gateway.url, None) as client:
        for headers in keys:
            for method, path in [
                ("POST", "/v1/jobs"),
                ("GET", f"/v1/jobs/{uuid7()}"),
                ("GET", f"/v1/jobs/{uuid7()}/events"),
                ("GET", "/v1/models"),
                ("POST", "/v1/uploads"),
            ]:
                answer = await client.request(method, path, headers=headers)
                check_problem(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get("/v1/models", headers={"X-API-Key": key})).status_code == 200


async def test_another_tenants_job_is_no_job(
    client: httpx2.AsyncClient, gateway: GatewayProcess, behind: Backstage
) -> None:
    job = await submit(client)
    await behind.finish(await behind.claim(job["id"]))  # hot in Redis, under its own tenant
    absent = uuid7()
    async with api(gateway.url, await behind.key("strangers")) as stranger:
        for path in (
            "",
            "/events",
            "/logs",
            "/inputs/extra",
            "/outputs/extra",
            "/outputs/extra?through=gateway",
        ):
            details = [
                check_problem(await stranger.get(f"/v1/jobs/{name}{path}"), 404, "not_found")["detail"]
                for name in (job["id"], absent, "no-id")
            ]
            assert len(set(details)) == 1
        answer = await stranger.get(f"/v1/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"})
        check_problem(answer, 404, "not_found")
        answer = await stranger.post(f"/v1/jobs/{job['id']}/cancel")
        check_problem(answer, 404, "not_found")
    assert (await client.get(f"/v1/jobs/{job['id']}")).status_code == 200


async def test_every_other_mistake_is_a_problem_too(client: httpx2.AsyncClient) -> None:
    check_problem(await client.get("/nowhere"), 404, "not_found")
    check_problem(await client.get("/v1/models/nope"), 404, "not_found")
    answer = await client.delete("/v1/jobs")
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    job = await submit(client)
    events = f"/v1/jobs/{job['id']}/events"
    check_problem(await client.get(events, params={"after": "x"}), 422, "invalid_request", "query.after")
    check_problem(await client.get(events, params={"after": -1}), 422, "invalid_request", "query.after")
    answer = await client.post("/v1/jobs", json={"model": "free"}, headers={"Idempotency-Key": "a" * 256})
    check_problem(answer, 422, "invalid_request", "header.Idempotency-Key")
    answer = await client.post("/v1/uploads", json={"content_type": "no\r\ntype"})
    check_problem(answer, 422, "invalid_job", "content_type")
    answer = await client.post("/v1/uploads", json={"content_type": "\u00e9/x"})
    check_problem(answer, 422, "invalid_job", "content_type")


@pytest.mark.parametrize("moment", ["0", "0.5", "1700000000", "2026-01-01", "2026-01-01T00:00:00"])
async def test_a_moment_is_one_as_of_rfc_3339(client: httpx2.AsyncClient, moment: str) -> None:
    since = await client.get("/v1/jobs", params={"created_after": moment})
    check_problem(since, 422, "invalid_request", "query.created_after")
    check_problem(
        await client.get("/v1/cost", params={"since": moment}), 422, "invalid_request", "query.since"
    )
    filtered = {"action": "cancel", "filter": {"created_after": moment}}
    check_problem(
        await client.post("/v1/bulk", json=filtered), 422, "invalid_request", "filter.created_after"
    )
    known = await client.get("/v1/jobs", params={"created_after": "2026-01-01T00:00:00+01:00"})
    assert known.status_code == 200


async def test_what_is_wrong_is_said_without_words_of_the_library(client: httpx2.AsyncClient) -> None:
    problem = check_problem(
        await client.get("/v1/jobs", params={"cursor": "x"}), 422, "invalid_request", "query.cursor"
    )
    assert problem["detail"] == "query.cursor: is no cursor of this list"


async def test_a_request_id_is_kept_where_it_is_one(client: httpx2.AsyncClient) -> None:
    given = await client.get("/v1/models", headers={"X-Request-ID": "trace-1"})
    made = await client.get("/v1/models", headers={"X-Request-ID": "bad id {}"})
    assert given.headers["x-request-id"] == "trace-1"
    assert made.headers["x-request-id"] != "bad id {}"


async def test_garbage_on_the_socket_stops_nobody(
    client: httpx2.AsyncClient, gateway: GatewayProcess
) -> None:
    address = urlsplit(gateway.url)
    for garbage in (
        b"\x00\xff" * 500,
        b"GET\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        with socket.create_connection((address.hostname, address.port), timeout=5) as raw:
            raw.sendall(garbage)
    assert (await client.get("/v1/models")).status_code == 200


_JSON = {"Content-Type": "application/json"}
