"""What an open page is told: the latest of each row, once, of what it shows and may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest

from gateway.live.hub import Hub
from gateway.live.sources import MAX_NEW, JobSource, TableSource, _but_ages, _heard
from gateway.live.viewer import JOBS, MAX_ROWS, OVERVIEW, TOPICS, WORKERS, Rows, Viewer, Wish, encoded
from shared.errors import Unavailable

pytestmark = pytest.mark.anyio

A, B = UUID(int=1), UUID(int=2)


def rows(**named: object) -> Rows:
    return encoded((name, {"id": name, "state": state}) for name, state in named.items())


def operator(*topics: str) -> Viewer:
    viewer = Viewer("acme", operator=True)
    viewer.ask(Wish(topics=frozenset(topics)))
    return viewer


def told(viewer: Viewer) -> dict[str, Any]:
    frame: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(viewer.take()))
    return frame


def test_only_the_latest_of_a_row_is_told_and_only_once() -> None:
    viewer = operator(WORKERS)
    for state in ("starting", "ready", "draining"):
        viewer.offer(WORKERS, rows(one=state, two="ready"))
    assert told(viewer) == {"workers": [{"id": "one", "state": "draining"}, {"id": "two", "state": "ready"}]}
    viewer.offer(WORKERS, rows(one="draining", two="ready"))
    assert told(viewer) == {}
    viewer.offer(WORKERS, rows(one="draining", two="draining"))
    assert told(viewer) == {"workers": [{"id": "two", "state": "draining"}]}


def test_what_is_there_no_longer_is_told_as_gone() -> None:
    viewer = operator(WORKERS)
    viewer.offer(WORKERS, rows(one="ready", two="ready"))
    told(viewer)
    viewer.offer(WORKERS, rows(two="ready"))
    assert told(viewer) == {"gone": {"workers": ["one"]}}


def test_more_changes_than_a_frame_holds_are_told_as_a_resync_and_then_as_changes_again() -> None:
    viewer = operator(WORKERS)
    many = {f"w{number}": "ready" for number in range(MAX_ROWS + 1)}
    viewer.offer(WORKERS, rows(**many))
    assert told(viewer) == {"resync": ["workers"]}
    viewer.offer(WORKERS, rows(**many | {"w5": "draining"}))
    assert told(viewer) == {"workers": [{"id": "w5", "state": "draining"}]}


def test_a_page_sees_its_own_jobs_rows_and_no_others() -> None:
    viewer = Viewer("acme", operator=False)
    viewer.ask(Wish(topics=frozenset({JOBS}), ids=frozenset({A})))
    viewer.offer(JOBS, encoded([(str(A), "a"), (str(B), "b")]))
    assert told(viewer) == {"jobs": ["a"]}
    # Scrolled on, it is told the others, and what left the page is not gone
    viewer.ask(Wish(topics=frozenset({JOBS}), ids=frozenset({B})))
    viewer.offer(JOBS, encoded([(str(A), "a"), (str(B), "b")]))
    assert told(viewer) == {"jobs": ["b"]}


def test_a_tenant_is_refused_what_is_the_operators_and_given_the_rest() -> None:
    viewer = Viewer("acme", operator=False)
    viewer.ask(Wish(topics=frozenset(TOPICS), all=True))
    assert told(viewer) == {"refused": ["queues", "scaler", "workers"]}
    assert viewer.wish.topics == {JOBS, OVERVIEW}
    assert [viewer.scope(topic) for topic in (JOBS, OVERVIEW)] == ["acme", "acme"]
    viewer.offer(WORKERS, rows(one="ready"))
    assert told(viewer) == {}


def test_rows_that_cannot_be_read_are_told_stale_once_and_again_after_they_could() -> None:
    viewer = operator(WORKERS)
    told(viewer)
    viewer.fail(WORKERS)
    viewer.fail(WORKERS)
    assert told(viewer) == {"stale": ["workers"]}
    viewer.offer(WORKERS, rows(one="ready"))
    told(viewer)
    viewer.fail(WORKERS)
    assert told(viewer) == {"stale": ["workers"]}


def test_a_topic_asked_for_again_is_told_whole() -> None:
    viewer = operator(WORKERS)
    viewer.offer(WORKERS, rows(one="ready"))
    told(viewer)
    viewer.ask(Wish())
    assert told(viewer) == {}
    viewer.ask(Wish(topics=frozenset({WORKERS})))
    viewer.offer(WORKERS, rows(one="ready"))
    assert told(viewer) == {"workers": [{"id": "one", "state": "ready"}]}


class Counted:
    """A source that counts its looks, and fails when told to."""

    period_s = 0.01

    def __init__(self) -> None:
        self.looks = 0
        self.away = False
        self.looked = asyncio.Event()

    async def look(self, viewers: Collection[Viewer]) -> Rows:
        assert viewers
        self.looks += 1
        self.looked.set()
        if self.away:
            raise Unavailable("PostgreSQL is away")
        return rows(one=self.looks)

    async def next(self) -> None:
        self.looked.clear()
        async with asyncio.timeout(5):
            await self.looked.wait()


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    task = asyncio.create_task(hub.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_ten_pages_cost_as_many_looks_as_one_and_none_costs_none() -> None:
    made: list[Counted] = []

    def source(_: str | None) -> Counted:
        made.append(Counted())
        return made[-1]

    hub = Hub({WORKERS: source})
    async with running(hub):
        viewers = [Viewer("acme", operator=True) for _ in range(10)]
        with hub.watched_by(viewers[0]):
            for viewer in viewers[1:]:
                hub._viewers.add(viewer)
            for viewer in viewers:
                hub.ask(viewer, Wish(topics=frozenset({WORKERS})))
            await made[0].next()
            await made[0].next()
            assert len(made) == 1
            assert all(told(viewer)["workers"] for viewer in viewers)
            # When the last page closes, the looks end
            for viewer in viewers[1:]:
                hub._viewers.discard(viewer)
        looks = made[0].looks
        await asyncio.sleep(0.1)
        assert made[0].looks == looks


async def test_a_page_that_comes_late_is_shown_at_once_what_is_known() -> None:
    source = Counted()
    hub = Hub({WORKERS: lambda _: source})
    async with running(hub):
        early, late = Viewer("acme", operator=True), Viewer("acme", operator=True)
        with hub.watched_by(early), hub.watched_by(late):
            hub.ask(early, Wish(topics=frozenset({WORKERS})))
            await source.next()
            await source.next()
            hub.ask(late, Wish(topics=frozenset({WORKERS})))
            assert told(late)["workers"]


async def test_a_failed_look_makes_the_page_stale_and_the_next_one_mends_it() -> None:
    source = Counted()
    source.away = True
    hub = Hub({WORKERS: lambda _: source})
    async with running(hub):
        viewer = Viewer("acme", operator=True)
        with hub.watched_by(viewer):
            hub.ask(viewer, Wish(topics=frozenset({WORKERS})))
            await source.next()
            await source.next()
            assert told(viewer) == {"stale": ["workers"]}
            source.away = False
            await source.next()
            await source.next()
            assert told(viewer)["workers"]


async def test_a_drain_ends_every_page_those_that_come_then_as_well() -> None:
    hub = Hub({})
    early, late = Viewer("acme", operator=True), Viewer("acme", operator=True)
    with hub.watched_by(early):
        hub.drain()
        with hub.watched_by(late):
            assert (early.ended, late.ended) == (True, True)


class Jobs:
    """Jobs in memory, and what was asked for."""

    def __init__(self, **states: str) -> None:
        self.states = {UUID(int=int(name[1:])): state for name, state in states.items()}
        self.asked: list[Sequence[UUID]] = []
        self.last = UUID(int=10)
        self.count = 0

    async def some(self, tenant: str | None, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        self.asked.append(ids)
        return [{"id": str(id_), "state": self.states[id_]} for id_ in ids if id_ in self.states]

    async def newest(self, tenant: str | None) -> UUID | None:
        return self.last

    async def newer(self, tenant: str | None, than: Sequence[UUID], *, limit: int) -> list[int]:
        return [min(self.count, limit)] * len(than)


async def test_what_has_ended_is_read_once() -> None:
    jobs = Jobs(j1="running", j2="succeeded")
    source = JobSource(jobs, "acme")
    viewer = Viewer("acme", operator=False)
    viewer.ask(Wish(topics=frozenset({JOBS}), ids=frozenset({A, B, UUID(int=3)})))
    assert (await source.look([viewer])).keys() == {str(A), str(B)}
    jobs.states[A] = "failed"
    await source.look([viewer])
    await source.look([viewer])
    assert [len(ids) for ids in jobs.asked] == [3, 2, 1]


async def test_new_jobs_are_counted_from_the_moment_the_page_asked_and_not_for_ever() -> None:
    jobs = Jobs()
    source = JobSource(jobs, "acme")
    viewer = Viewer("acme", operator=False)
    viewer.ask(Wish(topics=frozenset({JOBS})))
    await source.look([viewer])
    assert (viewer.newest, told(viewer)) == (jobs.last, {"new_jobs": 0})
    jobs.count = 37
    await source.look([viewer])
    assert told(viewer) == {"new_jobs": 37}
    jobs.count = MAX_NEW + 5
    await source.look([viewer])
    await source.look([viewer])
    assert told(viewer) == {"new_jobs": MAX_NEW}


async def test_a_worker_is_told_when_it_has_beaten_and_a_job_not_because_it_ages() -> None:
    found: list[dict[str, Any]] = [{"id": "w1", "jobs": [], "heartbeat_s": 1.0, "state": "ready"}]

    async def read() -> list[dict[str, Any]]:
        return found

    source, viewer = TableSource(read, "id", _heard), operator(WORKERS)
    viewer.offer(WORKERS, await source.look([]))
    assert told(viewer)["workers"]
    found[0]["state"] = "draining"
    viewer.offer(WORKERS, await source.look([]))
    assert told(viewer)["workers"]
    job = {"id": str(A), "state": "running", "run_s": 1.0, "progress": 0.1}
    assert _but_ages(job) == _but_ages(job | {"run_s": 2.0}) != _but_ages(job | {"progress": 0.2})
    assert _heard(found[0]) != _heard(found[0] | {"heartbeat_s": 11.0})
