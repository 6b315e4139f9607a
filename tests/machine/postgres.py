"""The store on PostgreSQL beside the one in memory, statement by statement: both must say and hold the same.

The product's SQL runs as it is. Its clock is the machine's: `clock_timestamp` and `pg_postmaster_start_time`
are found in a schema of ours that stands before pg_catalog in the search path of this database, and read the
time of the machine's loop. Statements run on a thread of their own and take no time on that loop, so a run is
as repeatable as one in memory; what is not tried here is two statements at one moment.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from pydantic import SecretStr

from shared.adapters.store.attempts import AttemptStore, Left
from shared.adapters.store.cancels import CancelStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.leases import LeaseStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.redelivery import RedeliveryStore
from shared.adapters.store.relay import RelayStore
from shared.adapters.store.submits import SubmitStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.errors import LeveretError
from shared.events import Event
from shared.jobs import Job, State
from shared.settings import Postgres
from tests.machine.audit import Audit
from tests.machine.memory import MemoryStores
from tests.machine.table import Row

T = TypeVar("T")

CLOCK = (
    "create schema machine",
    "create unlogged table machine.clock (now timestamptz not null, up_since timestamptz not null)",
    "insert into machine.clock values (now(), now())",
    """create function machine.clock_timestamp() returns timestamptz language sql volatile
       as 'select now from machine.clock'""",
    """create function machine.pg_postmaster_start_time() returns timestamptz language sql volatile
       as 'select up_since from machine.clock'""",
    "alter table specs alter created_at set default machine.clock_timestamp()",
    "alter table workers alter heartbeat_at set default machine.clock_timestamp()",
    """do $$ begin
        execute format('alter database %I set search_path = machine, pg_catalog, public', current_database());
    end $$""",
)
EMPTY = "truncate jobs, specs, events, attempts, workers, promotions"
COLUMNS = [each.name for each in fields(Row) if each.name not in {"spec", "created_at"}]
ROUNDING = timedelta(microseconds=2)
"""Of intervals, which the two count in different units."""


class Bridge:
    """A thread that owns the database's connections; `run` waits for it."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgres")
        self._thread.start()
        self._settings = Postgres(dsn=SecretStr(dsn))
        self._opened = open_database(self._settings, name="machine")
        self.database: Database = self.run(self._opened.__aenter__())

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(timeout=30)

    def close(self) -> None:
        self.run(self._opened.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def bridged(dsn: str) -> Iterator[Bridge]:
    """A bridge to a database whose clock the machine owns."""
    _prepare(dsn)
    bridge = Bridge(dsn)
    try:
        yield bridge
    finally:
        bridge.close()


def _prepare(dsn: str) -> None:
    bridge = Bridge(dsn)
    for statement in CLOCK:
        bridge.run(bridge.database.write(statement))
    bridge.close()


class TwinStores:
    """Two stores that get the same calls at the same moments."""

    def __init__(self, bridge: Bridge, elapsed: Callable[[], float], audit: Audit) -> None:
        self._bridge = bridge
        self._memory = MemoryStores(elapsed, audit)
        self._audit = audit
        bridge.run(bridge.database.write(EMPTY))

    def row(self, job_id: UUID) -> Row | None:
        return self._memory.row(job_id)

    def rows(self) -> list[Row]:
        return self._memory.rows()

    def shift(self, seconds: float) -> None:
        self._memory.shift(seconds)

    def fail_over(self) -> None:
        """A server that comes up anew; what it had not written is lost in memory alone."""
        self._memory.table.unflushed.clear()
        self._memory.fail_over()

    def close(self) -> None:
        self.compare()

    def submits(self) -> Any:
        return self._twin(self._memory.submits(), SubmitStore(self._bridge.database))

    def claims(self, *, worker: str, models: list[str], slots: int) -> Any:
        real = ClaimStore(self._bridge.database, worker=worker, models=models, slots=slots)
        return self._twin(self._memory.claims(worker=worker, models=models, slots=slots), real)

    def leases(self) -> Any:
        return self._twin(self._memory.leases(), LeaseStore(self._bridge.database))

    def attempts(self, *, worker: str) -> Any:
        real = AttemptStore(self._bridge.database, worker=worker)
        return self._twin(self._memory.attempts(worker=worker), real)

    def cancels(self) -> Any:
        return self._twin(self._memory.cancels(), CancelStore(self._bridge.database))

    def reads(self) -> Any:
        return self._twin(self._memory.reads(), ReadStore(self._bridge.database))

    def relay(self) -> Any:
        return self._twin(self._memory.relay(), RelayStore(self._bridge.database))

    def redelivery(self) -> Any:
        return self._twin(self._memory.redelivery(), RedeliveryStore(self._bridge.database))

    def beats(self, identity: WorkerIdentity) -> Any:
        return self._twin(self._memory.beats(identity), WorkerStore(self._bridge.database, identity))

    def compare(self) -> None:
        """Say what differs between the rows, their histories and their attempts."""
        run, database, table = self._bridge.run, self._bridge.database, self._memory.table
        found = {row["id"]: dict(row) for row in run(database.read("select * from jobs"))}
        self._same("jobs", set(table.rows), set(found))
        for id_, row in table.rows.items():
            for column in COLUMNS:
                self._same(f"{id_.int}.{column}", getattr(row, column), found[id_][column])
        events = run(database.read("select job_id, seq, type, at from events order by job_id, seq"))
        mine = [
            (id_, each.seq, each.type, each.at) for id_ in sorted(table.events) for each in table.events[id_]
        ]
        self._same("events", mine, [tuple(event) for event in events])
        attempts = run(database.read("select job_id, fence, attempt, outcome from attempts order by 1, 2"))
        kept = [(*key, each.attempt, each.outcome) for key, each in sorted(table.attempts.items())]
        self._same("attempts", kept, [tuple(attempt) for attempt in attempts])

    def _twin(self, memory: Any, real: Any) -> Any:
        return _Twin(self, memory, real)

    def both(self, name: str, memory: Callable[[], Any], real: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Call both, compare what they answer, give PostgreSQL's answer."""
        changes = self._audit.changes
        expected = _outcome(memory)
        self._set_clock()
        answer = _outcome(lambda: self._bridge.run(real()))
        self._same(name, _outline(expected), _outline(answer))
        if self._audit.changes != changes:
            self.compare()
        if isinstance(answer, LeveretError):
            raise answer
        return answer

    def _set_clock(self) -> None:
        table = self._memory.table
        sql = "update machine.clock set now = $1, up_since = $2"
        self._bridge.run(self._bridge.database.write(sql, table.now(), table.started_at))

    def _same(self, what: str, mine: Any, theirs: Any) -> None:
        if not _alike(mine, theirs):
            self._audit.broken.append(f"{what}: in memory {mine}, in PostgreSQL {theirs}")


class _Twin:
    """One face of both."""

    def __init__(self, stores: TwinStores, memory: Any, real: Any) -> None:
        self._stores = stores
        self._memory = memory
        self._real = real

    def __getattr__(self, name: str) -> Callable[..., Any]:
        memory, real = getattr(self._memory, name), getattr(self._real, name)

        def call(*values: Any, **named: Any) -> Any:
            return self._stores.both(name, lambda: memory(*values, **named), lambda: real(*values, **named))

        return call


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except LeveretError as error:
        return error


def _outline(answer: Any) -> Any:  # noqa: PLR0911  one for each kind
    """An answer without what only a person reads of it."""
    match answer:
        case LeveretError():
            return type(answer)
        case Left():
            return answer.state, _outline(answer.event), answer.publish_due
        case Event():
            return answer.job_id, answer.seq, answer.type, answer.at
        case Job():
            return answer.id, answer.state, answer.seq, answer.attempt, answer.priority
        case tuple():
            return tuple(_outline(each) for each in answer)
        case list():
            return sorted((_outline(each) for each in answer), key=repr)
    return answer


def _alike(one: Any, other: Any) -> bool:
    match one, other:
        case datetime(), datetime():
            return abs(one - other) <= ROUNDING
        case (list() | tuple(), list() | tuple()):
            return len(one) == len(other) and all(map(_alike, one, other))
        case State(), str():
            return str(one) == str(other)
    if is_dataclass(one) and type(one) is type(other):
        return all(_alike(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return bool(one == other)
