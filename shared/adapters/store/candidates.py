"""Which index a list of jobs is read by. Pure: builds SQL, runs none.

*Candidates* are the newest ids that one index knows in order; what else a filter says is compared when they
are looked up. Limits are literals, because the planner takes an unknown one for a tenth of the table; lookups
are `lateral … offset 0`, so that no plan turns them round into a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from uuid import UUID

from shared.jobs import MAX_PRIORITY, State
from shared.listing import FAILED, LIVE, Filter

BEYOND = UUID(int=2**128 - 1)
COLUMNS = """
    j.id, s.tenant, s.model, s.model_version, j.queue, j.state, j.priority, j.attempt, j.max_attempts,
    j.worker, j.cancel_requested, j.progress, s.created_at, j.run_at, j.queued_at, j.started_at,
    j.finished_at, s.retry_of, j.seq, j.entered"""

# As the indexes `jobs_listed` and `jobs_live` say it: the planner takes them only for the very words.
ENDED_ROWS = "j.state in ('succeeded', 'failed', 'canceled', 'expired')"
LIVE_ROWS = "j.state in ('waiting', 'queued', 'running')"

# The queues there are, one index probe each: `select distinct` would read every job.
ENDED_QUEUES = f"""(
    with recursive known as (
        (select j.queue from jobs j where {ENDED_ROWS} order by j.queue limit 1)
        union all
        select (select j.queue from jobs j where {ENDED_ROWS} and j.queue > known.queue
                order by j.queue limit 1)
        from known where known.queue is not null
    ) select queue from known where queue is not null
)"""  # noqa: S608  constants of ours
LIVE_QUEUES = f"""(
    with recursive known as (
        select l.state, (select j.queue from jobs j where {LIVE_ROWS} and j.state = l.state
                         order by j.queue limit 1) as queue
        from unnest(array['waiting', 'queued', 'running']) as l(state)
        union all
        select known.state, (select j.queue from jobs j where {LIVE_ROWS} and j.state = known.state
                                and j.queue > known.queue order by j.queue limit 1)
        from known where known.queue is not null
    ) select distinct queue from known where queue is not null
)"""  # noqa: S608  idem
FAILURE = "(select f.{} from failures f where f.job_id = j.id)"
# A value and no `exists`, which the planner may turn into a join with all retries there are.
RETRY = "(select r.id from specs r where r.retry_of = {} limit 1)"

GIVEN = "select g.id from unnest({ids}) as g(id) where {range} order by g.id desc limit {limit}"
JOBS = "select j.id from jobs j where {range} order by j.id desc limit {limit}"
SPECS = "select s.id from specs s where s.{column} = {value} and {range} order by s.id desc limit {limit}"
FAILURES = """
select f.job_id as id from failures f where f.{column} = {value} and {range}
order by f.job_id desc limit {limit}
"""
FAILED_OF = """
select heads.id from unnest({states}) as listed(state) cross join lateral (
    select f.job_id as id from failures f where f.tenant = {tenant} and f.state = listed.state and {range}
    order by f.job_id desc limit {limit}
) heads order by heads.id desc limit {limit}
"""
ENDED_BRANCHES = f"""
select ended.id from {{queues}} q cross join unnest({{states}}) as listed(state) cross join lateral (
    select j.id from jobs j
    where j.queue = q.queue and j.state = listed.state and {ENDED_ROWS} and {{range}}
    order by j.id desc limit {{limit}}
) ended
"""  # noqa: S608  idem
PRIORITIES = f"generate_series(0, {MAX_PRIORITY})"
LIVE_BRANCHES = f"""
select live.id from {{queues}} q cross join unnest({{states}}) as listed(state)
cross join {{priorities}} as p(priority) cross join lateral (
    select j.id from jobs j where j.queue = q.queue and j.state = listed.state and {LIVE_ROWS}
                              and j.priority = p.priority::smallint and {{range}}
    order by j.id desc limit {{limit}}
) live
"""  # noqa: S608  idem
MERGED = "select heads.id from ({branches}) heads order by heads.id desc limit {limit}"
ROWS = """
select {columns} from ({ids}) c
cross join lateral (select * from jobs where id = c.id offset 0) j
cross join lateral (select * from specs where id = c.id offset 0) s
where {fit} order by c.id desc {bound}
"""

Source = Callable[[int], str]


class Candidates:
    """The newest ids of a filter, by the one index that knows most of it.

    Attributes:
        values: Of the statement, in the order of their placeholders; those of the candidates come first.
    """

    def __init__(self, wanted: Filter) -> None:
        self.values: list[Any] = []
        self._residual: dict[str, str] = {}
        self._wanted = wanted
        self._make, known = self._source()
        self._own = len(self.values)
        self._leave(known)

    @property
    def exact(self) -> bool:
        """All that are named are wanted."""
        return not self._residual

    @property
    def shared(self) -> bool:
        """All are wanted where the installation has one tenant."""
        return self._residual.keys() == {"tenant"}

    @property
    def own(self) -> list[Any]:
        """The values that `ids` takes."""
        return self.values[: self._own]

    def ids(self, limit: int) -> str:
        """A query for `id`, newest first, at most so many."""
        return self._make(limit)

    def rows(self, look: int, limit: int | None = None, columns: str = COLUMNS) -> str:
        """A query for those that fit among the newest `look` candidates."""
        where = " and ".join(self._residual.values()) or "true"
        bound = f"limit {limit}" if limit is not None else ""
        return ROWS.format(columns=columns, ids=self.ids(look), fit=where, bound=bound)

    def add(self, value: Any, kind: str) -> str:
        """The placeholder of a further value, for what is written around."""
        return self._value(value, kind)

    def _source(self) -> tuple[Source, set[str]]:
        """How to find candidates, and what of the filter is true of all of them."""
        wanted = self._wanted
        if wanted.ids:
            return self._given(), set()
        return self._failure_source() or self._job_source()

    def _failure_source(self) -> tuple[Source, set[str]] | None:
        wanted = self._wanted
        if wanted.fingerprint:
            return self._failures("fingerprint", wanted.fingerprint), {"fingerprint"}
        if wanted.error:
            return self._failures("code", wanted.error), {"error"}
        if wanted.tenant and wanted.states and wanted.states <= FAILED:
            return self._failed_of(wanted.tenant), {"tenant", "states"}
        return None

    def _job_source(self) -> tuple[Source, set[str]]:
        wanted = self._wanted
        if wanted.model and not (wanted.states and wanted.states <= LIVE):
            return self._specs("model", wanted.model), {"model"}
        if wanted.states or wanted.queue:
            alive = bool(wanted.states) and wanted.states <= LIVE
            return self._branches(), {"states", "queue"} | ({"priority"} if alive else set())
        if wanted.tenant:
            return self._specs("tenant", wanted.tenant), {"tenant"}
        return self._newest(), set()

    def _value(self, value: Any, kind: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    def _range(self, column: str) -> str:
        newest, oldest = self._wanted.newest, self._wanted.oldest
        bound = f"{column} <= {self._value(newest or BEYOND, 'uuid')}"
        return f"{bound} and {column} >= {self._value(oldest, 'uuid')}" if oldest else bound

    def _given(self) -> Source:
        ids = self._value(sorted(set(self._wanted.ids)), "uuid[]")
        return partial(_filled, GIVEN, ids=ids, range=self._range("g.id"))

    def _failures(self, column: str, value: str) -> Source:
        given = self._value(value, "text")
        return partial(_filled, FAILURES, column=column, value=given, range=self._range("f.job_id"))

    def _failed_of(self, tenant: str) -> Source:
        states = self._value(sorted(self._wanted.states), "text[]")
        given = self._value(tenant, "text")
        return partial(_filled, FAILED_OF, states=states, tenant=given, range=self._range("f.job_id"))

    def _specs(self, column: str, value: str) -> Source:
        given = self._value(value, "text")
        return partial(_filled, SPECS, column=column, value=given, range=self._range("s.id"))

    def _branches(self) -> Source:
        """By queue and state, and what lives by priority: few combinations, so their heads are merged."""
        states, named = self._wanted.states or frozenset(State), self._wanted.queue
        queue = f"(select {self._value(named, 'text')} as queue)" if named else None
        only = self._wanted.priority if states & LIVE else None
        priorities = PRIORITIES if only is None else f"(select {self._value(only, 'int')})"
        span, branches = self._range("j.id"), []
        for template, queues, its in (
            (ENDED_BRANCHES, ENDED_QUEUES, states - LIVE),
            (LIVE_BRANCHES, LIVE_QUEUES, states & LIVE),
        ):
            if its:
                listed = self._value(sorted(its), "text[]")
                part = partial(_filled, template, queues=queue or queues, states=listed, range=span)
                branches.append(partial(part, priorities=priorities))
        return lambda limit: MERGED.format(
            branches=" union all ".join(make(limit) for make in branches), limit=limit
        )

    def _newest(self) -> Source:
        return partial(_filled, JOBS, range=self._range("j.id"))

    def _leave(self, known: Iterable[str]) -> None:
        """Compare with the rows what the candidates do not know."""
        wanted, rest = (
            self._wanted,
            {
                "tenant": ("s.tenant", self._wanted.tenant),
                "model": ("s.model", self._wanted.model),
                "queue": ("j.queue", self._wanted.queue),
                "worker": ("j.worker", self._wanted.worker),
                "error": (FAILURE.format("code"), self._wanted.error),
                "fingerprint": (FAILURE.format("fingerprint"), self._wanted.fingerprint),
            },
        )
        for name, (column, value) in rest.items():
            if value is not None and name not in known:
                self._residual[name] = f"{column} = {self._value(value, 'text')}"
        if wanted.states and "states" not in known:
            self._residual["states"] = f"j.state = any({self._value(sorted(wanted.states), 'text[]')})"
        if wanted.priority is not None and "priority" not in known:
            self._residual["priority"] = f"j.priority = {self._value(wanted.priority, 'int')}"
        self._leave_what_came_later()
        if wanted.ids:
            self._residual["ids"] = "true"  # one may be nobody's

    def _leave_what_came_later(self) -> None:
        """When they ended, and whether they were retried."""
        wanted = self._wanted
        for name, sign, moment in (
            ("ended_before", "<=", wanted.ended_before),
            ("ended_after", ">=", wanted.ended_after),
        ):
            if moment is not None:
                self._residual[name] = f"j.finished_at {sign} {self._value(moment, 'timestamptz')}"
        if wanted.retried is not None:
            self._residual["retried"] = f"{RETRY.format('j.id')} is {'not ' if wanted.retried else ''}null"


def _filled(template: str, limit: int, **parts: str) -> str:
    return template.format(limit=limit, **parts)
