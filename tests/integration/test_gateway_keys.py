"""Keys, settings and held queues over the API of a running gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from gateway.operations import views
from gateway.routes.keys import IssuedView, KeysView, KeyView, SettingsView
from shared.jobs import Claim
from tests.gateway_process import Backstage, GatewayProcess, api, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key("holders")


@pytest.fixture
async def operator(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("ops", "laptop", "operator")) as opened:
        yield opened


async def test_a_held_queue_starts_nothing_says_so_and_goes_on(
    operator: httpx2.AsyncClient, client: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given a queue that is held, and a job that comes then
    held = (await operator.post("/v1/queues/default/pause")).json()
    views.QueueView.model_validate(held)
    assert (held["paused"], held["paused_by"]) == (True, "ops/laptop")
    job = await submit(client)
    # Then no worker gets it
    assert not isinstance(await behind.claims.claim(UUID(job["id"])), Claim)
    shown = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert (shown["state"], shown["queue_reason"]) == ("queued", "paused")
    listed = (await client.get("/v1/jobs")).json()["jobs"]
    assert listed[0]["queue_reason"] == "paused"
    # And it runs when the queue goes on
    assert (await operator.post("/v1/queues/default/resume")).json()["paused"] is False
    assert isinstance(await behind.claims.claim(UUID(job["id"])), Claim)
    acts = [entry["action"] for entry in (await operator.get("/v1/audit")).json()["entries"]]
    assert acts[:2] == ["queue.resume", "queue.pause"]


async def test_a_key_is_made_shown_once_used_and_revoked(
    operator: httpx2.AsyncClient, gateway: GatewayProcess
) -> None:
    issued = await operator.post(
        "/v1/admin/keys", json={"name": "ci", "tenant": "newcomers", "expires_in_s": 3600}
    )
    assert issued.status_code == 201, issued.text
    IssuedView.model_validate(issued.json())
    key, secret = issued.json()["key"], issued.json()["secret"]
    assert (key["tenant"], key["role"], key["created_by"], key["mine"]) == (
        "newcomers",
        "user",
        "ops/laptop",
        False,
    )
    assert (secret[:8], issued.headers["cache-control"]) == (key["prefix"], "no-store")
    async with api(gateway.url, secret) as newcomer:
        assert (await newcomer.get("/v1/session")).json()["tenant"] == "newcomers"
        assert (await newcomer.get("/v1/admin/keys")).status_code == 403
        assert (await newcomer.post("/v1/admin/keys", json={"name": "more"})).status_code == 403
        assert (await newcomer.delete(f"/v1/admin/keys/{key['id']}")).status_code == 403
    listed = await operator.get("/v1/admin/keys")
    KeysView.model_validate(listed.json())
    assert secret not in listed.text
    by_id = {each["id"]: each for each in listed.json()["keys"]}
    assert by_id[key["id"]]["last_used_at"] is not None
    assert [each["name"] for each in by_id.values() if each["mine"]] == ["laptop"]
    revoked = (await operator.delete(f"/v1/admin/keys/{key['id']}")).json()
    KeyView.model_validate(revoked)
    assert revoked["revoked_at"] is not None
    assert (await operator.delete(f"/v1/admin/keys/{key['id']}")).json() == revoked


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\x00b"},
        {"name": "a", "role": "root"},
        {"name": "a", "tenant": "No Tenant"},
        {"name": "a", "expires_in_s": 0},
        {"name": "a", "more": 1},
    ],
)
async def test_a_key_that_cannot_be_made_is_refused_by_its_field(
    operator: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    refused = await operator.post("/v1/admin/keys", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("name", ["nothing", "%00", "01980000-0000-7000-8000-000000000000"])
async def test_a_key_that_is_not_there_is_not_found(operator: httpx2.AsyncClient, name: str) -> None:
    assert (await operator.delete(f"/v1/admin/keys/{name}")).status_code == 404


async def test_settings_are_told_without_secrets_and_to_operators_only(
    operator: httpx2.AsyncClient, client: httpx2.AsyncClient, stack_env: dict[str, str]
) -> None:
    answer = await operator.get("/v1/settings")
    SettingsView.model_validate(answer.json())
    shown = {each["name"]: each for each in answer.json()["settings"]}
    for name in (
        "LEVERET_POSTGRES_DSN",
        "LEVERET_RABBITMQ_URL",
        "LEVERET_REDIS_URL",
        "LEVERET_S3_SECRET_KEY",
    ):
        assert (shown[name]["secret"], shown[name]["value"], shown[name]["default"]) == (True, None, False)
        assert stack_env[name] not in answer.text
    assert shown["LEVERET_S3_BUCKET"]["value"] == stack_env["LEVERET_S3_BUCKET"]
    assert answer.json()["limits"]["max_body_bytes"] == 4 * 1024 * 1024
    own = (await client.get("/v1/settings")).json()
    assert (own["settings"], own["limits"]) == ([], answer.json()["limits"])
