"""What the gateway answers about jobs, outputs, logs and models, and its documentation."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from deploy.local.seaweedfs import s3_client
from gateway import views
from gateway.problems import KINDS
from tests.gateway_process import (
    Backstage,
    GatewayProcess,
    api,
    gateway_process,
    next_event,
    open_socket,
    submit,
)
from tests.stack import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TENANT = "readers"
CONTENT = b'{"a": 1}'


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key(TENANT)


async def finished(
    client: httpx2.AsyncClient, behind: Backstage, env: dict[str, str], *, announce: bool = True
) -> dict[str, Any]:
    job = await submit(client, inputs={"extra": {"json": [1]}})
    bucket, name = env["LEVERET_S3_BUCKET"], f"{TENANT}/{job['id']}/1/extra.json"
    async with s3_client(env) as s3:
        await s3.put_object(Bucket=bucket, Key=name, Body=CONTENT, ContentType="application/json")
    output = {
        "uri": f"s3://{bucket}/{name}",
        "content_type": "application/json",
        "size": len(CONTENT),
        "sha256": "0" * 64,
    }
    await behind.finish(await behind.claim(job["id"]), {"extra": output}, announce=announce)
    seen: dict[str, Any] = (await client.get(f"/v1/jobs/{job['id']}")).json()
    return seen


@pytest.mark.parametrize("hot", [True, False])
async def test_a_finished_job_has_outputs_that_can_be_read(
    client: httpx2.AsyncClient, behind: Backstage, stack_env: dict[str, str], *, hot: bool
) -> None:
    job = await finished(client, behind, stack_env, announce=hot)
    views.JobView.model_validate(job)
    assert (job["state"], job["done"], job["attempt"]) == ("succeeded", True, 1)
    async with httpx2.AsyncClient() as anybody:
        assert (await anybody.get(job["outputs"]["extra"]["url"])).content == CONTENT
        answer = await client.get(f"/v1/jobs/{job['id']}/outputs/extra")
        assert answer.status_code == 307
        assert (await anybody.get(answer.headers["location"])).content == CONTENT
    missing = await client.get(f"/v1/jobs/{job['id']}/outputs/mask")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def inert(answer: httpx2.Response) -> bool:
    """Would a browser that opens it on our address run nothing of it?"""
    policy = answer.headers["content-security-policy"]
    return policy.startswith("sandbox;") and answer.headers["x-content-type-options"] == "nosniff"


async def test_outputs_and_inputs_come_through_the_gateway_when_asked_to_and_do_nothing_there(
    client: httpx2.AsyncClient, behind: Backstage, stack_env: dict[str, str]
) -> None:
    job = await finished(client, behind, stack_env)
    address = f"/v1/jobs/{job['id']}"
    output = await client.get(f"{address}/outputs/extra", params={"through": "gateway"})
    assert (output.status_code, output.content, inert(output)) == (200, CONTENT, True)
    said = await client.get(f"{address}/inputs/extra")
    assert (said.status_code, said.json(), inert(said)) == (200, [1], True)

    markup = b"<script>alert(1)</script>"
    form = {"image": ("a.html", markup, "image/png")}
    sent = (await client.post("/v1/jobs", data={"model": "echo"}, files=form)).raise_for_status().json()
    given = await client.get(f"/v1/jobs/{sent['id']}/inputs/image")
    assert (given.content, given.headers["content-type"], inert(given)) == (markup, "image/png", True)
    assert given.headers["content-disposition"].startswith("attachment")
    missing = await client.get(f"/v1/jobs/{sent['id']}/inputs/note")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_where_the_store_is_private_outputs_come_through_the_gateway(
    stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, behind: Backstage, key: str
) -> None:
    folder = tmp_path_factory.mktemp("private")
    with gateway_process(stack_env, folder, LEVERET_S3_PUBLIC="false") as other:
        async with api(other.url, key) as client:
            job = await finished(client, behind, stack_env)
            assert job["outputs"]["extra"]["url"] == f"{other.url}/v1/jobs/{job['id']}/outputs/extra"
            answer = await client.get(job["outputs"]["extra"]["url"])
            assert (answer.content, answer.headers["content-type"]) == (CONTENT, "application/json")
            assert answer.headers["content-disposition"].startswith("attachment")
            refused = await client.post("/v1/uploads")
            assert (refused.status_code, refused.json()["code"]) == (409, "uploads_unavailable")


async def test_without_redis_jobs_are_accepted_answered_and_pushed(
    stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, behind: Backstage, key: str
) -> None:
    away = {"LEVERET_REDIS_URL": "redis://127.0.0.1:9/0", "LEVERET_REDIS_TIMEOUT_S": "0.5"}
    folder = tmp_path_factory.mktemp("no-redis")
    with gateway_process({**stack_env, **away}, folder, until="livez") as other:
        async with api(other.admin_url, None) as admin:
            ready = await admin.get("/readyz")
        assert (ready.status_code, list(ready.json()["failing"])) == (503, ["redis"])
        async with api(other.url, key) as client:
            job = await submit(client)
            async with open_socket(other.url, key, job["id"]) as socket:
                assert (await next_event(socket))["type"] == "job.queued"
                await behind.finish(await behind.claim(job["id"]))
                assert [(await next_event(socket))["seq"] for _ in range(2)] == [2, 3]
            assert (await client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "succeeded"


async def test_logs_tell_per_attempt_what_was_printed(
    client: httpx2.AsyncClient, behind: Backstage, stack_env: dict[str, str]
) -> None:
    job = await finished(client, behind, stack_env)
    logs = (await client.get(f"/v1/jobs/{job['id']}/logs")).json()
    views.LogsView.model_validate(logs)
    assert [(entry["attempt"], entry["outcome"], entry["log"]) for entry in logs["attempts"]] == [
        (1, "succeeded", "printed")
    ]
    fresh = await submit(client)
    assert (await client.get(f"/v1/jobs/{fresh['id']}/logs")).json() == {"attempts": []}


async def test_models_are_listed_with_their_schema(client: httpx2.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    views.ModelsView.model_validate(listed)
    assert [model["name"] for model in listed["models"]] == ["echo", "free"]
    one = (await client.get("/v1/models/echo@1")).json()
    assert one["params"]["properties"]["size"]["maximum"] == 1024


async def test_events_have_the_shape_that_is_promised(
    client: httpx2.AsyncClient, behind: Backstage, stack_env: dict[str, str]
) -> None:
    job = await finished(client, behind, stack_env)
    events = (await client.get(f"/v1/jobs/{job['id']}/events")).json()
    views.EventsView.model_validate(events)
    assert [event["seq"] for event in events["events"]] == [1, 2, 3]


async def test_the_pages_load_nothing_from_elsewhere(gateway: GatewayProcess) -> None:
    async with api(gateway.url, None) as anybody:
        for path in ("/", "/docs", "/docs/errors", "/docs/docs.js", "/docs/docs.css"):
            page = await anybody.get(path)
            assert page.status_code == 200
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert not re.search(r"(src|href)=\"(https?:)?//|url\(|@import", page.text)
        errors = (await anybody.get("/docs/errors")).text
        assert all(f'id="{code}"' in errors for code in KINDS)
        assert (await anybody.get("/docs/secrets")).status_code == 404


async def test_the_description_is_complete(gateway: GatewayProcess) -> None:
    async with api(gateway.url, None) as anybody:
        document = (await anybody.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", str(document)):
        assert name in schemas
    assert "HTTPValidationError" not in schemas
    operations = [item for path in document["paths"].values() for item in path.values()]
    assert len(operations) >= 20
    for operation in operations:
        assert operation["operationId"] == "log_in" or operation["security"]
        assert {"401", "500"} <= operation["responses"].keys()
        for status, answer in operation["responses"].items():
            for media, content in answer.get("content", {}).items():
                assert "schema" in content, (operation["summary"], status)
                if media == "application/problem+json":
                    assert content["examples"]
    submit_body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert submit_body.keys() == {"application/json", "multipart/form-data"}


async def test_metrics_tell_submits_and_durations_by_template(
    client: httpx2.AsyncClient, gateway: GatewayProcess
) -> None:
    job = await submit(client)
    await client.get(f"/v1/jobs/{job['id']}")
    async with api(gateway.admin_url, None) as admin:
        metrics = (await admin.get("/metrics")).text
    assert 'leveret_gateway_submits_total{outcome="accepted"}' in metrics
    assert 'route="/v1/jobs/{job_id}"' in metrics
    assert job["id"] not in metrics


def test_the_documented_errors_are_the_ones_there_are() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE) == [
        (kind.code, str(kind.status)) for kind in KINDS.values()
    ]
