"""The commands of the page on what grows: they take what is old and has ended, and nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from random import Random
from uuid import UUID

import pytest
from pydantic import SecretStr

from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.submits import SubmitStore
from shared.jobs import Claim, Ending, Evidence, State
from shared.settings import Postgres
from tests.integration.jobs import new_job
from tests.recovery import PAGES, blocks_of, run

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

LOOK, LET_GO, REST = blocks_of(PAGES / "what-grows.md")
DAY_S = 86400
DICE = Random(6)  # noqa: S311  ids, no secrets
TABLES = {"jobs": "id", "specs": "id", "events": "job_id", "attempts": "job_id", "failures": "job_id"}


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with open_database(Postgres(dsn=SecretStr(postgres_dsn), pool_size=4), name="test") as opened:
        await opened.write("truncate jobs, specs, events, attempts, failures, decisions, audit, machine_time")
        yield opened


def made(days: float) -> UUID:
    """An id of so many days ago: its first 48 bits are the time."""
    milliseconds = round((time.time() - days * DAY_S) * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | DICE.getrandbits(62))


async def submitted(database: Database, days: float) -> UUID:
    return (await SubmitStore(database).submit(new_job(id=made(days)))).id


async def ended(database: Database, days: float, state: State = State.SUCCEEDED) -> UUID:
    """A job that was made, and has ended, so long ago."""
    job_id = await submitted(database, days)
    claim = await ClaimStore(database, worker="w1", models=["cutout@1"]).claim(job_id)
    assert isinstance(claim, Claim)
    error = {"code": "algorithm_error", "message": "no", "type": "ValueError", "traceback": ""}
    evidence = Evidence(error=error if state is State.FAILED else None)
    assert await AttemptStore(database, worker="w1").finish(claim, Ending(state=state, evidence=evidence))
    back = "update jobs set finished_at = finished_at - make_interval(days => $2) where id = $1"
    await database.write(back, job_id, round(days))
    return job_id


async def left(database: Database) -> dict[str, set[UUID]]:
    return {
        table: {row["id"] for row in await database.read(f"select {key} as id from {table}")}  # noqa: S608
        for table, key in TABLES.items()
    }


async def test_what_ended_long_ago_goes_with_all_that_belongs_to_it(
    database: Database, postgres_dsn: str
) -> None:
    # Given old jobs that ended, well or not, young ones, and old ones that wait, or ended only now
    for _ in range(3):
        await ended(database, 100)
    await ended(database, 100, State.FAILED)
    young, failed = await ended(database, 10), await ended(database, 10, State.FAILED)
    waiting, late = await submitted(database, 100), await ended(database, 100)
    await database.write("update jobs set finished_at = clock_timestamp() where id = $1", late)
    # When the command is given as it stands there
    status, printed = await run(LET_GO, {"LEVERET_POSTGRES_DSN": postgres_dsn})
    # Then the others are left, with all that belongs to them
    assert status == 0, printed
    kept = await left(database)
    assert kept["jobs"] == kept["specs"] == kept["events"] == {young, failed, waiting, late}
    assert kept["attempts"] == {young, failed, late}
    assert kept["failures"] == {failed}


async def test_many_batches_are_taken_and_one_that_holds_none_is_passed(
    database: Database, postgres_dsn: str
) -> None:
    # Given more than one batch of jobs that still wait, and one behind them that ended
    waiting = {await submitted(database, 120 + DICE.random()) for _ in range(5)}
    await ended(database, 110)
    # When batches are of two
    status, printed = await run(LET_GO.replace("2000", "2"), {"LEVERET_POSTGRES_DSN": postgres_dsn})
    assert status == 0, printed
    assert (await left(database))["jobs"] == waiting


async def test_the_days_are_heeded(database: Database, postgres_dsn: str) -> None:
    young = await ended(database, 10)
    old = await ended(database, 40)
    await run(f"DAYS=50\n{LET_GO}", {"LEVERET_POSTGRES_DSN": postgres_dsn})
    assert (await left(database))["jobs"] == {young, old}
    await run(f"DAYS=30\n{LET_GO}", {"LEVERET_POSTGRES_DSN": postgres_dsn})
    assert (await left(database))["jobs"] == {young}


async def test_the_look_and_the_rest_work(database: Database, postgres_dsn: str) -> None:
    values = "(now() - make_interval(days => $1), '', '', '', '{}')"
    add = f"insert into audit (at, actor, action, target, detail) values {values}"  # noqa: S608  as above
    await database.write(add, 800)
    await database.write(add, 700)
    for block in (LOOK, REST):
        status, printed = await run(block, {"LEVERET_POSTGRES_DSN": postgres_dsn})
        assert status == 0, printed
    assert len(await database.read("select from audit")) == 1
