"""Every route and socket, asked by everybody else: nothing of a tenant is told to them or changed by them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from deploy.local.seaweedfs import s3_client
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.jobs import Ending, Evidence, State
from tests.gateway_process import Backstage, GatewayProcess, api, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

OWNER = "owner-of-it"
ERROR = {
    "code": "algorithm_error",
    "message": "PRIVATE-MESSAGE",
    "type": "ValueError",
    "retryable": False,
    "traceback": 'File "PRIVATE-TRACE.py", line 3, in run\n',
}
CARRIED = ("PRIVATE-INPUT", "PRIVATE-META", "PRIVATE-OUTPUT", "PRIVATE-UPLOAD")
"""What a job carries is its tenant's alone, and no operator's either."""
TABLES = {
    "jobs": "id",
    "specs": "id",
    "attempts": "job_id, fence",
    "bulk_actions": "id",
    "api_keys": "id",
    "queue_pauses": "queue",
    "fleets": "queue",
    "workers": "id",
    "failures": "job_id",
}


@dataclass(frozen=True, slots=True)
class Owned:
    """What there is of the owner, by the names that the table below uses."""

    names: dict[str, str]
    ids: tuple[str, ...]

    def path(self, template: str) -> str:
        return template.format(**self.names)

    def told_in(self, text: str) -> list[str]:
        """What of it a text tells."""
        return [word for word in (*self.ids, OWNER, "PRIVATE") if word in text]


@dataclass(frozen=True, slots=True)
class Probe:
    """A request, and the statuses for a user and for an operator, both of other tenants."""

    method: str
    path: str
    user: int
    operator: int
    said: Callable[[dict[str, str]], Any] | None = None
    more: str = ""

    async def ask(self, client: httpx2.AsyncClient, owned: Owned) -> httpx2.Response:
        said = {"json": self.said(owned.names)} if self.said else {}
        return await client.request(self.method, owned.path(self.path + self.more), **said)

    def __str__(self) -> str:
        return f"{self.method} {self.path}{self.more}"


def _ids(names: dict[str, str]) -> list[str]:
    return [names["job_id"], names["failed"], names["running"]]


def _bulk(action: str, **more: Any) -> Callable[[dict[str, str]], Any]:
    return lambda names: {"action": action, "filter": {"ids": _ids(names), **more}}


PROBES = [
    Probe("GET", "/v1/jobs", 200, 200),
    Probe("GET", "/v1/jobs", 403, 200, more="?scope=all"),
    Probe("GET", "/v1/jobs", 200, 200, more="?id={job_id}&id={failed}"),
    Probe("GET", "/v1/jobs", 200, 200, more="?fingerprint={fingerprint}"),
    Probe("GET", "/v1/jobs", 200, 200, more="?error=algorithm_error&state=failed&model=free&queue=default"),
    Probe("GET", "/v1/jobs", 200, 200, more="?worker=test-worker"),
    Probe(
        "POST",
        "/v1/jobs",
        422,
        422,
        lambda names: {"model": "free", "inputs": {"extra": {"uri": names["output"]}}},
    ),
    Probe(
        "POST",
        "/v1/jobs",
        422,
        422,
        lambda names: {"model": "echo", "inputs": {"image": {"upload_id": names["upload_id"]}}},
    ),
    Probe("GET", "/v1/jobs/counts", 200, 200),
    Probe("GET", "/v1/jobs/counts", 403, 200, more="?scope=all"),
    Probe("GET", "/v1/jobs/{job_id}", 404, 404),
    Probe("POST", "/v1/jobs/{job_id}/retry", 404, 404),
    Probe("POST", "/v1/jobs/{job_id}/cancel", 404, 404),
    Probe("GET", "/v1/jobs/{job_id}/attempts", 404, 200),
    Probe("GET", "/v1/jobs/{job_id}/logs", 404, 200),
    Probe("GET", "/v1/jobs/{job_id}/events", 404, 404),
    Probe("GET", "/v1/jobs/{job_id}/inputs/{name}", 404, 404),
    Probe("GET", "/v1/jobs/{job_id}/outputs/{name}", 404, 404),
    Probe("GET", "/v1/jobs/{job_id}/outputs/{name}", 404, 404, more="?through=gateway"),
    Probe("GET", "/v1/failures", 200, 200),
    Probe("GET", "/v1/failures", 403, 200, more="?scope=all"),
    Probe("GET", "/v1/failures/{fingerprint}", 404, 404),
    Probe("GET", "/v1/failures/{fingerprint}", 403, 200, more="?scope=all"),
    Probe("POST", "/v1/bulk", 201, 201, _bulk("cancel")),
    Probe("POST", "/v1/bulk", 403, 201, _bulk("retry", scope="all")),
    Probe("GET", "/v1/bulk", 200, 200),
    Probe("GET", "/v1/bulk/{bulk_id}", 404, 200),
    Probe("POST", "/v1/bulk/{bulk_id}/start", 404, 409),
    Probe("POST", "/v1/bulk/{bulk_id}/abort", 404, 409),
    Probe("GET", "/v1/models", 200, 200),
    Probe("GET", "/v1/models/{model}", 200, 200),
    Probe("GET", "/v1/models/statistics", 200, 200),
    Probe("GET", "/v1/models/statistics", 403, 200, more="?scope=all"),
    Probe("GET", "/v1/models/{model}/statistics", 200, 200),
    Probe("GET", "/v1/models/{model}/statistics", 403, 200, more="?scope=all"),
    Probe("GET", "/v1/history", 200, 200),
    Probe("GET", "/v1/history", 403, 200, more="?scope=all&model=free"),
    Probe("GET", "/v1/admin/keys", 403, 200),
    Probe("POST", "/v1/admin/keys", 403, 201, lambda _: {"name": "more", "tenant": OWNER}),
    Probe("DELETE", "/v1/admin/keys/{key_id}", 403, 200),
    Probe("GET", "/v1/settings", 200, 200),
    Probe("POST", "/v1/stream-tickets", 201, 201),
    Probe("POST", "/v1/uploads", 201, 201),
    Probe("GET", "/v1/queues", 403, 200),
    Probe("POST", "/v1/queues/{queue}/pause", 403, 200),
    Probe("POST", "/v1/queues/{queue}/resume", 403, 200),
    Probe("GET", "/v1/workers", 403, 200),
    Probe("POST", "/v1/workers/{worker_id}/drain", 403, 200),
    Probe("POST", "/v1/workers/{worker_id}/undrain", 403, 200),
    Probe("GET", "/v1/scaler", 403, 200),
    Probe("GET", "/v1/scaler/{queue}/history", 403, 200),
    Probe("GET", "/v1/scaler/{queue}/decisions", 403, 200),
    Probe("PUT", "/v1/scaler/{queue}", 403, 200, lambda _: {"max": 3}),
    Probe("POST", "/v1/scaler/{queue}/pause", 403, 200),
    Probe("POST", "/v1/scaler/{queue}/resume", 403, 200),
    *(Probe("GET", "/v1/cost", 200, 200, more=f"?by={by}") for by in ("tenant", "model", "job", "day")),
    Probe("GET", "/v1/overview", 200, 200),
    Probe("GET", "/v1/audit", 403, 200),
    Probe("GET", "/v1/session", 200, 200),
    Probe("POST", "/v1/session", 401, 401, lambda _: {"key": f"lev_{'A' * 43}"}),
    Probe("DELETE", "/v1/session", 204, 204),
]
ABOUT_ALL = {
    "/v1/admin/keys",
    "/v1/admin/keys/{key_id}",
    "/v1/audit",
    "/v1/bulk/{bulk_id}",
    "/v1/bulk/{bulk_id}/start",
    "/v1/bulk/{bulk_id}/abort",
    "/v1/cost",
    "/v1/jobs/{job_id}/attempts",
    "/v1/jobs/{job_id}/logs",
    "/v1/overview",
    "/v1/queues",
    "/v1/workers",
    "/v1/workers/{worker_id}/drain",
    "/v1/workers/{worker_id}/undrain",
    "/v1/scaler",
    "/v1/scaler/{queue}",
}
"""Where an operator is told of every tenant without saying `scope=all`."""


@pytest.fixture(scope="module")
async def owned(gateway: GatewayProcess, behind: Backstage, stack_env: dict[str, str]) -> Owned:
    """A job that is done, one that failed, one that runs, a draft that was given up, a key, an upload."""
    issued, key = await behind.keys.issue(OWNER, "PRIVATE-KEY", "user")
    async with api(gateway.url, key) as client:
        carried = {"inputs": {"extra": {"json": "PRIVATE-INPUT"}}, "metadata": {"order": "PRIVATE-META"}}
        done, failed, running = [(await submit(client, **carried))["id"] for _ in range(3)]
        form = {"image": ("PRIVATE-UPLOAD.png", b"PRIVATE-UPLOAD", "image/png")}
        sent = await client.post("/v1/jobs", data={"model": "echo"}, files=form)
        upload = sent.json()["inputs"]["image"]["uri"]
        output = await _finish(behind, stack_env, done)
        claim = await behind.claim(failed, announce=False)
        await behind.attempts.finish(claim, Ending(state=State.FAILED, evidence=Evidence(error=ERROR)))
        await behind.claim(running, announce=False)
        [group] = (await client.get("/v1/failures")).json()["groups"]
        drafted = await client.post("/v1/bulk", json={"action": "cancel", "filter": {"ids": [running]}})
        bulk_id = drafted.json()["id"]
        await client.post(f"/v1/bulk/{bulk_id}/abort")
    await WorkerStore(
        behind.database, WorkerIdentity(id="test-worker", queue="default", host="h", device="cpu", slots=1)
    ).beat("ready", busy=1)
    names = {
        "job_id": done,
        "failed": failed,
        "running": running,
        "bulk_id": bulk_id,
        "output": output,
        "name": "extra",
        "model": "free",
        "queue": "default",
        "worker_id": "test-worker",
        "key_id": str(issued.id),
        "fingerprint": group["fingerprint"],
        "upload_id": upload.rpartition("/")[2],
    }
    return Owned(names, (done, failed, running, bulk_id, str(issued.id), sent.json()["id"]))


async def _finish(behind: Backstage, env: dict[str, str], job_id: str) -> str:
    bucket, name = env["LEVERET_S3_BUCKET"], f"{OWNER}/{job_id}/1/extra.json"
    async with s3_client(env) as s3:
        await s3.put_object(Bucket=bucket, Key=name, Body=b'"PRIVATE-OUTPUT"')
    output = {"uri": f"s3://{bucket}/{name}", "content_type": "application/json", "size": 16}
    await behind.finish(await behind.claim(job_id), {"extra": {**output, "sha256": "0" * 64}})
    return f"s3://{bucket}/{name}"


@pytest.fixture
async def user(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("stranger", "one", "user")) as opened:
        yield opened


@pytest.fixture
async def operator(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("house", "one", "operator")) as opened:
        yield opened


async def rows(behind: Backstage, *tables: str) -> dict[str, list[dict[str, Any]]]:
    """All that could have been changed, less what a look itself writes down."""
    found = {}
    for table in tables:
        read = await behind.database.read(f"select * from {table} order by {TABLES[table]}")  # noqa: S608  ours
        found[table] = [{name: row[name] for name in dict(row) if name != "last_used_at"} for row in read]
    return found


async def test_no_route_is_left_out_of_the_table(gateway: GatewayProcess) -> None:
    async with api(gateway.url, None) as anybody:
        paths = (await anybody.get("/openapi.json")).json()["paths"]
    offered = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    probed = {(probe.method, probe.path.replace("{model}", "{name}")) for probe in PROBES}
    assert offered == probed


@pytest.mark.parametrize("key", [None, f"lev_{'B' * 43}"])
async def test_nobody_gets_nothing(gateway: GatewayProcess, owned: Owned, key: str | None) -> None:
    async with api(gateway.url, key) as anybody:
        for probe in PROBES:
            answer = await probe.ask(anybody, owned)
            assert (answer.status_code, owned.told_in(answer.text)) == (401, []), probe


async def test_a_stranger_is_told_nothing_and_changes_nothing(
    user: httpx2.AsyncClient, behind: Backstage, owned: Owned
) -> None:
    before = await rows(behind, *TABLES)
    drafts = []
    for probe in PROBES:
        answer = await probe.ask(user, owned)
        told = owned.told_in(_less_asked(answer.text, probe, owned))
        assert (answer.status_code, told) == (probe.user, []), probe
        if (probe.path, answer.status_code) == ("/v1/bulk", 201):
            drafts.append(answer.json())
    assert [draft["count"] for draft in drafts] == [0]
    after = await rows(behind, *TABLES)
    after["bulk_actions"] = [row for row in after["bulk_actions"] if row["tenant"] != "stranger"]
    assert after == before


def _less_asked(text: str, probe: Probe, owned: Owned) -> str:
    """An answer may repeat the ids that the question named."""
    if probe.path != "/v1/bulk":
        return text
    for asked in _ids(owned.names):
        text = text.replace(asked, "")
    return text


async def test_an_operator_of_another_tenant_sees_jobs_and_not_what_they_carry(
    operator: httpx2.AsyncClient, behind: Backstage, owned: Owned
) -> None:
    before = await rows(behind, "jobs", "specs", "attempts", "failures")
    for probe in PROBES:
        answer = await probe.ask(operator, owned)
        assert answer.status_code == probe.operator, (probe, answer.text)
        assert not [word for word in CARRIED if word in answer.text], probe
        if probe.path not in ABOUT_ALL and "scope" not in f"{probe.more}{answer.request.content!r}":
            assert not owned.told_in(_less_asked(answer.text, probe, owned)), probe
    assert await rows(behind, "jobs", "specs", "attempts", "failures") == before


async def test_no_socket_tells_of_another_tenants_jobs(
    gateway: GatewayProcess, user: httpx2.AsyncClient, owned: Owned
) -> None:
    asked = {
        f"/v1/jobs/{owned.names['running']}/stream": None,
        "/v1/stream": {"subscribe": [{"id": owned.names["running"]}]},
        "/v1/live": {
            "subscribe": ["jobs", "overview", "queues", "workers", "scaler"],
            "ids": _ids(owned.names),
            "newest": "00000000-0000-0000-0000-000000000000",
            "scope": "all",
        },
    }
    for path, wish in asked.items():
        text = await _first_told(gateway, path, wish, user.headers["authorization"])
        for id_ in (owned.names["running"],) if path == "/v1/stream" else ():
            text = text.replace(f'"id":"{id_}","code":"not_found"', "")
        assert not owned.told_in(text), path
        assert '"new_jobs":0' in text or path != "/v1/live", text


async def _first_told(gateway: GatewayProcess, path: str, wish: Any, key: str) -> str:
    """What a socket says within its first moments, and with what it closes."""
    told: list[str] = []
    address = gateway.url.replace("http", "ws", 1) + path
    async with connect(address, additional_headers={"Authorization": key}) as socket:
        if wish is not None:
            await socket.send(json.dumps(wish))
        try:
            async with asyncio.timeout(5):
                while "overview" not in "".join(told) and "not_found" not in "".join(told):
                    told.append(str(await socket.recv()))
        except ConnectionClosed as closed:
            told.append(closed.rcvd.reason if closed.rcvd else "")
    return "".join(told)


@pytest.mark.parametrize("path", ["/v1/jobs/{running}/stream", "/v1/stream", "/v1/live"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
async def test_no_socket_opens_for_a_page_of_somebody_else(
    gateway: GatewayProcess, user: httpx2.AsyncClient, owned: Owned, path: str, origin: str
) -> None:
    told = await _denied(gateway, owned.path(path), {"Origin": origin, **_key(user)})
    assert told.startswith("unauthorized")
    assert (await _denied(gateway, owned.path(path), {})).startswith("unauthorized")


@pytest.mark.parametrize("path", ["/v1/jobs/{running}/stream", "/v1/stream", "/v1/live"])
async def test_a_ticket_opens_one_socket(
    gateway: GatewayProcess, user: httpx2.AsyncClient, owned: Owned, path: str
) -> None:
    ticket = (await user.post("/v1/stream-tickets")).json()["ticket"]
    address = gateway.url.replace("http", "ws", 1) + owned.path(path) + f"?ticket={ticket}"
    async with connect(address):
        pass
    again = await _denied(gateway, owned.path(path) + f"?ticket={ticket}", {})
    assert again.startswith("unauthorized")


def _key(client: httpx2.AsyncClient) -> dict[str, str]:
    return {"Authorization": client.headers["authorization"]}


async def _denied(gateway: GatewayProcess, path: str, headers: dict[str, str]) -> str:
    address = gateway.url.replace("http", "ws", 1) + path
    async with connect(address, additional_headers=headers) as socket, asyncio.timeout(10):
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    return closed.value.rcvd.reason
