"""Waiting for a job: pushed events, resumed by cursor, each seen once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.client import (
    ApiError,
    AsyncClient,
    JobCanceled,
    JobExpired,
    JobFailed,
    RetryPolicy,
    UnreachableError,
    WaitTimeoutError,
)
from tests.fakes.gateway import KEY, FakeGateway
from tests.fakes.problems import problem

if TYPE_CHECKING:
    from gateway.client import AsyncJob, Event

pytestmark = pytest.mark.anyio

WHOLE = [(1, "job.queued"), (2, "job.running"), (2, "job.progress"), (3, "job.succeeded")]


@pytest.fixture
async def job(client: AsyncClient) -> AsyncJob:
    return await client.submit("cutout", inputs={"image": b"x"})


async def collect(job: AsyncJob) -> list[tuple[int, str]]:
    return [(event.seq, event.type) async for event in job.events()]


async def test_events_arrive_in_order_up_to_the_terminal_one(job: AsyncJob) -> None:
    assert await collect(job) == WHOLE


async def test_waiting_takes_over_what_the_events_say(job: AsyncJob) -> None:
    heard: list[Event] = []

    done = await job.wait(progress=heard.append)

    assert done is job
    assert (job.state, job.done, job.progress) == ("succeeded", True, 0.5)
    assert job.timings == {"infer_s": 0.25}
    assert [event.type for event in heard] == [kind for _, kind in WHOLE]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013])
async def test_a_lost_socket_is_resumed_from_the_cursor(
    job: AsyncJob, gateway: FakeGateway, code: int
) -> None:
    gateway.sockets += [(2, code), (0, 1012)]

    assert await collect(job) == [WHOLE[0], WHOLE[1], WHOLE[3]]
    assert gateway.cursors == [0, 2, 2]


async def test_repeats_are_dropped(job: AsyncJob, gateway: FakeGateway) -> None:
    gateway.sockets.append((3, 1012))
    gateway.resend_from = 0

    seen = await collect(job)

    assert [each for each in seen if each[1] != "job.progress"] == [WHOLE[0], WHOLE[1], WHOLE[3]]


async def test_an_unwilling_gateway_is_asked_again(job: AsyncJob, gateway: FakeGateway) -> None:
    gateway.refuse_sockets.append(problem(503, "unavailable", "starting", retry_after="0"))

    assert await collect(job) == WHOLE


async def test_nothing_after_the_cursor_is_read_from_the_job_itself(
    job: AsyncJob, client: AsyncClient, gateway: FakeGateway
) -> None:
    await job.wait()
    late = await client.job(job.id)
    late._raw["state"] = "running"
    late.seq = 3

    await late.wait()

    assert late.state == "succeeded"
    assert gateway.cursors == [0, 3]


async def test_job_that_ended_already_needs_no_socket(
    job: AsyncJob, client: AsyncClient, gateway: FakeGateway
) -> None:
    await job.wait()

    await (await client.job(job.id)).wait()

    assert gateway.cursors == [0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("job.failed", JobFailed), ("job.canceled", JobCanceled), ("job.expired", JobExpired)],
)
async def test_other_endings_raise_with_their_code(
    job: AsyncJob, gateway: FakeGateway, kind: str, expected: type[JobFailed]
) -> None:
    gateway.end(kind, {"code": "worker_lost", "message": "the engine died"})

    with pytest.raises(expected) as caught:
        await job.wait()

    assert (caught.value.code, caught.value.message) == ("worker_lost", "the engine died")
    assert caught.value.job is job
    assert await job.wait(check=False) is job


async def test_waiting_ends_in_time_and_can_be_taken_up_again(job: AsyncJob, gateway: FakeGateway) -> None:
    gateway.hold.clear()
    gateway.sockets.append((2, 1012))
    with pytest.raises(WaitTimeoutError, match="still") as caught:
        await job.wait(timeout_s=0.3)

    gateway.hold.set()
    await job.wait()

    assert isinstance(caught.value, TimeoutError)
    assert job.state == "succeeded"


async def test_a_stream_that_is_denied_is_not_asked_for_again(gateway: FakeGateway, job: AsyncJob) -> None:
    gateway.refuse_sockets.append(problem(404, "not_found", "there is no such job"))

    with pytest.raises(ApiError) as caught:
        await job.wait()

    assert (caught.value.status, caught.value.code) == (404, "not_found")


async def test_a_refusal_in_the_close_frame_is_an_api_error(client: AsyncClient) -> None:
    with pytest.raises(ApiError) as caught:
        await anext(client.follow("0198"))

    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert caught.value.detail == "there is no such job"


async def test_a_gateway_that_stays_away_ends_the_wait(gateway: FakeGateway, unused_url: str) -> None:
    policy = RetryPolicy(budget_s=0.05, base_s=0.01, cap_s=0.02)
    async with AsyncClient(unused_url, KEY, reconnect=policy) as client:
        with pytest.raises(UnreachableError, match="stream"):
            await anext(client.follow("0198"))
    assert not gateway.cursors


async def test_the_key_travels_in_a_header_alone(
    client: AsyncClient, job: AsyncJob, gateway: FakeGateway
) -> None:
    await job.wait()
    await job.outputs["cutout"].bytes()

    assert all(KEY not in path for _, path, _ in gateway.seen)
    assert KEY not in repr(client.target)


async def test_a_job_that_ended_stays_ended_while_its_history_is_told(
    client: AsyncClient, job: AsyncJob
) -> None:
    await job.wait()
    again = await client.job(job.id)

    states = [again.state async for _ in again.events(after=0)]

    assert states == ["succeeded"] * 4
