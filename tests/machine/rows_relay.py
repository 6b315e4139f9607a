"""The relay's statements on the table in memory, guard by guard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from shared.adapters.store import redelivery as lost
from shared.adapters.store import relay as sql
from shared.adapters.store.records import CANCELED, START_TIMEOUT, WORKER_LOST
from shared.adapters.store.redelivery import Silent
from shared.adapters.store.relay import Due
from shared.events import Event, EventType
from shared.jobs import Evidence, State
from tests.machine import limits
from tests.machine.table import Row, Table, after

Announcements = list[tuple[str, Event]]


class MemoryRelay:
    def __init__(self, table: Table, *, server_grace_s: float) -> None:
        self._table = table
        self._server_grace_s = server_grace_s

    def take_due(self, *, refused: Collection[str] = ()) -> list[Due]:
        assert not refused, "no queue of this world is ever refused"
        now = self._table.now()
        due = [row for row in self._table.rows.values() if row.publish_due and row.publish_due <= now]
        due.sort(key=lambda row: (-row.priority, row.publish_due))
        taken = [self._take(row, now) for row in due[: sql.BATCH]]
        return sorted(taken, key=lambda due: (-due.priority, due.id))

    def put_back(self, marks: Sequence[tuple[UUID, datetime]]) -> None:
        for job_id, due in marks:
            row = self._table.rows.get(job_id)
            if row is not None and row.publish_due == due:
                again = after(self._table.now(), sql.PUT_BACK_S)
                self._table.mark(row, publish_due=again, publish_tries=max(row.publish_tries - 1, 0))

    def expire_leases(self) -> Announcements:
        now = self._table.now()
        if self._table.started_at >= now - timedelta(seconds=self._server_grace_s):
            return []
        lapsed = [row for row in self._table.live(State.RUNNING) if row.lease_until and row.lease_until < now]
        lapsed.sort(key=lambda row: row.lease_until or now)
        return [self._expire(row, now) for row in lapsed[: sql.BATCH]]

    def wake_waiting(self) -> Announcements:
        now = self._table.now()
        due = [
            row
            for row in self._table.live(State.WAITING)
            if row.run_at and row.run_at <= now and (row.start_deadline is None or row.start_deadline > now)
        ]
        due.sort(key=lambda row: row.run_at or now)
        return [self._wake(row, now) for row in due[: sql.BATCH]]

    def expire_starts(self) -> Announcements:
        now = self._table.now()
        late = [
            row
            for row in self._table.live(State.WAITING, State.QUEUED)
            if row.start_deadline and row.start_deadline <= now
        ]
        late.sort(key=lambda row: row.start_deadline or now)
        return [self._expire_start(row, now) for row in late[: sql.BATCH]]

    def _take(self, row: Row, now: datetime) -> Due:
        pause = min(sql.REPUBLISH_CAP_S, sql.REPUBLISH_S * 2.0**row.publish_tries)
        row = self._table.mark(row, publish_tries=row.publish_tries + 1, publish_due=after(now, pause))
        assert row.publish_due is not None
        return Due(
            id=row.id,
            queue=row.spec.queue,
            priority=row.priority,
            publish_due=row.publish_due,
            traceparent=row.spec.traceparent,
        )

    def _expire(self, row: Row, now: datetime) -> tuple[str, Event]:
        blamed = row.entered or row.releases >= limits.MAX_RELEASES
        spent = blamed and row.attempt >= row.spec.max_attempts
        verdict = State.CANCELED if row.cancel_requested else State.FAILED if spent else State.QUEUED
        queued = verdict is State.QUEUED
        types = {State.QUEUED: EventType.RETRYING, State.FAILED: EventType.FAILED}
        error = CANCELED if verdict is State.CANCELED else WORKER_LOST
        gone, event = self._table.move(
            row,
            types.get(verdict, EventType.CANCELED),
            {"error": error},
            now,
            state=verdict,
            fence=row.fence + 1,
            lease_until=None,
            publish_tries=0,
            attempt=row.attempt - (0 if blamed else 1),
            releases=row.releases + (0 if blamed else 1),
            alone=row.alone or blamed,
            queued_at=now if queued else row.queued_at,
            publish_due=now if queued else None,
            finished_at=None if queued else now,
        )
        self._table.keep_attempt(gone, "worker_lost", row.attempt, row.fence, Evidence(error=WORKER_LOST))
        return row.spec.tenant, event

    def _wake(self, row: Row, now: datetime) -> tuple[str, Event]:
        _, event = self._table.move(
            row,
            EventType.QUEUED,
            {},
            now,
            state=State.QUEUED,
            queued_at=now,
            publish_due=now,
            publish_tries=0,
        )
        return row.spec.tenant, event

    def _expire_start(self, row: Row, now: datetime) -> tuple[str, Event]:
        data = {"outputs": {}, "timings": {}, "error": START_TIMEOUT}
        _, event = self._table.move(
            row, EventType.EXPIRED, data, now, state=State.EXPIRED, publish_due=None, finished_at=now
        )
        return row.spec.tenant, event


class MemoryRedelivery:
    def __init__(self, table: Table) -> None:
        self._table = table

    def overtaken(self, *, margin_s: float, forgotten_s: float) -> int:
        now = self._table.now()
        served: dict[tuple[str, int], datetime] = {}
        for row in self._table.live(State.RUNNING):
            if row.published_at is not None:
                kind = row.spec.queue, row.priority
                served[kind] = max(served.get(kind, row.published_at), row.published_at)
        return self._due_again(
            row
            for row in self._unclaimed()
            if (sent := row.published_at)
            and (
                (now - sent).total_seconds() > forgotten_s
                or sent < served.get((row.spec.queue, row.priority), sent) - timedelta(seconds=margin_s)
            )
        )

    def silent(self, *, after_s: float) -> list[Silent]:
        long_ago = self._table.now() - timedelta(seconds=after_s)
        newest: dict[str, datetime] = {}
        for row in self._unclaimed():
            if row.published_at and row.published_at < long_ago:
                queue = row.spec.queue
                newest[queue] = max(newest.get(queue, row.published_at), row.published_at)
        return [Silent(queue=queue, published_before=at) for queue, at in newest.items()]

    def publish_again(self, silent: Silent) -> int:
        return self._due_again(
            row
            for row in self._unclaimed()
            if row.spec.queue == silent.queue
            and row.published_at
            and row.published_at <= silent.published_before
        )

    def publish_all(self, queue: str) -> int:
        return self._due_again(row for row in self._table.live(State.QUEUED) if row.spec.queue == queue)

    def promote(self, *, high_s: float, normal_s: float, low_s: float) -> dict[str, int]:
        now, claims, made = self._table.now(), self._count_claims(), defaultdict[str, int](int)
        waiting = [row for row in self._table.live(State.QUEUED) if not row.promoted and row.priority < 10]
        for row in sorted(waiting, key=lambda row: (row.queued_at or now, row.id)):
            queue = row.spec.queue
            bound = high_s if row.priority >= 8 else normal_s if row.priority >= 4 else low_s
            if row.queued_at is None or row.queued_at >= now - timedelta(seconds=bound):
                continue
            if queue in claims and made[queue] < claims[queue] // lost.CLAIMS_PER_PROMOTION:
                self._table.mark(row, priority=10, promoted=True, publish_due=now, publish_tries=0)
                made[queue] += 1
        for queue, count in made.items():
            self._table.paid[queue] += lost.CLAIMS_PER_PROMOTION * count
        return {queue: count for queue, count in made.items() if count}

    def _count_claims(self) -> dict[str, int]:
        """By queue, the claims that no promotion has used yet."""
        total: dict[str, int] = defaultdict(int)
        for queue, claims in self._table.claims.values():
            total[queue] += claims
        for queue, claims in total.items():
            self._table.paid[queue] = min(self._table.paid.get(queue, claims), claims)
        return {queue: claims - self._table.paid[queue] for queue, claims in total.items()}

    def _unclaimed(self) -> list[Row]:
        return [row for row in self._table.live(State.QUEUED) if row.publish_due is None]

    def _due_again(self, rows: Iterable[Row]) -> int:
        found = list(rows)
        for row in found:
            self._table.mark(row, publish_due=self._table.now(), publish_tries=0)
        return len(found)
