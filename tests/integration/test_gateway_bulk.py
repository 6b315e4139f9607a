"""Actions on many jobs over the API of a real gateway: settled, confirmed, done once, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from gateway.lists import views
from shared.adapters.store.bulk import BulkStore
from shared.jobs import Ending, Evidence, State
from shared.listing import Tally
from tests.gateway_process import Backstage, GatewayProcess, api, gateway_process, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

SUCCESSORS = "select count(retry_of) as n, count(distinct retry_of) as of from specs"
ERROR = {"code": "algorithm_error", "message": "no", "type": "ValueError", "retryable": False}


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key("many")


@pytest.fixture
async def operator(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("ops", "laptop", "operator")) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def _clean(behind: Backstage) -> None:
    await behind.database.write(
        "truncate jobs, specs, attempts, events, failures, audit, bulk_actions, bulk_parts"
    )


async def failed(client: httpx2.AsyncClient, behind: Backstage) -> str:
    job = await submit(client)
    claim = await behind.claim(job["id"], announce=False)
    ending = Ending(state=State.FAILED, evidence=Evidence(error=ERROR))
    assert await behind.attempts.finish(claim, ending)
    return str(job["id"])


async def many_failed(behind: Backstage, model: dict[str, Any], count: int) -> None:
    """So many copies of a failed job, as rows."""
    await behind.database.write(
        "with n as (select gen_random_uuid() as id from generate_series(1, $2::int)),"
        " spec as (insert into specs (id, tenant, model, model_version, inputs, params, metadata,"
        " destinations, timeout_s, body_digest) select n.id, tenant, model, model_version, inputs, params,"
        " metadata, destinations, timeout_s, body_digest from specs, n where specs.id = $1)"
        " insert into jobs (id, queue, state, priority, seq, max_attempts)"
        " select n.id, queue, 'canceled', priority, 1, max_attempts from jobs, n where jobs.id = $1",
        UUID(model["id"]),
        count,
    )


async def drafted(client: httpx2.AsyncClient, action: str, **fields: Any) -> dict[str, Any]:
    priority = {"priority": fields.pop("priority")} if "priority" in fields else {}
    answer = await client.post("/v1/bulk", json={"action": action, "filter": fields, **priority})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    views.BulkView.model_validate(made)
    assert answer.headers["Location"] == f"/v1/bulk/{made['id']}"
    return made


async def ended(client: httpx2.AsyncClient, bulk_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            found: dict[str, Any] = (await client.get(f"/v1/bulk/{bulk_id}")).json()
            if found["state"] in {"done", "aborted", "failed"}:
                return found
            await asyncio.sleep(0.05)


async def test_a_retry_takes_the_jobs_it_was_made_for_and_no_others(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given three failed jobs, one that succeeded, and a draft to retry the failed
    old = {await failed(client, behind) for _ in range(3)}
    well = await submit(client)
    await behind.finish(await behind.claim(well["id"], announce=False), announce=False)
    made = await drafted(client, "retry", model="free")
    assert (made["count"], made["state"], made["confirm_needed"]) == (3, "draft", False)
    assert made["filter"] == {"model": "free", "state": ["canceled", "expired", "failed"], "retried": "no"}
    assert made["consequence"].startswith("Makes 3 new jobs")
    # When another fails before it is started
    late = await failed(client, behind)
    answer = await client.post(f"/v1/bulk/{made['id']}/start")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    done = await ended(client, made["id"])
    # Then the three have each a new job, and nothing else has
    assert (done["done"], done["skipped"], done["failed"]) == (3, 0, 0)
    new = [row for row in (await client.get("/v1/jobs")).json()["jobs"] if row["retry_of"]]
    assert {row["retry_of"] for row in new} == old
    assert (len(new), late in old) == (3, False)
    # And it is written down who did it
    told = (await operator.get("/v1/audit")).json()["entries"][::-1]
    assert [each["action"] for each in told] == ["bulk.create", "bulk.start", "bulk.step", "bulk.end"]
    assert {each["by"] for each in told} == {"many/test"}
    assert [each["count"] for each in told] == [3, 3, 3, 3]
    again = await client.post(f"/v1/bulk/{made['id']}/start")
    assert (again.status_code, again.json()["code"]) == (409, "bulk_started")


async def test_jobs_chosen_by_hand_are_the_only_ones(client: httpx2.AsyncClient, behind: Backstage) -> None:
    mine, other = await failed(client, behind), await failed(client, behind)
    left, alone = [(await submit(client))["id"] for _ in range(2)]
    for action, job in (("retry", mine), ("cancel", left)):
        made = await drafted(client, action, ids=[job])
        assert made["count"] == 1
        await client.post(f"/v1/bulk/{made['id']}/start")
        assert (await ended(client, made["id"]))["done"] == 1
    assert await retries(client) == [mine]
    assert other not in await retries(client)
    assert (await client.get(f"/v1/jobs/{alone}")).json()["state"] == "queued"
    made = await drafted(client, "prioritise", ids=[alone, mine], priority=9)
    assert made["count"] == 1


async def retries(client: httpx2.AsyncClient) -> list[str]:
    """What was retried, once for each retry."""
    rows = (await client.get("/v1/jobs", params={"limit": 200})).json()["jobs"]
    return sorted(row["retry_of"] for row in rows if row["retry_of"])


async def fail_all_that_is_queued(client: httpx2.AsyncClient, behind: Backstage) -> None:
    for row in (await client.get("/v1/jobs", params={"state": "queued"})).json()["jobs"]:
        claim = await behind.claim(row["id"], announce=False)
        assert await behind.attempts.finish(claim, Ending(state=State.FAILED, evidence=Evidence(error=ERROR)))


async def group_of(client: httpx2.AsyncClient) -> dict[str, Any]:
    [group] = (await client.get("/v1/failures")).json()["groups"]
    views.GroupView.model_validate(group)
    return dict(group)


async def test_a_group_is_retried_once_however_often_its_retries_fail(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given eight jobs that failed alike, of which one was tried again first
    old = {await failed(client, behind) for _ in range(8)}
    group = await group_of(client)
    assert (group["count"], group["retried"], group["open"]) == (8, 0, 8)
    await client.post(f"/v1/jobs/{group['open_job']}/retry")
    # When the group is retried
    made = await drafted(client, "retry", fingerprint=group["fingerprint"])
    # Then the one is not, and the draft says so
    assert (made["count"], made["left_out"]) == (7, 1)
    assert made["consequence"] == (
        "Makes 7 new jobs with the same inputs; the old ones stay as they are. "
        "Left out: 1 more that was retried before."
    )
    await client.post(f"/v1/bulk/{made['id']}/start")
    assert (await ended(client, made["id"]))["done"] == 7
    assert await retries(client) == sorted(old)
    # And when all of them fail as before, the next retry takes these eight, not sixteen
    await fail_all_that_is_queued(client, behind)
    group = await group_of(client)
    assert (group["count"], group["retried"], group["open"]) == (16, 8, 8)
    listed = {"fingerprint": group["fingerprint"], "retried": "no"}
    open_ = {row["id"] for row in (await client.get("/v1/jobs", params=listed)).json()["jobs"]}
    assert len(open_) == 8
    assert not open_ & old
    again = await drafted(client, "retry", fingerprint=group["fingerprint"])
    assert (again["count"], again["left_out"]) == (8, 8)
    # And all of them where that is what is asked for
    assert (await drafted(client, "retry", retried="any", state=["failed"]))["count"] == 16
    twice = await drafted(client, "retry", retried="yes", state=["failed"])
    assert (twice["count"], twice["left_out"]) == (8, 0)
    await client.post(f"/v1/bulk/{twice['id']}/start")
    assert (await ended(client, twice["id"]))["done"] == 8
    assert await retries(client) == sorted([*old, *old])


async def test_what_was_retried_since_the_draft_is_not_retried_again(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given two drafts on the same three jobs
    old = [await failed(client, behind) for _ in range(3)]
    one, two = [await drafted(client, "retry", model="free") for _ in range(2)]
    assert (one["count"], two["count"]) == (3, 3)
    # When one of them is retried by hand, and then both begin at once
    await client.post(f"/v1/jobs/{old[0]}/retry")
    for made in (one, two):
        await client.post(f"/v1/bulk/{made['id']}/start")
    told = [await ended(client, made["id"]) for made in (one, two)]
    # Then each job has one retry, and none is counted for what was done by hand
    assert await retries(client) == sorted(old)
    assert all(each["done"] <= 2 and each["failed"] == 0 for each in told)
    assert max(each["done"] for each in told) == 2


async def test_cancel_ends_what_waits_and_asks_what_runs(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    waiting, running, gone = [(await submit(client))["id"] for _ in range(3)]
    await behind.claim(running, announce=False)
    made = await drafted(client, "cancel", queue="default")
    assert made["count"] == 3
    await client.post(f"/v1/jobs/{gone}/cancel")
    await client.post(f"/v1/bulk/{made['id']}/start", json={})
    done = await ended(client, made["id"])
    assert (done["done"], done["skipped"]) == (2, 1)
    assert (await client.get(f"/v1/jobs/{waiting}")).json()["state"] == "canceled"
    assert (await client.get(f"/v1/jobs/{running}")).json()["cancel_requested"]


async def test_prioritise_raises_what_waits_and_publishes_it_anew(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    queued, running = [(await submit(client, priority=2))["id"] for _ in range(2)]
    made = await drafted(client, "prioritise", ids=[queued, running], priority=9)
    await behind.claim(running, announce=False)
    await client.post(f"/v1/bulk/{made['id']}/start")
    done = await ended(client, made["id"])
    assert (done["done"], done["skipped"]) == (1, 1)
    assert [(await client.get(f"/v1/jobs/{each}")).json()["priority"] for each in (queued, running)] == [9, 2]


async def test_many_jobs_want_the_word(client: httpx2.AsyncClient, behind: Backstage) -> None:
    job = await submit(client)
    await many_failed(behind, job, 250)
    made = await drafted(client, "retry", queue="default", state=["canceled"])
    assert (made["count"], made["confirm_needed"], made["confirm_word"]) == (250, True, "default")
    for body in ({}, {"confirm": "DEFAULT"}):
        refused = await client.post(f"/v1/bulk/{made['id']}/start", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "confirmation_needed")
    assert (await client.get(f"/v1/bulk/{made['id']}")).json()["state"] == "draft"
    await client.post(f"/v1/bulk/{made['id']}/start", json={"confirm": "default"})
    assert (await ended(client, made["id"]))["done"] == 250
    page = (await client.get("/v1/bulk")).json()
    views.BulkPageView.model_validate(page)
    assert [each["id"] for each in page["actions"]] == [made["id"]]


async def test_an_aborted_action_takes_no_further_step(client: httpx2.AsyncClient, behind: Backstage) -> None:
    await failed(client, behind)
    made = await drafted(client, "retry", state=["failed"])
    aborted = await client.post(f"/v1/bulk/{made['id']}/abort")
    assert (aborted.status_code, aborted.json()["state"]) == (200, "aborted")
    for call, code in (("abort", "bulk_ended"), ("start", "bulk_started")):
        refused = await client.post(f"/v1/bulk/{made['id']}/{call}")
        assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert len((await client.get("/v1/jobs")).json()["jobs"]) == 1


async def test_a_step_is_one_gateways_and_counted_once(
    client: httpx2.AsyncClient, behind: Backstage, gateway: GatewayProcess
) -> None:
    # Given a running action of three steps, which somebody else holds who will not come back
    job = await submit(client)
    await many_failed(behind, job, 250)
    made = await drafted(client, "retry", queue="default", state=["canceled"])
    store = BulkStore(behind.database)
    assert await store.start(UUID(made["id"]))
    while (held := await store.take("dead")) is None:  # the gateway may hold its first step
        await asyncio.sleep(0.01)
    assert await store.take("another") is None
    # When the hold has ended and gateways take up its work
    await behind.database.write("update bulk_actions set held_until = now() - interval '1 s'")
    done = await ended(client, made["id"])
    # Then all is done once, and the dead one's word counts no more
    assert (done["done"], done["skipped"], done["failed"]) == (250, 0, 0)
    assert await store.settle("dead", held, Tally(done=100)) is None
    rows = await behind.database.read(SUCCESSORS)
    assert dict(rows[0]) == {"n": 250, "of": 250}


async def test_an_action_survives_its_gateway_and_is_done_once_by_two(
    stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, behind: Backstage, key: str
) -> None:
    # Given two gateways beside the module's own, and an action of three steps
    folder = tmp_path_factory.mktemp("second")
    with gateway_process(stack_env, folder) as first, gateway_process(stack_env, folder) as second:
        async with api(first.url, key) as client, api(second.url, key) as other:
            job = await submit(client)
            await many_failed(behind, job, 300)
            made = await drafted(client, "retry", queue="default", state=["canceled"])
            await client.post(f"/v1/bulk/{made['id']}/start", json={"confirm": "default"})
            # When the one that began it is killed in the midst
            first.process.kill()
            first.process.wait()
            await behind.database.write("update bulk_actions set held_until = now() - interval '1 s'")
            # Then the others finish it, and every job has one successor
            done = await ended(other, made["id"])
    assert (done["done"], done["skipped"], done["failed"]) == (300, 0, 0)
    rows = await behind.database.read(SUCCESSORS)
    assert dict(rows[0]) == {"n": 300, "of": 300}


RAISE = """
create function unforeseen() returns trigger language plpgsql as
$$ begin raise exception 'nobody knew'; end $$
"""
ON_RETRY = """
create trigger unforeseen before insert on specs for each row when (new.retry_of is not null)
execute function unforeseen()
"""


async def test_a_step_that_meets_what_nobody_foresaw_ends_its_action_and_no_gateway(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, behind: Backstage, gateway: GatewayProcess
) -> None:
    """Each gateway that repeated it would have died of it."""
    await failed(client, behind)
    waiting = (await submit(client))["id"]
    bad = await drafted(client, "retry", state=["failed"])
    good = await drafted(client, "prioritise", ids=[waiting], priority=9)
    for statement in (RAISE, ON_RETRY):
        await behind.database.write(statement)
    try:
        for made in (bad, good):
            await client.post(f"/v1/bulk/{made['id']}/start")
        ends = [await ended(client, made["id"]) for made in (bad, good)]
    finally:
        await behind.database.write("drop function unforeseen cascade")
    assert [(end["state"], end["done"]) for end in ends] == [("failed", 0), ("done", 1)]
    assert ends[0]["error"] == "step 0 met an unforeseen error: RaiseError"
    assert gateway.process.poll() is None
    # And only operators read its words
    told = (await operator.get("/v1/audit", params={"action": "bulk.fail"})).json()["entries"]
    said = [(each["target"], each["detail"]["error"]) for each in told]
    assert said == [(bad["id"], "RaiseError: nobody knew")]
    refused = await client.post(f"/v1/bulk/{bad['id']}/abort")
    assert (refused.status_code, refused.json()["code"]) == (409, "bulk_ended")


async def test_drafts_that_nobody_begins_and_ids_of_what_has_ended_are_let_go(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    await failed(client, behind)
    forgotten = await drafted(client, "retry", state=["failed"])
    ended = await drafted(client, "retry", state=["failed"])
    fresh = await drafted(client, "retry", state=["failed"])
    await client.post(f"/v1/bulk/{ended['id']}/abort")
    await behind.database.write(
        "update bulk_actions set created_at = created_at - interval '2 hours',"
        " finished_at = finished_at - interval '2 days' where id = any($1::uuid[])",
        [UUID(forgotten["id"]), UUID(ended["id"])],
    )
    await drafted(client, "retry", state=["failed"])
    kept = {str(row["id"]) for row in await behind.database.read("select id from bulk_actions")}
    parts = {str(row["bulk_id"]) for row in await behind.database.read("select bulk_id from bulk_parts")}
    assert forgotten["id"] not in kept
    assert {ended["id"], fresh["id"]} <= kept
    assert fresh["id"] in parts
    assert ended["id"] not in parts


async def test_what_does_not_fit_is_refused_and_nothing_is_done(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    await failed(client, behind)
    for body, status, code in (
        ({"action": "retry", "filter": {}}, 422, "empty_filter"),
        ({"action": "retry", "filter": {"state": []}}, 422, "empty_filter"),
        ({"action": "retry", "filter": {"scope": "all"}}, 422, "empty_filter"),
        ({"action": "retry", "filter": {"state": ["failed"], "scope": "all"}}, 403, "forbidden"),
        ({"action": "retry", "filter": {"state": ["running"]}}, 422, "invalid_request"),
        ({"action": "cancel", "filter": {"state": ["failed"]}}, 422, "invalid_request"),
        ({"action": "prioritise", "filter": {"queue": "quick"}}, 422, "invalid_request"),
        ({"action": "retry", "filter": {"queue": "quick"}, "priority": 3}, 422, "invalid_request"),
        ({"action": "delete", "filter": {"queue": "quick"}}, 422, "invalid_request"),
        ({"action": "retry", "filter": {"quueue": "quick"}}, 422, "invalid_request"),
        ({"action": "retry", "filter": {"model": "a\x00"}}, 422, "invalid_request"),
        ([], 422, "invalid_request"),
    ):
        refused = await client.post("/v1/bulk", json=body)
        assert (refused.status_code, refused.json()["code"]) == (status, code), (body, refused.text)
    assert (await client.post("/v1/bulk", content=b"{")).json()["code"] == "malformed_body"
    assert (await client.get("/v1/bulk")).json()["actions"] == []
    # And an action on every tenant's jobs is an operator's alone
    for tenant_key in ("many", "ops"):
        made = await drafted(operator, "retry", state=["failed"], scope="all")
        assert (made["count"], tenant_key) == (1, tenant_key)
        assert (await client.get(f"/v1/bulk/{made['id']}")).status_code == 404
        assert (await client.post(f"/v1/bulk/{made['id']}/start")).status_code == 404
        assert (await client.post(f"/v1/bulk/{made['id']}/abort")).status_code == 404
    for name in ("x", "019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e"):
        assert (await client.get(f"/v1/bulk/{name}")).status_code == 404
