"""Queues, workers and the scaler over the API, by the rows of a real PostgreSQL: roles, pages, tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from gateway.operations import views
from shared.adapters.store.fleet import FleetStore
from shared.adapters.store.leases import LEASE_S
from shared.adapters.store.overrides import OverrideStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from tests.gateway_process import Backstage, GatewayProcess, api, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key("tenants")


@pytest.fixture
async def operator(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("ops", "laptop", "operator")) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def _clean(behind: Backstage) -> None:
    for table in ("jobs", "attempts", "workers", "fleets", "decisions", "fleet_looks"):
        await behind.database.write(f"delete from {table}")  # noqa: S608  the names are above


def worker(behind: Backstage, name: str, *, queue: str = "default", slots: int = 1) -> WorkerStore:
    return WorkerStore(
        behind.database, WorkerIdentity(id=name, queue=queue, host="here", device="cpu", slots=slots)
    )


async def queue_of(operator: httpx2.AsyncClient, name: str) -> dict[str, Any]:
    found = (await operator.get("/v1/queues")).json()
    views.QueuesView.model_validate(found)
    return next(queue for queue in found["queues"] if queue["queue"] == name)


async def decide(behind: Backstage, queue: str, count: int) -> list[int]:
    store = FleetStore(behind.database)
    return [
        await store.record(
            queue,
            want=number,
            have=0,
            reason=f"{number} wait",
            snapshot={"demand": "unknown"},
            actions={"launch": number, "drain": [], "terminate": [], "token": "t"},
        )
        for number in range(count)
    ]


async def test_a_queue_tells_what_waits_and_runs(
    operator: httpx2.AsyncClient, client: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given jobs of two classes, one that runs and one whose time has not come
    job = await submit(client, priority=5)
    await submit(client, priority=5)
    await submit(client, priority=9)
    await submit(client, delay_s=600)
    await behind.claim(job["id"])
    # Then each is counted where it belongs
    shown = await queue_of(operator, "default")
    assert (shown["waiting"], shown["running"], shown["scheduled"]) == (2, 1, 1)
    assert shown["classes"]["high"]["waiting"] == 1
    assert shown["classes"]["normal"] | {"oldest_s": 0} == {"waiting": 1, "running": 1, "oldest_s": 0}
    assert [each["priority"] for each in shown["priorities"]] == [9, 5]
    assert shown["oldest_s"] >= 0
    # And nobody guesses when they will be done
    assert (shown["ended_per_min"], shown["mean_s"], shown["eta_s"]) == (None, None, None)
    assert (await queue_of(operator, "quick"))["oldest_s"] is None


async def test_a_queue_tells_its_pace_when_enough_has_ended(
    operator: httpx2.AsyncClient, client: httpx2.AsyncClient, behind: Backstage
) -> None:
    for _ in range(5):
        job = await submit(client)
        await behind.finish(await behind.claim(job["id"], announce=False), announce=False)
    await submit(client)
    await worker(behind, "one", slots=2).beat("ready", busy=0)

    shown = await queue_of(operator, "default")

    assert shown["ended_per_min"] == 1.0
    assert shown["mean_s"] is not None
    assert shown["eta_s"] == pytest.approx(shown["mean_s"])
    assert shown["workers"] == {"starting": 0, "ready": 1, "busy": 0, "draining": 0, "slots": 2}


async def test_workers_tell_what_they_run_and_nothing_of_what_it_carries(
    operator: httpx2.AsyncClient, client: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given a worker that runs a job of another tenant than the operator's, one that left, one long silent
    job = await submit(client, inputs={"extra": {"json": "a secret"}}, metadata={"order": "a secret"})
    await worker(behind, "test-worker").beat("ready", busy=1)
    await worker(behind, "left").beat("gone", busy=0)
    await worker(behind, "silent", queue="quick").beat("ready", busy=0)
    await behind.database.write(
        "update workers set heartbeat_at = heartbeat_at - interval '1 min' where id = 'silent'"
    )
    await behind.claim(job["id"])
    # When the operator looks
    answer = await operator.get("/v1/workers")
    views.WorkersView.model_validate(answer.json())
    busy, silent = answer.json()["workers"]
    # Then it knows the job by id and model, and not what it carries nor whose it is
    assert (busy["id"], busy["state"], busy["busy"], busy["silent"]) == ("test-worker", "ready", 1, False)
    [held] = busy["jobs"]
    assert held.pop("running_s") >= 0
    assert 0 < held.pop("lease_s") <= LEASE_S
    assert held == {"id": job["id"], "model": "free", "model_version": "1", "attempt": 1, "fence": 1}
    assert (silent["id"], silent["silent"]) == ("silent", True)
    assert "secret" not in answer.text
    assert "tenants" not in answer.text
    assert (await operator.get(f"/v1/jobs/{job['id']}")).status_code == 404
    # And may look at one queue
    one = (await operator.get("/v1/workers", params={"queue": "quick"})).json()
    assert [each["id"] for each in one["workers"]] == ["silent"]


REPORT: dict[str, Any] = {
    "devices": [
        {
            "device": "cuda0",
            "kind": "cuda",
            "name": "NVIDIA L4",
            "utilisation": 0.82,
            "memory_used": 19_542_048_768,
            "memory_total": 24_152_899_584,
        },
        {"device": "cuda1", "kind": "cuda", "name": None, "utilisation": None, "memory_used": None},
    ],
    "models": [{"name": "free", "version": "1", "engines": 2, "load_s": 2.14, "memory": 184_500_000}],
}


async def test_workers_tell_of_their_devices_and_models_what_they_know(
    operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    one = worker(behind, "one")
    await one.beat("ready", busy=0, report={"devices": [], "models": []})
    await one.beat("ready", busy=0, report=REPORT)
    await worker(behind, "two").beat("ready", busy=0)

    answer = (await operator.get("/v1/workers")).json()

    views.WorkersView.model_validate(answer)
    told, silent = answer["workers"]
    assert told["devices"][0] == REPORT["devices"][0]
    assert told["devices"][1] == {**REPORT["devices"][1], "memory_total": None}
    assert told["models"] == REPORT["models"]
    # Nothing told is not known, and nothing held is empty
    assert (silent["devices"], silent["models"]) == (None, None)
    await one.beat("draining", busy=0, report={"devices": [], "models": []})
    leaving = (await operator.get("/v1/workers")).json()["workers"][0]
    assert (leaving["devices"], leaving["models"]) == ([], [])


async def test_a_busy_worker_is_asked_to_drain_and_hears_of_it(
    operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    busy = worker(behind, "busy")
    assert not await busy.beat("ready", busy=1)
    await worker(behind, "left").beat("gone", busy=0)

    answer = await operator.post("/v1/workers/busy/drain")

    views.WorkerView.model_validate(answer.json())
    assert (answer.status_code, answer.json()["draining"]) == (200, True)
    assert await busy.beat("ready", busy=1)
    assert (await operator.post("/v1/workers/busy/drain")).status_code == 200
    for name in ("left", "nobody", "a%00b", "%ff"):
        missing = await operator.post(f"/v1/workers/{name}/drain")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_a_drain_is_taken_back_until_the_worker_has_heard_of_it(
    operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    keen = worker(behind, "keen")
    await keen.beat("ready", busy=1)
    # Asked and taken back, it hears of nothing
    await operator.post("/v1/workers/keen/drain")
    stays = await operator.post("/v1/workers/keen/undrain")
    assert (stays.status_code, stays.json()["draining"]) == (200, False)
    assert not await keen.beat("ready", busy=1)
    # Asked again, it hears of it, and counts as leaving before it says so itself
    await operator.post("/v1/workers/keen/drain")
    assert await keen.beat("ready", busy=1)
    late = await operator.post("/v1/workers/keen/undrain")
    assert (late.status_code, late.json()["code"]) == (409, "worker_leaving")
    [seen] = (await operator.get("/v1/workers")).json()["workers"]
    assert (seen["state"], seen["draining"]) == ("draining", True)
    assert (await operator.post("/v1/workers/nobody/undrain")).status_code == 404


async def test_decisions_come_in_pages_while_new_ones_are_made(
    operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    ids = await decide(behind, "quick", 5)
    await decide(behind, "default", 1)
    first = (await operator.get("/v1/scaler/quick/decisions", params={"limit": 2})).json()
    views.DecisionsView.model_validate(first)
    await decide(behind, "quick", 1)
    then = {"limit": 3, "cursor": first["next_cursor"]}
    second = (await operator.get("/v1/scaler/quick/decisions", params=then)).json()

    seen = [decision["id"] for decision in first["decisions"] + second["decisions"]]
    assert seen == sorted(ids, reverse=True)
    assert second["next_cursor"] is None
    newest = first["decisions"][0]
    assert (newest["want"], newest["reason"], newest["inputs"]) == (4, "4 wait", {"demand": "unknown"})
    assert newest["actions"] == {"launch": 4, "drain": [], "terminate": []}
    # A queue of the catalog on which nothing was decided has none, one that nobody knows is not there
    await behind.database.write("delete from decisions")
    assert (await operator.get("/v1/scaler/quick/decisions")).json() == {"decisions": [], "next_cursor": None}
    assert (await operator.get("/v1/scaler/nowhere/decisions")).status_code == 404


async def test_what_is_set_is_kept_with_who_and_when_and_the_scaler_can_read_it(
    operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    [last] = await decide(behind, "quick", 1)
    answer = await operator.put("/v1/scaler/quick", json={"min": 2, "max": 8})
    views.FleetView.model_validate(answer.json())
    assert answer.json()["latest"]["id"] == last
    await operator.post("/v1/scaler/quick/pause")

    overrides = await OverrideStore(behind.database).overrides()
    assert overrides.keys() == {"quick"}
    kept = overrides["quick"]
    assert (kept.min, kept.max, kept.paused, kept.changed_by) == (2, 8, True, "ops/laptop")

    fleets = (await operator.get("/v1/scaler")).json()
    views.FleetsView.model_validate(fleets)
    default, quick = fleets["fleets"]
    assert (default["queue"], default["changed_by"], default["latest"]) == ("default", None, None)
    assert (quick["queue"], quick["paused"], quick["max"]) == ("quick", True, 8)
    assert (await queue_of(operator, "quick"))["scaler"]["paused"]

    assert (await operator.post("/v1/scaler/quick/resume")).json()["paused"] is False
    given_back = (await operator.put("/v1/scaler/quick", json={"min": None, "max": None})).json()
    assert (given_back["min"], given_back["max"], given_back["changed_by"]) == (None, None, "ops/laptop")


async def test_a_minimum_never_passes_a_maximum_whoever_speaks_at_once(
    operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    assert (await operator.put("/v1/scaler/quick", json={"max": 5})).status_code == 200
    for _ in range(5):
        answers = await asyncio.gather(
            operator.put("/v1/scaler/quick", json={"min": 4}),
            operator.put("/v1/scaler/quick", json={"max": 3}),
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert "limits_crossed" in {answer.json().get("code") for answer in answers}
        kept = (await OverrideStore(behind.database).overrides())["quick"]
        assert (kept.min or 0) <= (kept.max or 0)
        await operator.put("/v1/scaler/quick", json={"min": None, "max": 5})


async def test_a_queue_without_a_model_can_be_set_while_its_jobs_are_there(
    operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    assert (await operator.put("/v1/scaler/retired", json={"max": 0})).status_code == 404
    await worker(behind, "late", queue="retired").beat("ready", busy=1)
    assert (await operator.put("/v1/scaler/retired", json={"max": 0})).status_code == 200
    assert not (await queue_of(operator, "retired"))["offered"]
    assert [fleet["queue"] for fleet in (await operator.get("/v1/scaler")).json()["fleets"]] == [
        "default",
        "quick",
        "retired",
    ]


async def test_a_tenants_key_sees_and_changes_nothing(
    client: httpx2.AsyncClient, gateway: GatewayProcess, behind: Backstage
) -> None:
    # Given things to see
    await submit(client)
    await worker(behind, "busy").beat("ready", busy=1)
    await decide(behind, "quick", 1)
    told = set()
    async with api(gateway.url, None) as nobody:
        for method, path in (
            ("GET", "/v1/queues"),
            ("GET", "/v1/workers"),
            ("GET", "/v1/workers?queue=default"),
            ("POST", "/v1/workers/busy/drain"),
            ("POST", "/v1/workers/nobody/drain"),
            ("GET", "/v1/scaler"),
            ("GET", "/v1/scaler/quick/decisions"),
            ("GET", "/v1/scaler/nowhere/decisions?limit=x"),
            ("PUT", "/v1/scaler/quick"),
            ("POST", "/v1/scaler/quick/pause"),
            ("POST", "/v1/scaler/nowhere/resume"),
        ):
            # When a key of the role `user` asks, whatever it asks
            answer = await client.request(method, path, content=b'{"min": 1}' if method == "PUT" else None)
            assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
            told.add(tuple(answer.json()[name] for name in ("code", "title", "detail")))
            assert (await nobody.request(method, path)).status_code == 401
    # Then it is told one and the same, and nothing was changed
    assert len(told) == 1
    assert await OverrideStore(behind.database).overrides() == {}
    assert not await worker(behind, "busy").beat("ready", busy=1)
