"""Backup and restore by the runbook's own commands, against real servers: what comes back, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.seaweedfs import s3_client
from tests.gateway_process import api, backstage, gateway_process, submit
from tests.recovery import PAGES, administered, blocks_of, run
from tests.stack import make_bucket, with_database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(300)]

BUCKET = "recovery"
OUTPUT = f"s3://{BUCKET}/acme/output.bin"
PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Before:
    """What there was: a job of each kind, and one that came after the backup."""

    key: str
    ended: Mapping[str, Any]
    running: Mapping[str, Any]
    queued: Mapping[str, Any]
    after: Mapping[str, Any]


async def test_what_was_backed_up_comes_back_and_goes_on(tmp_path: Path) -> None:
    backup, restore, empty = blocks_of(PAGES / "backup.md")
    async with administered() as (_, settings):
        env = await _new_database(settings) | {"BACKUP": str(tmp_path / "backup")}
        # Given jobs of each kind, a backup while the gateway serves, and more that happens then
        before = await _life(env, tmp_path, backup)
        # When the disaster comes, and what was backed up is restored
        await _done('psql "$ADMIN_DSN" -c "drop database jobs with (force)"', env)
        await _done(f"aws s3 rm --recursive --only-show-errors s3://{BUCKET}", env)
        assert "force_generic_plan" in await _done(restore, env)
        await _done(empty, env)
        # Then all is as it was: what ran is taken back, what was queued is sent again
        with gateway_process(env, tmp_path) as gateway:
            async with api(gateway.url, before.key) as client:
                assert (await _job(client, before.ended))["state"] == "succeeded"
                assert (await _job(client, before.queued))["state"] == "queued"
                assert (await client.get(f"/v1/jobs/{before.after['id']}")).status_code == 404
                await _until_queued(client, before.running)
            assert await _get(env) == b"made of it"
            assert await _messages(env) >= 2


async def _new_database(settings: Mapping[str, str]) -> dict[str, str]:
    env = {
        **settings,
        "LEVERET_S3_BUCKET": BUCKET,
        "LEVERET_POSTGRES_DSN": with_database(settings["LEVERET_POSTGRES_DSN"], "jobs"),
        "ADMIN_DSN": with_database(settings["LEVERET_POSTGRES_DSN"], "postgres"),
    }
    await make_bucket(env)
    await _done('psql "$ADMIN_DSN" -c "create database jobs"', env)
    await _done("python -m shared.adapters.store.migrate", env)
    return env


async def _life(env: Mapping[str, str], folder: Path, backup: str) -> Before:
    with gateway_process(env, folder) as gateway:
        async with backstage(env) as behind:
            key = await behind.key("acme")
            async with api(gateway.url, key) as client:
                ended, running, queued = [await submit(client, priority=p) for p in (9, 5, 1)]
                await _put(env, b"made of it")
                output = {"uri": OUTPUT, "content_type": "application/octet-stream", "size": 10}
                await behind.finish(await behind.claim(ended["id"]), {"extra": output})
                await behind.claim(running["id"])
                await _done(backup, env)
                after = await submit(client)
                await behind.claim(queued["id"])
                return Before(key, ended, running, queued, after)


async def _done(command: str, env: Mapping[str, str]) -> str:
    status, printed = await run(command, env)
    assert status == 0, f"{command}\n{printed}"
    return printed


async def _job(client: httpx2.AsyncClient, job: Mapping[str, Any]) -> dict[str, Any]:
    answer = await client.get(f"/v1/jobs/{job['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _until_queued(client: httpx2.AsyncClient, job: Mapping[str, Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await _job(client, job))["state"] != "queued":
            await asyncio.sleep(0.2)


async def _messages(env: Mapping[str, str]) -> int:
    """Hints that the relay has sent, as the broker counts them once they are there."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            listed = await _done("rabbitmqctl -q list_queues --no-table-headers name messages", env)
            counts = dict(line.split() for line in listed.splitlines() if line.startswith("leveret."))
            if (found := int(counts.get("leveret.default", 0))) >= 2:
                return found
            await asyncio.sleep(0.5)


async def _put(env: Mapping[str, str], body: bytes) -> None:
    async with s3_client(env) as s3:
        await s3.put_object(Bucket=BUCKET, Key="acme/output.bin", Body=body)


async def _get(env: Mapping[str, str]) -> bytes:
    async with s3_client(env) as s3:
        answer = await s3.get_object(Bucket=BUCKET, Key="acme/output.bin")
        body: bytes = await answer["Body"].read()
        return body
