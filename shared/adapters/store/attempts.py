"""How an attempt ends: the one statement by which a worker lets its job leave `running`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from shared.adapters.batching import Batcher
from shared.adapters.store.pool import UNFIT, Database, to_json
from shared.adapters.store.records import CANCELED, RECEIPT, event_of
from shared.cleaning import clean_text
from shared.errors import EngineDied, Unstorable
from shared.events import BY_STATE, Event, EventType
from shared.jobs import MAX_RELEASES, Claim, Ending, Evidence, State, check_transition
from shared.tariff import Tariff

# What is the same on every receipt of a worker, and the job's own figures.
_FIRST = """
$8::jsonb || jsonb_build_object('machine_s', h.share_s, 'gpu_s', h.share_s * $7::int,
                                'cost', trim_scale(h.cost)::text)
"""
_LATER = f"""
(select {RECEIPT} from (
    select count(*) as wasted_attempts, count(*) + 1 as attempts,
           case when count(*) = count(a.machine_s) then coalesce(sum(a.machine_s), 0) end as wasted_s,
           case when count(*) = count(a.machine_s) then coalesce(sum(a.machine_s), 0) + h.share_s end
               as machine_s,
           case when count(*) = count(a.gpu_s) then coalesce(sum(a.gpu_s), 0) + h.share_s * $7::int end
               as gpu_s,
           case when count(*) = count(a.cost) then coalesce(sum(a.cost), 0) end as wasted_cost,
           case when count(*) = count(a.cost) then coalesce(sum(a.cost), 0) + h.cost end as cost,
           j.worker, $8::jsonb ->> 'device' as device, $8::jsonb ->> 'currency' as currency
    from attempts a where a.job_id = j.id) r)
"""  # noqa: S608  a constant of ours

_LEAVE = """
with told as materialized (
    select * from json_to_recordset($1::json) as t(
        id uuid, fence integer, attempt smallint, state text, type text, data jsonb,
        delay_s double precision, error jsonb, log text, timings jsonb, alone boolean)
), held as (
    select t.*, j.started_at as began, clock_timestamp() as left_at,
           case when j.cancel_requested and t.state <> 'succeeded' then 'canceled'
                when t.state = 'queued' and j.releases >= $2
                     and j.attempt >= j.max_attempts then 'failed'
                else t.state end as verdict
    from told t join jobs j on j.id = t.id and j.fence = t.fence and j.state = 'running'
    order by t.id for update of j
), shared as (
    select *, round(greatest(0, extract(epoch from left_at - began)) / $6::int, 6) as share_s from held
), charged as (
    select *, round(share_s * $5::numeric / 3600, 10) as cost from shared
), gone as (
    update jobs j set
        state = verdict,
        seq = seq + 1,
        lease_until = null,
        progress = case when verdict = 'succeeded' then 1 else progress end,
        attempt = j.attempt - case when verdict = 'queued' and releases < $2 then 1 else 0 end,
        releases = releases + case when verdict = 'queued' then 1 else 0 end,
        alone = j.alone or h.alone,
        run_at = case when verdict = 'waiting' then clock_timestamp() + make_interval(secs => h.delay_s) end,
        queued_at = case when verdict = 'queued' then clock_timestamp() else queued_at end,
        publish_due = case when verdict = 'queued' then clock_timestamp() end,
        publish_tries = 0,
        finished_at = case when verdict not in ('queued', 'waiting') then h.left_at end
    from charged h where j.id = h.id
    returning j.id, j.fence, j.seq, j.state, j.publish_due, j.worker, j.started_at,
              h.left_at, h.attempt, h.error, h.log, h.timings, h.share_s, h.cost,
              case when j.state = h.state then h.type else 'job.' || j.state end as type,
              case when j.state = h.state then h.data
                   else jsonb_build_object('outputs', '{{}}'::jsonb, 'timings', h.timings, 'error',
                            case j.state when 'canceled' then $3::jsonb else $4::jsonb end) end
              || case when j.state in ('queued', 'waiting') then '{{}}'::jsonb
                      else jsonb_build_object('receipt', {receipt}) end as data
), event as (
    insert into events (job_id, seq, type, at, data) select id, seq, type, left_at, data from gone
), ended as (
    insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, error, log,
                          timings, device, machine_s, gpu_s, cost)
    select id, fence, attempt, coalesce(worker, ''),
           case when state = 'queued' then 'released' else state end,
           started_at, left_at, error, log, timings, $8::jsonb ->> 'device', share_s, share_s * $7::int,
           cost
    from gone
)
select id as job_id, fence, state, publish_due, seq, type, left_at as at, data,
       share_s::float8 as machine_s, cost
