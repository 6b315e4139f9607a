"""The broker killed, stopped, wiped, robbed of a queue, out of memory or disk, out of patience, unheard."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from gateway.client import AsyncJob
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.conftest import Stage

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

SUBMIT_S = 5
"""Published. A submit waits 1 s for the broker's confirm; the rest is a busy machine's."""
AGAIN_S = 45
"""Published: what waited starts this soon after the broker is back, or its queue is gone. Where no submit and
no due row meets the broker before, the relay does, at a look every 10 s, 30 s after the last confirm; then
two ticks of the relay, the consumer's second, and their connections."""
CLEARED_S = 20
"""Published: after an alarm. A publish that was not taken gives up after 10 s, and is due again 5 s later;
then a tick of the relay."""
WAITING = 5
RESENT_S = 60
"""What the relay may take to publish again what no confirm came for; 10 s after the insert it is due."""
QUEUE = "leveret.steady"
ALARMS = {
    "memory": (("set_vm_memory_high_watermark", "0.000001"), ("set_vm_memory_high_watermark", "0.4")),
    "disk": (
        ("eval", "rabbit_alarm:set_alarm({{resource_limit, disk, node()}, []})."),
        ("eval", "rabbit_alarm:clear_alarm({resource_limit, disk, node()})."),
    ),
}
"""How each is raised and cleared. The disk's by hand: not everywhere can RabbitMQ read what is free."""
SYNCED = ("eval", "mnesia:sync_log().")
"""Puts what is declared on the disk now, and not a moment later: a kill would take the queue with it."""
PATIENCE = (
    "application:set_env(rabbit, consumer_timeout, {timeout}),"
    " application:set_env(rabbit, channel_tick_interval, {tick})."
)
"""Of the channels that are opened from then on."""


async def accepted(stage: Stage, when: str, note: int) -> AsyncJob:
    """Submit while the broker does not take messages."""
    began = time.monotonic()
    job = await stage.client.submit("gated", note=note)
    took = time.monotonic() - began
    stage.measured.append(f"broker {when}: submit accepted after {took:.1f} s (<= {SUBMIT_S})")
    assert took <= SUBMIT_S
    return job


@dataclass(slots=True)
class Work:
    """Jobs in the way of a fault.

    Attributes:
        jobs: The running one first.
        healed: When the fault was over; none is when the block ends.
    """

    jobs: list[AsyncJob]
    healed: float | None = None

    def heal(self) -> None:
        """From now on what waits has to start in time."""
        self.healed = time.monotonic()


@asynccontextmanager
async def work(stage: Stage, gate: Gate, what: str) -> AsyncIterator[Work]:
    """One job runs and a few wait; afterwards all have ended, each with one run."""
    running = await stage.client.submit("gated", note=what, params=gate.params)
    await gate.until_runs(1)
    waiting = [await stage.client.submit("gated", note=n) for n in range(WAITING)]
    under_way = Work([running, *waiting])
    yield under_way
    gate.open()
    jobs, began = under_way.jobs, under_way.healed or time.monotonic()
    await asyncio.gather(*(job.wait(timeout_s=2 * AGAIN_S) for job in jobs))
    took = time.monotonic() - began
    ids = [job.id for job in jobs]
    for job_id in ids:
        assert await stage.books.attempts(job_id) == [(1, "succeeded")]
    assert len(gate.runs()) == 1
    tally = await stage.counted(ids, runs=len(ids))
    stage.measured.append(f"broker {what}: all ended {took:.1f} s after healing (<= {AGAIN_S}), {tally}")
    assert took <= AGAIN_S


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_killed(stage: Stage, gate: Gate, steady: WorkerProcess, how: signal.Signals) -> None:
    async with work(stage, gate, f"ended by {how.name} and started again") as under_way:
        running = under_way.jobs[0]
        await stage.ground.rabbitmqctl(*SYNCED)
        await stage.ground.kill("rabbitmq", how)
        under_way.jobs.append(await accepted(stage, "dead", 10))
        with stage.house.worker("steady", ready=False) as other:
            await stage.ground.restart("rabbitmq")
            under_way.heal()
            # Then the message of the running job comes again, to another one
            await stage.books.until_renewed_past_doubt(running.id)
            assert other.logged("job.claimed", job_id=running.id) is None
            other.drain()
            assert await other.exit_code() == 0
    assert steady.process.poll() is None


