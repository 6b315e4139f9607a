"""Failures in groups, by the rows of a real PostgreSQL: what is alike, what a group tells, whose it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.failures import LATELY, FailureStore
from shared.adapters.store.overview import OverviewStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.relay import RelayStore
from shared.adapters.store.submits import SubmitStore
from shared.jobs import MAX_MISSES, Claim, Ending, Evidence, State
from shared.listing import FailureFilter
from shared.settings import Postgres
from tests.integration.jobs import new_job

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

PLACE = 'Traceback (last call last):\n  File "{0}/lib/{1}.py", line {2}, in run\n    raise\nValueError: x\n'


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn), pool_size=4), name="test") as opened:
        await opened.write("truncate jobs, specs, events, attempts, failures")
        yield opened


async def run(database: Database, worker: str = "w1", **fields: Any) -> Claim:
    job_id = (await SubmitStore(database).submit(new_job(**fields))).id
    claim = await ClaimStore(database, worker=worker, models=["cutout@1", "echo@1"]).claim(job_id)
    assert isinstance(claim, Claim)
    return claim


async def fail(
    database: Database, message: str, *, traceback: str = "", worker: str = "w1", **fields: Any
) -> UUID:
    claim = await run(database, worker, **fields)
    error = {"code": "algorithm_error", "message": message, "type": "ValueError", "traceback": traceback}
    store = AttemptStore(database, worker=worker)
    assert await store.finish(claim, Ending(state=State.FAILED, evidence=Evidence(error=error)))
    return claim.id


async def prints(database: Database) -> dict[UUID, str]:
    rows = await database.read("select job_id, fingerprint from failures")
    return {row["job_id"]: row["fingerprint"] for row in rows}


async def test_a_group_tells_how_many_since_when_and_where(database: Database) -> None:
    # Given three failures that are alike, one that is not, one of another tenant
    first = await fail(database, "no face in picture 12", traceback="old")
    await fail(database, "no face in picture 13", model="echo", queue="quick")
    last = await fail(database, "no face in picture 14", worker="w2", traceback="the newest")
    other = await fail(database, "out of paper")
    foreign = await fail(database, "no face in picture 15", tenant="rival")
    await database.write("update failures set at = at - interval '30 hours' where job_id = $1", first)
    store = FailureStore(database)
    # When the last day is looked at
    look = await store.look(FailureFilter(tenant="acme", since_s=86400))
    # Then they are two groups, the latest first, told by their newest
    paper, faces = look.groups
    assert (paper.count, paper.sample_job, look.more) == (1, other, False)
    assert (faces.count, faces.message, faces.sample_job) == (2, "no face in picture 14", last)
    assert faces.names["models"] == [{"name": "cutout", "count": 1}, {"name": "echo", "count": 1}]
    assert faces.names["workers"] == [{"name": "w1", "count": 1}, {"name": "w2", "count": 1}]
    assert sum(faces.points.values()) == 2
    assert set(faces.points) == {"23"}
    # And since when they are there, though that is longer ago
    assert (faces.last_at - faces.first_at).total_seconds() > 29 * 3600
    assert await store.traceback(last) == (1, "the newest")
    # And another tenant's are counted for an operator only
    everybody = await store.look(FailureFilter(tenant=None, since_s=86400))
    assert {group.fingerprint: group.count for group in everybody.groups} == {
        faces.fingerprint: 3,
        paper.fingerprint: 1,
    }
    theirs = await store.look(FailureFilter(tenant="rival", since_s=86400))
    assert [(group.count, group.sample_job) for group in theirs.groups] == [(1, foreign)]
    assert theirs.groups[0].first_at == theirs.groups[0].last_at
    one = await store.look(FailureFilter(tenant="acme", since_s=86400, fingerprint=faces.fingerprint))
    assert [group.count for group in one.groups] == [2]
    assert not await store.known("rival", paper.fingerprint)
    for fields in ({"queue": "quick"}, {"model": "echo"}):
        some = await store.look(FailureFilter(tenant="acme", since_s=86400, **fields))
        assert [group.count for group in some.groups] == [1]


async def test_a_group_tells_what_was_retried_and_what_is_open(database: Database) -> None:
    # Given three jobs that failed alike, of which the first was retried, twice, and failed as before
    first, second = await fail(database, "no face"), await fail(database, "no face")
    once = await fail(database, "no face", retry_of=first)
    last = await fail(database, "no face", retry_of=once)
    [group] = (await FailureStore(database).look(FailureFilter(tenant="acme", since_s=3600))).groups
    # Then of each chain of retries only the newest is open
    assert (group.count, group.retried) == (4, 2)
    assert (group.sample_job, group.open_job) == (last, last)
    # And nothing is where all were retried
    for job in (last, second):
        await SubmitStore(database).submit(new_job(retry_of=job))
    [group] = (await FailureStore(database).look(FailureFilter(tenant="acme", since_s=3600))).groups
    assert (group.count, group.retried, group.open_job) == (4, 4, None)


async def test_what_fails_most_within_the_minute_is_named(database: Database) -> None:
    store = OverviewStore(database)
    assert await store.failing(None) is None
    for _ in range(3):
        await fail(database, "no face in picture 12")
    lost = await fail(database, "out of paper", tenant="rival", model="echo")
    long_ago = await fail(database, "no face in picture 13")
    await database.write("update failures set at = at - interval '2 min' where job_id = $1", long_ago)
    known = await prints(database)
    top, theirs = await store.failing(None), await store.failing("rival")
    assert top is not None
    assert theirs is not None
    assert (top.fingerprint, top.model, top.count) == (known[long_ago], "cutout", 3)
    assert (top.code, top.message) == ("algorithm_error", "no face in picture 12")
    assert (theirs.fingerprint, theirs.model, theirs.count) == (known[lost], "echo", 1)
    assert await store.failing("nobody") is None


OTHERS = """
insert into failures (job_id, tenant, state, model, queue, code, type, message, fingerprint, at)
select gen_random_uuid(), 'rival', state, model, queue, code, type, message, fingerprint, now()
from failures, generate_series(1, $1::int)
"""


async def test_a_tenants_failures_are_found_among_any_number_of_others(database: Database) -> None:
    mine = await fail(database, "no face in picture 12")
    fingerprint = (await prints(database))[mine]
    await database.write(OTHERS, LATELY + 1)
    store = FailureStore(database)
    one = await store.look(FailureFilter(tenant="acme", since_s=86400, fingerprint=fingerprint))
    assert [(group.count, group.sample_job) for group in one.groups] == [(1, mine)]
    assert one.groups[0].first_at == one.groups[0].last_at
    assert await store.known("acme", fingerprint)
    assert not await store.known("nobody", fingerprint)


async def test_every_way_to_fail_is_noted(database: Database) -> None:
    # Given jobs that fail by a worker's word, by its silence, for want of a model, and for want of a worker
    said = await fail(database, "no")
    silent = await run(database, max_attempts=1)
    lapse = "update jobs set entered = true, lease_until = now() - interval '1 min' where id = $1"
    await database.write(lapse, silent.id)
    await RelayStore(database, server_grace_s=0).expire_leases()
    unknown = (await SubmitStore(database).submit(new_job())).id
    await database.write("update jobs set misses = $2::int - 1 where id = $1", unknown, MAX_MISSES)
    error = {"code": "model_unavailable", "message": "not here", "retryable": True}
    await ClaimStore(database, worker="w1", models=[]).defer(unknown, error)
    late = (await SubmitStore(database).submit(new_job(start_timeout_s=60))).id
    await database.write("update jobs set start_deadline = now() - interval '1 s' where id = $1", late)
    await RelayStore(database).expire_starts()
    # And one that succeeds, one that is canceled, one that is to be tried again
    well = await run(database)
    await AttemptStore(database, worker="w1").finish(well, Ending(state=State.SUCCEEDED, evidence=Evidence()))
    again = await run(database)
    await AttemptStore(database, worker="w1").retry(again, Evidence(error=error), delay_s=9)
    # Then those that failed are noted, and no other
    rows = await database.read("select job_id, state, code from failures")
    assert {(row["job_id"], row["state"], row["code"]) for row in rows} == {
        (said, "failed", "algorithm_error"),
        (silent.id, "failed", "worker_lost"),
        (unknown, "failed", "model_unavailable"),
        (late, "expired", "start_timeout"),
    }


async def test_an_error_without_words_fails_its_job_all_the_same(database: Database) -> None:
    claim = await run(database)
    left = await AttemptStore(database, worker="w1").finish(
        claim, Ending(state=State.FAILED, evidence=Evidence(error=None))
    )
    assert left is not None
    assert await prints(database)


async def test_the_place_of_a_failure_counts_and_its_line_does_not(database: Database) -> None:
    same = [
        await fail(database, "x", traceback=PLACE.format(folder, "matting", line))
        for folder, line in (("/opt", 3), ("/home/me", 44))
    ]
    other = await fail(database, "x", traceback=PLACE.format("/opt", "faces", 3))
    found = await prints(database)
    assert found[same[0]] == found[same[1]] != found[other]


WORDS = st.text(st.characters(categories=("Lu", "Ll"), codec="ascii"), min_size=1, max_size=8).filter(
    lambda word: not set(word.lower()) <= set("abcdef")
)
VARIABLE = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
)
IDS = st.one_of(st.uuids().map(str), st.integers(1, 2**64).map(hex))
PATHS = st.lists(WORDS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@pytest.fixture(scope="module")
async def connection(postgres_dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(postgres_dsn, timeout=10)
    yield opened
    await opened.close(timeout=5)


async def shape(connection: Any, text: str) -> str:
    found: str = await connection.fetchval("select failure_shape($1)", text)
    return found


@given(
    words=st.lists(WORDS, min_size=1, max_size=5),
    holes=st.sampled_from([VARIABLE, IDS, PATHS]).flatmap(lambda kind: st.tuples(kind, kind)),
)
@example(words=["tensor", "of"], holes=("1,024", "-3.5e-7"))
@example(words=["KeyError:"], holes=(str(uuid4()), str(uuid4())))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_what_differs_in_a_number_an_id_or_a_path_has_one_shape(
    connection: Any, words: list[str], holes: tuple[str, str]
) -> None:
    one, two = (f"{' '.join(words)} {hole} failed" for hole in holes)
    assert await shape(connection, one) == await shape(connection, two)
    assert await shape(connection, one) != await shape(connection, f"unlike {one}")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=80))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_any_words_have_a_shape_that_stays(connection: Any, text: str) -> None:
    once = await shape(connection, text)
    assert await shape(connection, once) == once
    assert not set("0123456789") & set(once)
    fingerprint = await connection.fetchval("select failure_fingerprint('c', 't', $1, $1)", text)
    assert len(fingerprint) == 16
