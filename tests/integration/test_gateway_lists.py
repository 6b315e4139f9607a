"""Lists, attempts, logs, retries and the audit over the API of a real gateway: words, roles, tenants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import views as job_views
from gateway.client.cli.app import run
from gateway.lists import views
from gateway.routes.history import HistoryView
from shared.adapters.store.endings import ENDING
from shared.adapters.store.history import CLOSE_LOOK, HISTORY, LOOK, MINE, HistoryStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.jobs import Ending, Evidence, State
from tests.gateway_process import Backstage, GatewayProcess, api, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TRACEBACK = 'Traceback\n  File "/srv/free.py", line 3, in run\nValueError: no face\n'
PATHS = [
    *("jobs", "jobs/counts", "failures", "failures/x", "models/statistics", "models/free/statistics"),
    *("bulk", "audit", "history"),
]
PARAMETERS = [
    *("state", "model", "queue", "worker", "error", "fingerprint", "age", "created_after", "scope", "id"),
    *("priority", "retried", "ended"),
    *("cursor", "limit", "since_s", "window_s", "action", "by", "unheard"),
]
ERROR = {"code": "algorithm_error", "message": "no face", "type": "ValueError", "retryable": False}


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key("lists")


@pytest.fixture
async def operator(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("ops", "laptop", "operator")) as opened:
        yield opened


@pytest.fixture
async def stranger(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.key("strangers")) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def _clean(behind: Backstage) -> None:
    await behind.database.write("truncate jobs, specs, attempts, events, failures, audit, model_loads")


async def failed(client: httpx2.AsyncClient, behind: Backstage, **fields: Any) -> dict[str, Any]:
    job = await submit(client, **fields)
    claim = await behind.claim(job["id"], announce=False)
    evidence = Evidence(error={**ERROR, "traceback": TRACEBACK}, log="looking\n", timings={"infer_s": 0.5})
    assert await behind.attempts.finish(claim, Ending(state=State.FAILED, evidence=evidence))
    return job


async def page(client: httpx2.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await client.get("/v1/jobs", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    views.PageView.model_validate(found)
    return found


async def test_a_list_tells_of_jobs_and_not_what_they_carry(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    lost = await failed(client, behind, inputs={"extra": {"json": "a secret"}}, metadata={"a": "a secret"})
    queued = await submit(client, priority=9)

    answer = await client.get("/v1/jobs")

    assert "secret" not in answer.text
    rows = (await page(client))["jobs"]
    assert [row["id"] for row in rows] == [queued["id"], lost["id"]]
    assert (rows[0]["queue_reason"], rows[0]["wait_s"] >= 0, rows[0]["run_s"]) == ("no_worker", True, None)
    assert rows[1]["error"] == {"code": "algorithm_error", "message": "no face"}
    assert (rows[1]["worker"], rows[1]["run_s"] >= 0) == ("test-worker", True)


async def test_pages_go_on_by_their_cursor(client: httpx2.AsyncClient) -> None:
    made = [(await submit(client))["id"] for _ in range(5)]
    first = await page(client, limit=3)
    second = await page(client, limit=3, cursor=first["next_cursor"])
    assert [row["id"] for row in first["jobs"] + second["jobs"]] == made[::-1]
    assert (second["next_cursor"], second["searched_to"]) == (None, None)


async def test_filters_are_taken_or_refused_by_name(client: httpx2.AsyncClient, behind: Backstage) -> None:
    lost, queued = await failed(client, behind), await submit(client)

    async def found(**params: Any) -> list[str]:
        return [row["id"] for row in (await page(client, **params))["jobs"]]

    assert await found(state="failed") == [lost["id"]]
    assert await found(state=["failed", "queued"]) == [queued["id"], lost["id"]]
    assert await found(error="algorithm_error", model="free", queue="default") == [lost["id"]]
    assert await found(age="<1h") == [queued["id"], lost["id"]]
    assert await found(age=">1h") == []
    assert await found(created_after="2020-01-01T00:00:00Z", worker="test-worker") == [lost["id"]]
    assert await found(id=[queued["id"], str(uuid4())]) == [queued["id"]]
    assert await found(priority=queued["priority"], state="queued") == [queued["id"]]
    assert await found(priority=0) == []
    assert await found(retried="yes") == []
    assert await found(retried="no", ended="<1h") == await found(ended="<1h") == [lost["id"]]
    assert await found(ended=">1h") == []
    for params in (
        {"state": "lost"},
        {"age": "5m"},
        {"created_after": "yesterday"},
        {"cursor": "x"},
        {"limit": 0},
        {"limit": 201},
        {"model": "a\x00b"},
        {"modle": "free"},
        {"priority": 11},
        {"retried": "maybe"},
        {"ended": "1h"},
    ):
        refused = await client.get("/v1/jobs", params=params)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), refused.text
        assert next(iter(params)) in refused.json()["errors"][0]["path"]


async def test_only_operators_see_every_tenants_jobs(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, stranger: httpx2.AsyncClient, behind: Backstage
) -> None:
    lost = await failed(client, behind)
    for path in ("/v1/jobs", "/v1/jobs/counts"):
        refused = await client.get(path, params={"scope": "all"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await page(operator))["jobs"] == (await page(stranger))["jobs"] == []
    assert [row["tenant"] for row in (await page(operator, scope="all"))["jobs"]] == ["lists"]
    for path in ("attempts", "logs"):
        assert (await operator.get(f"/v1/jobs/{lost['id']}/{path}")).status_code == 200
        assert (await stranger.get(f"/v1/jobs/{lost['id']}/{path}")).status_code == 404
    for path in ("", "/events"):
        assert (await operator.get(f"/v1/jobs/{lost['id']}{path}")).status_code == 404
    assert (await operator.post(f"/v1/jobs/{lost['id']}/retry")).status_code == 404
    assert (await stranger.post(f"/v1/jobs/{lost['id']}/retry")).status_code == 404


async def test_counts_tell_each_state(client: httpx2.AsyncClient, behind: Backstage) -> None:
    await failed(client, behind)
    await submit(client)
    await submit(client, model="echo", inputs={"image": {"data": "AAAA", "content_type": "image/png"}})
    answer = await client.get("/v1/jobs/counts", params={"model": "free"})
    views.CountsView.model_validate(answer.json())
    counts = answer.json()["counts"]
    assert {state: count["n"] for state, count in counts.items() if count["n"]} == {"queued": 1, "failed": 1}
    assert not any(count["more"] for count in counts.values())


async def test_attempts_tell_where_each_ran_and_how_it_ended(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    job = await submit(client)
    first = await behind.claim(job["id"], announce=False)
    evidence = Evidence(error={**ERROR, "traceback": TRACEBACK}, log="12345", timings={"batch_size": 4.0})
    await behind.attempts.retry(first, evidence, delay_s=0)
    await behind.database.write("update jobs set state = 'queued', queued_at = clock_timestamp()")
    await behind.claim(job["id"], announce=False)

    answer = (await client.get(f"/v1/jobs/{job['id']}/attempts")).json()

    views.AttemptsView.model_validate(answer)
    ended, running = answer["attempts"]
    assert (ended["attempt"], ended["outcome"], ended["batch_size"], ended["log_bytes"]) == (
        1,
        "waiting",
        4,
        5,
    )
    assert ended["error"]["traceback"] == TRACEBACK
    assert (running["attempt"], running["outcome"], running["finished_at"]) == (2, "running", None)
    assert answer["job"]["state"] == "running"
    logs = (await client.get(f"/v1/jobs/{job['id']}/logs", params={"attempt": 1})).json()["attempts"]
    assert [each["log"] for each in logs] == ["12345"]
    assert (await client.get(f"/v1/jobs/{job['id']}/logs", params={"attempt": 2})).json()["attempts"] == []


async def test_a_retry_is_a_new_job_with_the_same_inputs(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given a job that runs
    job = await submit(
        client, priority=8, inputs={"extra": {"json": [1]}}, metadata={"order": 7}, max_attempts=2
    )
    claim = await behind.claim(job["id"], announce=False)
    early = await client.post(f"/v1/jobs/{job['id']}/retry")
    assert (early.status_code, early.json()["code"]) == (409, "not_ended")
    # When it has ended and is asked for again, twice with one key
    await behind.attempts.finish(claim, Ending(state=State.FAILED, evidence=Evidence(error=ERROR)))
    headers = {"Idempotency-Key": "once"}
    first = await client.post(f"/v1/jobs/{job['id']}/retry", headers=headers)
    again = await client.post(f"/v1/jobs/{job['id']}/retry", headers=headers)
    # Then there is one new job like it, and the old one stays as it is
    assert (first.status_code, again.status_code) == (202, 202)
    made = first.json()
    job_views.JobView.model_validate(made)
    assert (made["retry_of"], made["state"], made["attempt"]) == (job["id"], "queued", 0)
    for same in ("model", "priority", "inputs", "metadata", "max_attempts"):
        assert made[same] == job[same]
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (made["id"], "true")
    assert first.headers["Location"].endswith(made["id"])
    assert (await client.get(f"/v1/jobs/{job['id']}")).json()["state"] == "failed"
    assert len((await page(client))["jobs"]) == 2
    # And a key that was used for something else is refused
    other = await failed(client, behind)
    conflict = await client.post(f"/v1/jobs/{other['id']}/retry", headers=headers)
    assert (conflict.status_code, conflict.json()["code"]) == (422, "idempotency_conflict")
    # And it runs
    await behind.finish(await behind.claim(made["id"], announce=False), announce=False)


async def test_a_job_whose_model_has_left_cannot_be_repeated(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    job = await failed(client, behind)
    await behind.database.write("update specs set model = 'gone'")
    refused = await client.post(f"/v1/jobs/{job['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_model")
    await behind.database.write("update specs set model = 'free', model_version = '0'")
    assert (await client.post(f"/v1/jobs/{job['id']}/retry")).json()["model_version"] == "1"


async def test_the_audit_tells_operators_who_did_what(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, behind: Backstage
) -> None:
    lost = await failed(client, behind)
    queued = await submit(client)
    await client.post(f"/v1/jobs/{lost['id']}/retry")
    await client.post(f"/v1/jobs/{queued['id']}/cancel")
    await operator.put("/v1/scaler/quick", json={"max": 3})
    await operator.post("/v1/scaler/quick/pause")

    answer = await operator.get("/v1/audit")

    views.AuditView.model_validate(answer.json())
    told = [(each["by"], each["action"], each["target"]) for each in answer.json()["entries"]]
    assert told == [
        ("ops/laptop", "fleet.set", "quick"),
        ("ops/laptop", "fleet.set", "quick"),
        ("lists/test", "job.cancel", queued["id"]),
        ("lists/test", "job.retry", lost["id"]),
    ]
    assert [each["detail"] for each in answer.json()["entries"][:2]] == [{"paused": True}, {"max": 3}]
    one = (await operator.get("/v1/audit", params={"action": "job.cancel", "by": "lists/test"})).json()
    assert [each["target"] for each in one["entries"]] == [queued["id"]]
    first = (await operator.get("/v1/audit", params={"limit": 3})).json()
    rest = (await operator.get("/v1/audit", params={"cursor": first["next_cursor"]})).json()
    assert [each["action"] for each in rest["entries"]] == ["job.retry"]
    assert rest["next_cursor"] is None
    assert (await client.get("/v1/audit")).status_code == 403


async def test_failures_are_told_in_groups_and_one_at_a_time(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, stranger: httpx2.AsyncClient, behind: Backstage
) -> None:
    lost = [await failed(client, behind) for _ in range(2)]

    answer = await client.get("/v1/failures", params={"since_s": 3600})

    views.FailuresView.model_validate(answer.json())
    [group] = answer.json()["groups"]
    assert (group["count"], group["code"], group["sample_job"]) == (2, "algorithm_error", lost[1]["id"])
    assert (len(group["points"]), sum(group["points"]), answer.json()["bucket_s"]) == (24, 2, 2.5)
    assert group["models"] == [{"name": "free", "count": 2}]
    one = await client.get(f"/v1/failures/{group['fingerprint']}")
    views.FailureGroupView.model_validate(one.json())
    assert (one.json()["traceback"], one.json()["attempt"]) == (TRACEBACK, 1)
    assert [row["id"] for row in one.json()["jobs"]] == [lost[1]["id"], lost[0]["id"]]
    assert [row["id"] for row in (await page(client, **one.json()["filter"]))["jobs"]] == [
        row["id"] for row in one.json()["jobs"]
    ]
    # And a stranger knows of none, an operator of all where it asks
    assert (await stranger.get("/v1/failures")).json()["groups"] == []
    assert (await stranger.get(f"/v1/failures/{group['fingerprint']}")).status_code == 404
    everybody = (await operator.get("/v1/failures", params={"scope": "all"})).json()["groups"]
    assert [each["fingerprint"] for each in everybody] == [group["fingerprint"]]
    assert (await client.get("/v1/failures", params={"scope": "all"})).status_code == 403
    assert (await client.get("/v1/failures/a%00b")).status_code == 422


async def test_statistics_tell_percentiles_with_their_number(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, stranger: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given a hundred and one attempts of known length, of which one failed
    await failed(client, behind)
    await behind.database.write(
        "insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log,"
        " timings) select job_id, 100 + i, 1, 'w', 'succeeded', now() - make_interval(secs => i), now(), '',"
        " jsonb_build_object('queue_s', i, 'batch_size', 4)"
        " from attempts, generate_series(1, 100) i"
    )
    answer = await client.get("/v1/models/free/statistics")
    views.StatisticsView.model_validate(answer.json())
    told = answer.json()
    assert (told["n"], told["more"], told["batch_size_p50"]) == (101, False, 4.0)
    assert told["wait"] == {"n": 100, "p50": 50.5, "p95": 95.05, "p99": 99.01}
    # And of loads, of which none is on record, nothing is known
    assert told["load"] == {"n": 0, "p50": None, "p95": None, "p99": None}
    assert (told["cold_starts"], told["memory"]) == (None, None)
    assert (told["run"]["n"], told["run"]["p50"]) == (101, 50.0)
    assert told["ended"] == {"succeeded": 100, "failed": 1, "retried": 0, "canceled": 0, "expired": 0}
    assert told["errors"] == [{"code": "algorithm_error", "count": 1}]
    assert told["error_rate"] == pytest.approx(1 / 101)
    # And all models in one answer, those of which nothing is known as well
    answer = await client.get("/v1/models/statistics", params={"window_s": 600})
    views.AllStatisticsView.model_validate(answer.json())
    echo, free = answer.json()["models"]
    assert (free["n"], free["window_s"]) == (101, 600.0)
    assert (echo["n"], echo["error_rate"]) == (0, None)
    assert echo["run"] == {"n": 0, "p50": None, "p95": None, "p99": None}
    # And of a tenant's own jobs only, unless an operator asks
    assert (await stranger.get("/v1/models/free/statistics")).json()["n"] == 0
    assert (await operator.get("/v1/models/free/statistics", params={"scope": "all"})).json()["n"] == 101
    assert (await client.get("/v1/models/free/statistics", params={"scope": "all"})).status_code == 403
    assert (await client.get("/v1/models/nothing/statistics")).status_code == 404


async def test_cold_starts_are_the_loads_that_workers_told_of(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, behind: Backstage
) -> None:
    def load(number: int, age_s: float, load_s: float | None, memory_mb: float | None) -> dict[str, Any]:
        known = {"model": "free", "version": str(number), "load_s": load_s, "memory_mb": memory_mb}
        return {"id": str(UUID(int=number)), "age_s": age_s, **known}

    # Given loads of now, of two hours and of nine days ago; some told twice, since an answer was lost
    me = WorkerIdentity(id="w1", queue="default", host="here", device="cpu", slots=1)
    worker = WorkerStore(behind.database, me)
    await worker.loaded([load(1, 9 * 86400, 60, 1), load(2, 7200, 8, 100)])
    newest = [load(3, 30, 2, 200.5), load(4, 20, 4, None), load(5, 10, None, None)]
    await worker.loaded(newest[:1])
    await worker.loaded(newest)

    async def told(window_s: float) -> dict[str, Any]:
        answer = await client.get("/v1/models/free/statistics", params={"window_s": window_s})
        views.StatisticsView.model_validate(answer.json())
        found: dict[str, Any] = answer.json()
        return found

    # Then each counts once, where it was measured with its seconds, and the last that knows tells the memory
    hour, day = await told(3600), await told(86400)
    assert (hour["cold_starts"], hour["load"]) == (3, {"n": 2, "p50": 3.0, "p95": 3.9, "p99": None})
    assert (day["cold_starts"], day["load"]["n"], day["load"]["p50"]) == (4, 3, 4.0)
    assert hour["memory"] == day["memory"] == 200_500_000
    # And a model of which loads are on record had none in a minute without one
    await behind.database.write("update model_loads set at = at - interval '10 min'")
    quiet = await told(60)
    assert (quiet["cold_starts"], quiet["load"]["p50"], quiet["memory"]) == (0, None, 200_500_000)
    # And they are of the model, for whoever asks; of another nothing is known
    everything = (await stranger.get("/v1/models/statistics")).json()["models"]
    assert [(one["name"], one["cold_starts"]) for one in everything] == [("echo", None), ("free", 3)]
    # And what no answer looks back at is gone
    kept = await behind.database.read("select version from model_loads order by 1")
    assert [row["version"] for row in kept] == ["2", "3", "4", "5"]


async def test_history_tells_each_step_by_itself(
    client: httpx2.AsyncClient, operator: httpx2.AsyncClient, stranger: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given a failed job, a hundred attempts that ended now, one of five minutes ago, and an expired job
    await failed(client, behind)
    await behind.database.write(
        "insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log,"
        " timings) select job_id, 100 + i, 1, 'w', 'succeeded', now() - make_interval(secs => i), now(), '',"
        " jsonb_build_object('queue_s', i) from attempts, generate_series(1, 100) i"
    )
    await behind.database.write(
        "insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log,"
        " timings) select job_id, 500, 1, 'w', 'canceled', now() - interval '310s', now() - interval '300s',"
        " '', '{\"queue_s\": 7}' from attempts limit 1"
    )
    await behind.database.write("update failures set state = 'expired'")

    window = {"window_s": 3660}  # that nobody else asks for: answers are kept for some seconds
    answer = await client.get("/v1/history", params=window)
    HistoryView.model_validate(answer.json())
    told = answer.json()
    # Then the newest steps have what ended now (a minute may have begun in between), and there are no others
    assert (told["step_s"], len(told["n"]), sum(told["n"]), sum(told["n"][-2:])) == (61.0, 60, 102, 101)
    assert {name: sum(counts) for name, counts in told["ended"].items()} == {
        "succeeded": 100,
        "failed": 1,
        "retried": 0,
        "canceled": 1,
        "expired": 1,
    }
    assert 50.5 in told["wait"]["p50"][-2:]
    assert 99.01 in told["wait"]["p99"][-2:]
    assert 7.0 in told["wait"]["p95"][-7:-4]
    assert told["run"]["p95"].count(None) >= 58
    assert (told["backlog"], any(told["more"])) == (None, False)
    # And the same of one model, of nothing for a stranger, and of all for an operator, with the backlog
    assert (await client.get("/v1/history", params={**window, "model": "free"})).json()["n"] == told["n"]
    assert sum((await client.get("/v1/history", params={"model": "echo"})).json()["n"]) == 0
    assert sum((await stranger.get("/v1/history")).json()["n"]) == 0
    everybody = (await operator.get("/v1/history", params={"scope": "all"})).json()
    assert (sum(everybody["n"]), len(everybody["backlog"]["seen"])) == (102, 60)
    assert (await client.get("/v1/history", params={"scope": "all"})).status_code == 403


async def test_a_step_of_many_is_looked_at_in_part_and_by_its_index(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    await failed(client, behind)
    await behind.database.write(
        "insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log,"
        " timings) select job_id, 100 + i, 1, 'w', 'succeeded', now() - interval '4 s', now(), '', '{}'"
        " from attempts, generate_series(1, 3000) i"
    )
    await behind.database.write("analyze attempts")
    steps = await HistoryStore(behind.database).steps(None, None, step_s=60.0, count=60)
    assert (max(step.n for step in steps), [step.more for step in steps].count(True)) == (LOOK, 1)
    for mine, values in (("", ()), (MINE, ("lists", None))):
        sql = "explain (format json) " + HISTORY.format(look=CLOSE_LOOK, mine=mine, ending=ENDING)
        [[plan]] = await behind.database.read(sql, 60.0, 60, *values)
        assert "Backward" in str(plan)
        assert "attempts_lately" in str(plan)
        assert "Seq Scan" not in str(plan)


async def test_the_command_lists_explains_and_repeats(
    *,
    client: httpx2.AsyncClient,
    behind: Backstage,
    gateway: GatewayProcess,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LEVERET_URL", gateway.url)
    monkeypatch.setenv("LEVERET_API_KEY", key)

    async def told(*words: str) -> str:
        assert await asyncio.to_thread(run, list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    lost, queued = await failed(client, behind), await submit(client)
    # Given a failed job and a queued one, the list tells of both, or of what is asked for
    printed = await told("jobs")
    assert "algorithm_error: no face" in printed
    assert "no_worker" in printed
    only = await told("jobs", "--state", "failed", "--model", "free", "--json")
    assert [row["id"] for row in json.loads(only)["jobs"]] == [lost["id"]]
    assert len((await told("jobs", "-n", "1")).splitlines()) == 2
    assert "looking" in await told("logs", lost["id"], "--attempt", "1")
    # And failures are told in groups, one with its traceback
    [group] = json.loads(await told("failures", "--json"))["groups"]
    assert group["fingerprint"] in await told("failures")
    close = await told("failures", group["fingerprint"])
    assert 'File "/srv/free.py", line 3, in run' in close
    assert lost["id"] in close
    # And a retry is a new job, refused while there is nothing to repeat
    made = (await told("retry", lost["id"], "--no-wait")).strip()
    assert (await client.get(f"/v1/jobs/{made}")).json()["retry_of"] == lost["id"]
    assert await asyncio.to_thread(run, ["retry", queued["id"], "--no-wait"]) == 3
    assert "the job is queued" in capsys.readouterr().err


@given(
    path=st.sampled_from(PATHS),
    query=st.dictionaries(
        st.sampled_from(PARAMETERS),
        st.text(max_size=8)
        | st.sampled_from(
            ("all", "failed", ">1d", "<999999999d", "nan", "inf", "-1", "9" * 30, "0001-01-01T00:00:00Z")
        )
        | st.just("9999-12-31T23:59:59+00:00"),
        max_size=4,
    ),
)
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_any_question_is_answered_or_refused_with_words(
    operator: httpx2.AsyncClient, path: str, query: dict[str, str]
) -> None:
    answer = await operator.get(f"/v1/{path}", params=query)
    assert answer.status_code in {200, 404, 422}, answer.text
    assert answer.status_code == 200 or answer.json()["code"] in {"not_found", "invalid_request"}