QUIET = [pytest.param(False, id="with a submit"), pytest.param(True, id="quiet", marks=pytest.mark.slow)]
"""Whether anybody submits meanwhile, and so meets the broker before the relay looks for what was lost."""


@pytest.mark.parametrize("quiet", QUIET)
async def test_wiped(stage: Stage, gate: Gate, steady: WorkerProcess, *, quiet: bool) -> None:
    async with work(stage, gate, f"data deleted{', no submit meanwhile' if quiet else ''}") as under_way:
        await stage.ground.kill("rabbitmq")
        stage.ground.wipe("rabbitmq")
        if not quiet:
            under_way.jobs.append(await accepted(stage, "dead and wiped", 11))
        await stage.ground.restart("rabbitmq")
    assert steady.process.poll() is None


@asynccontextmanager
async def channel_of(stage: Stage) -> AsyncIterator[AbstractChannel]:
    """To the broker itself, past all proxies."""
    connection = await aio_pika.connect(stage.ground.direct["LEVERET_RABBITMQ_URL"], timeout=10)
    async with connection:
        yield await connection.channel()


@pytest.mark.parametrize("quiet", QUIET)
async def test_queue_deleted(stage: Stage, gate: Gate, steady: WorkerProcess, *, quiet: bool) -> None:
    async with work(stage, gate, f"queue deleted{', no submit meanwhile' if quiet else ''}") as under_way:
        async with channel_of(stage) as channel:
            deleted = await channel.queue_delete(QUEUE, timeout=10)
        under_way.heal()
        assert deleted.message_count == WAITING
        if not quiet:
            under_way.jobs.append(await accepted(stage, "without the queue", 12))
    assert steady.process.poll() is None


@pytest.mark.parametrize("resource", ALARMS)
@pytest.mark.parametrize("for_s", [0, pytest.param(30, marks=pytest.mark.slow)])
async def test_alarm(stage: Stage, gate: Gate, steady: WorkerProcess, resource: str, for_s: int) -> None:
    raise_, clear = ALARMS[resource]
    gate.open()
    ran = await stage.client.submit("gated", note="before", params=gate.params)
    await ran.wait()
    # When the broker reads nothing any more from whoever publishes
    await stage.ground.rabbitmqctl(*raise_)
    try:
        jobs = [await accepted(stage, f"in {resource} alarm", n) for n in range(2)]
        await asyncio.sleep(for_s)  # beyond every publish's own patience
        assert [(await job.refresh()).state for job in jobs] == ["queued", "queued"]
    finally:
        await stage.ground.rabbitmqctl(*clear)
    # Then what it did not take is run when it does again
    began = time.monotonic()
    await asyncio.gather(*(job.wait(timeout_s=2 * CLEARED_S) for job in jobs))
    took = time.monotonic() - began
    tally = await stage.counted([ran.id, *(job.id for job in jobs)], runs=1 + len(jobs))
    stage.measured.append(
        f"broker {resource} alarm of {for_s} s: ended {took:.1f} s after its end (<= {CLEARED_S}), {tally}"
    )
    assert took <= CLEARED_S


async def test_acks_count_in_an_alarm(stage: Stage, gate: Gate, steady: WorkerProcess) -> None:
    async with work(stage, gate, "memory alarm over jobs") as under_way:
        await stage.ground.rabbitmqctl(*ALARMS["memory"][0])
        try:
            # A worker with one slot gets its next message only when the ack of the last one arrived
            gate.open()
            await asyncio.gather(*(job.wait() for job in under_way.jobs))
        finally:
            await stage.ground.rabbitmqctl(*ALARMS["memory"][1])


