"""What the figures mean nothing without: every option of every side, and how was counted."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from benchmarks.engine.plan import BATCH, FLOOR, HANDED_BYTES

if TYPE_CHECKING:
    from benchmarks.engine.plan import Plan

WIDTH = 120
PACKAGES = ("celery", "kombu", "taskiq", "taskiq-aio-pika", "taskiq-redis", "dramatiq", "pika", "boto3")

_COMMON = """
Medians of the rounds, lowest and highest in brackets; sides take turns in every round. All on the
same servers: PostgreSQL and Redis with fsync on, RabbitMQ with durable classic queues,
x-max-priority 10, persistent messages; SeaweedFS. Jobs are queued while no worker runs. The clock runs
from the first look that finds a result in Redis to the first that finds all, at 50 looks a second
(a count of keys); CPU time is /proc's, read at these two moments.
"""

_DEVICE = f"""
Device busy: jobs/s over the rate of the device alone (batches/s of the bare handler in a process of its
own, times the largest batch). The device is a file's lock held for a sleep, in the process that runs
the algorithm. Each job takes the same {HANDED_BYTES // 1024**2} MiB object out of S3 and puts as many
bytes there; the graph takes 588 KiB and gives 4. Celery: -P prefork -c 1, worker_prefetch_multiplier 1,
acks late, started tracked; the same handler and lock, S3 by boto3 in the task. "Scratch in memory":
what crosses between worker and engine lies in /dev/shm. "Cores busy" counts worker, engine and servers,
not the client; "cores allow" is the busy share at which this machine's cores would be full, with that
CPU time a job: no worker of that cost gets beyond it here. On a GPU: ResNet-50's shape in
FP16, 294 KiB in and 2 KB out a job, LEVERET_WORKER_DEVICE=cuda, strict (no node on the CPU); the work
alone is bare session.run with the same options, copies to and from the card in it, with 1 picture and
with {BATCH} a call, and each row is compared with the rate at its own largest batch.
"""

_DRAIN = f"""
No-op: a JSON number in. Leveret: python -m gpu_worker, LEVERET_WORKER_SLOTS as said (that is its
prefetch), the handler in its engine process; the result is the committed row and event, and the
job's document in Redis; "1 byte to S3" also stores an output. Celery: acks late, started tracked,
results in Redis, publisher confirms off, log level info; "prefork -c 1" runs tasks in one child,
"threads" in the worker itself, messages in hand = -c times prefetch multiplier. taskiq: one worker
process, --max-async-tasks and qos as said, an async task, ack-type when_saved, results in Redis as
JSON (its default is pickle), uvloop. dramatiq: one process, threads and dramatiq_queue_prefetch as
said, default middleware, Results in Redis; its acks are always late. One process runs the jobs on
every side, and each has its parent beside it. No peer commits anything to a database: Leveret does
so three times a job. "{FLOOR}" is the floor for that: one asyncio process that claims a row, calls the
function in itself, commits result and event, writes Redis and acknowledges, and does nothing else.
"""

_REST = """
Latency: one client, Prefer: wait over HTTP, so gateway and push are in it; "added" is over calling
the handler or session.run in a bare process. Receipts tell the stages; "claim to commit" is the
attempt's row. After a kill: the idle engine gets SIGKILL, and the next job waits for a new process
and for its model. Memory: PSS; the slope is least squares over the last three quarters.
"""


def notes(plan: Plan, *, batching: bool, quick: bool) -> str:
    """All of it, as it applies to this run."""
    batches = (
        f"Batches: max_batch_size {BATCH}, max_queue_delay_ms 5."
        if batching
        else "This version of Leveret forms no batches: no rows for them."
    )
    amounts = (
        f"{plan.rounds} round{'s' if plan.rounds > 1 else ''}, "
        f"{plan.drain_jobs} no-op jobs (a third with output), "
        f"{plan.jobs_of(20)} at 20 ms."
    )
    hint = " A quick look: one round, few samples." if quick else ""
    paragraphs = (_COMMON, _DEVICE, _DRAIN, _REST, f"{batches} {amounts}{hint}")
    return "\n\n".join(
        textwrap.fill(" ".join(each.split()), WIDTH, break_on_hyphens=False) for each in paragraphs
    )