from gone
"""
LEAVE = _LEAVE.format(receipt=_FIRST)
LEAVE_AGAIN = _LEAVE.format(receipt=_LATER)
"""For a batch in which a job ran before: its other attempts, all of them wasted, are on its receipt.
Apart, since to get ready for it costs every statement something."""

LEFT = """
select j.state, j.publish_due, e.job_id, e.seq, e.type, e.at, e.data, a.machine_s, a.cost
from jobs j join events e on e.job_id = j.id and e.seq = j.seq
join attempts a on a.job_id = j.id and a.fence = j.fence
where j.id = $1 and j.fence = $2 and j.state <> 'running'
"""

RELEASED_TOO_OFTEN = {
    "code": EngineDied.code,
    "message": f"given back by draining workers more than {MAX_RELEASES} times, its attempts spent",
    "retryable": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A job left `running` under this worker's fence.

    Attributes:
        state: What it is now: `canceled` in place of a retry or release when that had been asked for.
        event: To announce.
        publish_due: The relay's mark, when the job is queued again.
        machine_s: The attempt's share of the machine's time.
        cost: Of this; None: the machine has no price.
    """

    state: State
    event: Event
    publish_due: datetime | None
    machine_s: float = 0.0
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A job about to leave `running`: which attempt, and what it says, as JSON."""

    id: UUID
    fence: int
    told: str


class AttemptStore:
    """One worker's attempts. Calls share statements.

    Args:
        database: Where the jobs are.
        worker: The worker's id.
        tariff: What its attempts are charged by.
    """

    def __init__(self, database: Database, *, worker: str, tariff: Tariff | None = None) -> None:
        self._database = database
        self._worker = worker
        self._tariff = tariff or Tariff()
        self._endings: Batcher[_Leaving, Left | None] = Batcher(self._leave_all, divisible=UNFIT)

    async def finish(self, claim: Claim, ending: Ending) -> Left | None:
        """Commit a terminal state; None when the fence has moved on and nothing changed."""
        data = {
            "outputs": ending.outputs,
            "error": ending.evidence.public_error,
            "timings": ending.evidence.timings,
        }
        return await self._leave(claim, ending.state, BY_STATE[ending.state], data, ending.evidence)

    async def retry(self, claim: Claim, evidence: Evidence, *, delay_s: float) -> Left | None:
        """Back to `waiting` for `delay_s` seconds; None when the fence has moved on."""
        data = {"error": evidence.public_error, "delay_s": round(delay_s, 3)}
        return await self._leave(claim, State.WAITING, EventType.RETRYING, data, evidence, delay_s=delay_s)

    async def release(self, claim: Claim, evidence: Evidence) -> Left | None:
        """Back to `queued` at once, the attempt given back; None when the fence has moved on."""
        return await self._leave(claim, State.QUEUED, EventType.RELEASED, {}, evidence)

    async def left(self, claim: Claim) -> Left | None:
        """What an earlier call did whose answer was lost; None when the job is someone else's by now."""
        rows = await self._database.read(LEFT, claim.id, claim.fence)
        return _left(rows[0]) if rows else None

    async def _leave(
        self,
        claim: Claim,
        state: State,
        event_type: EventType,
        data: Mapping[str, Any],
        evidence: Evidence,
        *,
        delay_s: float = 0.0,
    ) -> Left | None:
        check_transition(State.RUNNING, state)
        step = {"state": state.value, "type": event_type.value, "data": data, "delay_s": delay_s}
        try:
            return await self._endings.add(_leaving(claim, evidence, step))
        except (*UNFIT, ValueError) as error:
            raise Unstorable(str(error)) from error

    async def _leave_all(self, leaving: Sequence[_Leaving]) -> Sequence[Left | None]:
        told = f"[{','.join(each.told for each in leaving)}]"
        leave = LEAVE_AGAIN if any(each.fence > 1 for each in leaving) else LEAVE
        due = self._tariff
        charge = (due.per_hour, due.slots, due.gpus, self._first_receipt())
        rows = await self._database.write(leave, told, MAX_RELEASES, CANCELED, RELEASED_TOO_OFTEN, *charge)
        gone = {(row["job_id"], row["fence"]): _left(row) for row in rows}
        return [gone.get((each.id, each.fence)) for each in leaving]

    def _first_receipt(self) -> dict[str, Any]:
        """What needs no figures of the attempt."""
        return {
            "attempts": 1,
            "currency": self._tariff.currency,
            "wasted_attempts": 0,
            "wasted_s": 0,
            "wasted_cost": "0",
            "worker": self._worker,
            "device": self._tariff.device,
        }


def _leaving(claim: Claim, evidence: Evidence, step: Mapping[str, Any]) -> _Leaving:
    told = {
        "id": claim.id,
        "fence": claim.fence,
        "attempt": claim.attempt,
        "error": evidence.error,
        "log": clean_text(evidence.log),
        "timings": evidence.timings,
        # Several may have been at work in the engine that died: the next attempt finds out which it was.
        # One that is given back was not, whatever died around it.
        "alone": step["state"] != State.QUEUED and _engine_died(evidence),
        **step,
    }
    return _Leaving(claim.id, claim.fence, to_json(told))


def _engine_died(evidence: Evidence) -> bool:
    return (evidence.error or {}).get("code") == EngineDied.code


def _left(row: asyncpg.Record) -> Left:
    return Left(
        state=State(row["state"]),
        event=event_of(row),
        publish_due=row["publish_due"],
        machine_s=row["machine_s"],
        cost=row["cost"],
    )