@pytest.mark.slow
async def test_out_of_patience(stage: Stage, gate: Gate, steady: WorkerProcess) -> None:
    # Given a broker that waits for an ack for two seconds
    await stage.ground.rabbitmqctl("eval", PATIENCE.format(timeout=2_000, tick=1_000))
    try:
        async with AsyncExitStack() as stack:
            worker = stack.enter_context(stage.house.worker("faults", ready=False))
            await worker.until_logged("worker.ready")
            job = await stage.client.submit("doomed", note="long", params=gate.params)
            await gate.until_runs(1)
            other = stack.enter_context(stage.house.worker("faults", ready=False))
            # When it takes the message of a long job away, and gives it to somebody else
            await worker.until_logged("consumer.disconnected")
            await other.until_logged("worker.ready")
            await stage.books.until_renewed_past_doubt(job.id)
            second = await accepted(stage, "out of patience", 14)
            # Then the job goes on where it is
            assert other.logged("job.claimed", job_id=job.id) is None
            gate.open()
            await job.wait()
            await second.wait()
            assert worker.logged("job.left", job_id=job.id, state="succeeded")
    finally:
        await stage.ground.rabbitmqctl("eval", PATIENCE.format(timeout=90_000_000, tick=60_000))
    assert await stage.books.attempts(job.id) == [(1, "succeeded")]
    assert len(gate.runs()) == 1
    tally = await stage.counted([job.id, second.id], runs=2)
    stage.measured.append(f"broker's ack timeout on a long job: run once, 1 attempt, {tally}")


@pytest.mark.parametrize("loss", ["reset", "swallow"])
async def test_confirm_lost(stage: Stage, gate: Gate, steady: WorkerProcess, loss: str) -> None:
    # Given a worker with no slot left, so that every message stays in the queue
    busy = await stage.client.submit("gated", note="holds the slot", params=gate.params)
    await gate.until_runs(1)
    own = Gate(gate.path.with_name("unconfirmed"))
    own.open()
    # When the broker has the message and nobody hears of it
    trap = await stage.ground.lose_answer("rabbitmq", b'"job_id"', "reset" if loss == "reset" else "swallow")
    began = time.monotonic()
    job = await stage.client.submit("gated", note="unconfirmed", params=own.params)
    took = time.monotonic() - began
    assert trap.sprung >= 1
    assert await copies(stage, job) == 1
    # Then the relay says it again
    async with asyncio.timeout(RESENT_S):
        while (said := await copies(stage, job)) < 2:
            await asyncio.sleep(0.5)
    resent = time.monotonic() - began
    next_ = await accepted(stage, f"after a confirm lost by {loss}", 13)
    # And all copies of it are one run
    gate.open()
    for each in (busy, job, next_):
        await each.wait()
    async with asyncio.timeout(RESENT_S):
        while await copies(stage, job):
            await asyncio.sleep(0.1)
    assert len(own.runs()) == 1
    assert await stage.books.attempts(job.id) == [(1, "succeeded")]
    tally = await stage.counted([busy.id, job.id, next_.id], runs=3)
    stage.measured.append(
        f"broker's confirm lost ({loss}): accepted after {took:.1f} s (<= {SUBMIT_S}), {said} messages"
        f" after {resent:.1f} s and one run, {tally}"
    )
    assert took <= SUBMIT_S


async def copies(stage: Stage, job: AsyncJob) -> int:
    """This job's messages that no worker holds; looked at, and left where they are."""
    found = 0
    async with channel_of(stage) as channel:
        queue = await channel.get_queue(QUEUE, ensure=False)
        while (message := await queue.get(fail=False, timeout=10)) is not None:
            found += job.id.encode() in message.body
    return found
