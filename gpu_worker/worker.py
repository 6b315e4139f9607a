"""The worker's loop: a message is a hint, the row decides, the ack is late.

    queued     claim it, run it, commit, announce, ack
    running    somebody may be alive on it, or just died: shorten the lease, ack; the relay judges
    terminal   announce it again if that was a moment ago, ack
    waiting    ack; the relay publishes it when its time has come
    queued, but its model is not known here     let it wait for a worker that knows it, ack
    no row, or no hint at all                   dead letter, ack

An ack only ever follows a committed row. While PostgreSQL is away the message and the result are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar
from uuid import UUID

import structlog
from prometheus_client import Counter
from structlog.contextvars import bind_contextvars

from gpu_worker.announcer import Announcer
from gpu_worker.execution import Execution
from gpu_worker.hold import Hold, Stop
from gpu_worker.leases import Leases
from gpu_worker.measures import charge, measure
from gpu_worker.outcomes import Discard, Finish, Outcome, Release, Retry, unstorable
from gpu_worker.ports import Attempts, Claims, DeadLetters, Delivery, Left, Refusal
from gpu_worker.trail import UNTRACED, Trail, Trails
from shared.backoff import full_jitter
from shared.catalog import Model
from shared.errors import (
    JobCanceled,
    Misconfigured,
    ModelUnavailable,
    OutcomeUnknown,
    Unavailable,
    Unstorable,
)
from shared.jobs import Claim, Evidence, Job, State, ended_job
from shared.messages import Hint, decode_hint
from shared.telemetry.conventions import UPDATE
from shared.telemetry.tracecontext import parse_traceparent
from shared.telemetry.tracing import Kind

log = structlog.get_logger()

RELEASES = Counter("leveret_worker_releases_total", "Jobs given back with their attempt unspent")
BURIED = Counter("leveret_worker_dead_letters_total", "Messages put aside that nobody can act on")

STORE_AGAIN_BASE_S = 0.2
STORE_AGAIN_CAP_S = 5.0

T = TypeVar("T")


async def _at_once() -> None: ...


class Executor(Protocol):
    """Runs a job in hand."""

    def __call__(self, hold: Hold, model: Model) -> Execution:
        """The attempt, ready to run."""


class Worker:
    """Acts on one message at a time; as many at once as messages are in hand.

    Args:
        claims: The rows of jobs, to take them.
        attempts: The same, to let go of them.
        leases: Of the jobs in hand.
        models: What this worker can run, by ``name@version``: contains what is offered now, and finds what
            ever was.
        execution: Makes an attempt ready.
        announcer: Tells the subscribers.
        dead_letters: For messages that nobody can act on.
        trails: Makes each message's part of its job's trace.
        changed: Called when the number of jobs in hand changes.
        setback: Called when a job was given back: others should be asked first.
        admitted: Awaited before a job is claimed.
    """

    def __init__(
        self,
        *,
        claims: Claims,
        attempts: Attempts,
        leases: Leases,
        models: Mapping[str, Model],
        execution: Executor,
        announcer: Announcer,
        dead_letters: DeadLetters,
        trails: Trails = UNTRACED,
        changed: Callable[[], None] = lambda: None,
        setback: Callable[[], None] = lambda: None,
        admitted: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._claims = claims
        self._attempts = attempts
        self._leases = leases
        self._models = models
        self._execution = execution
        self._announcer = announcer
        self._dead_letters = dead_letters
        self._trails = trails
        self._changed = changed
        self._setback = setback
        self._admitted = admitted
        self._leaving = False

    @property
    def busy(self) -> int:
        """Jobs in hand."""
        return self._leases.busy

    def give_back(self) -> None:
        """Ask every running job to stop and be queued again, and those still being claimed as well."""
        self._leaving = True
        self._leases.ask_all(Stop.RELEASED)

    async def act_on(self, delivery: Delivery) -> None:
        """Do what the message's row asks for; when this returns, the message may be acknowledged."""
        try:
            hint = decode_hint(delivery.body)
        except ValueError as error:
            await self._bury(delivery, f"not a hint: {error}")
            return
        bind_contextvars(**_names(hint))  # to its end: a message has a task of its own
        await self._admitted()
        trail = self._trails.begin(hint.traceparent)
        answer = await self._claimed(hint.job_id)
        if isinstance(answer, Claim):
            await self._work_on(answer, trail)
        elif answer.state is None:
            await self._bury(delivery, "no such job")
        else:
            await self._refused(hint.job_id, answer)
            trail.refused(hint.job_id, answer.state.value)

    async def _claimed(self, job_id: UUID) -> Claim | Refusal:
        """Claim, whatever it takes: a claim that was given and whose answer was lost is found in the row."""
        lost = False

        async def claim() -> Claim | Refusal:
            nonlocal lost
            try:
                answer = await self._claims.claim(job_id)
                if self._is_late(answer):
                    answer = await self._claims.claim(job_id)
            except OutcomeUnknown:
                lost = True
                raise
            if lost and not isinstance(answer, Claim) and answer.state is State.RUNNING:
                return await self._recovered(job_id) or answer
            return answer

        return await patiently(claim)

    def _is_late(self, answer: Claim | Refusal) -> bool:
        """Its model is offered, or it is queued again, since a moment ago: the message is still good."""
        if isinstance(answer, Claim):
            return False
        return answer.state is State.QUEUED and answer.model in self._models

    async def _recovered(self, job_id: UUID) -> Claim | None:
        """The claim that the row says is ours, unless another copy of the message has it in hand already."""
        claim = await self._claims.recover(job_id)
        return None if claim is None or self._leases.hold(claim) else claim

    async def _refused(self, job_id: UUID, refusal: Refusal) -> None:
        match refusal.state:
            case State.RUNNING:
                await patiently(lambda: self._claims.doubt(job_id))
            case State.QUEUED if refusal.model not in self._models:
                await self._defer(job_id, refusal.model)
            case State.SUCCEEDED | State.FAILED | State.CANCELED | State.EXPIRED if refusal.recent:
                await patiently(lambda: self._announcer.repeat(job_id))

    async def _defer(self, job_id: UUID, model: str) -> None:
        log.warning("model.unknown", job_id=str(job_id), model=model)
        error = {
            "code": ModelUnavailable.code,
            "message": f"no worker of the queue knows the model {model}",
            "retryable": True,
        }
        self._setback()  # before it comes back: another worker may know the model
        deferred = await patiently(lambda: self._claims.defer(job_id, error))
        if deferred is not None:
            await self._announcer.tell(*deferred)

    async def _work_on(self, claim: Claim, trail: Trail) -> None:
        trail.claimed(claim)
        hold = Hold(claim, trail)
        if self._leaving:
            hold.ask(Stop.RELEASED)
        self._leases.add(hold)
        self._changed()
        log.info("job.claimed", job_id=str(claim.id), model=claim.model, attempt=claim.attempt)
        try:
            self._announcer.tell_started(claim, trail)
            model = self._models[f"{claim.model}@{claim.model_version}"]
            await self._settle(claim, await self._execution(hold, model).run(), trail)
        finally:
            self._leases.remove(hold)
            self._changed()

    async def _settle(self, claim: Claim, outcome: Outcome, trail: Trail) -> None:
        """Commit the outcome; the lease is renewed until this is done.

        Its announcement goes out beside the ack: should this worker die just then, the subscribers' sweep
        finds the row.
        """
        if isinstance(outcome, Retry | Release):
            self._setback()
        if isinstance(outcome, Release):
            RELEASES.inc()
        with trail.stage("commit", Kind.CLIENT, UPDATE):
            left = await self._committed(claim, outcome)
        name = left.state.value if left else "discarded"
        measure(claim, _evidence(outcome), name)
        trail.left(name, _failure(outcome))
        log.info("job.left", job_id=str(claim.id), state=name, **_reason(outcome))
        if left is not None:
            charge(claim, left.state.value, machine_s=left.machine_s, cost=left.cost)
            job = _ended(claim, outcome, left)
            self._announcer.tell_soon(claim.tenant, left.event, job, trail=trail)

    async def _committed(self, claim: Claim, outcome: Outcome) -> Left | None:
        """What became of the row; None when it is someone else's by now."""
        if isinstance(outcome, Discard):
            return None
        try:
            left = await patiently(lambda: self._leave(claim, outcome))
        except Unstorable as refused:
            log.warning("job.unstorable", job_id=str(claim.id), reason=str(refused))
            return await self._committed(claim, unstorable(outcome, refused))
        # Nothing changed: either an earlier try of this very call did it and its answer was lost, or the
        # fence moved on.
        return left or await patiently(lambda: self._attempts.left(claim))

    async def _leave(self, claim: Claim, outcome: Finish | Retry | Release) -> Left | None:
        match outcome:
            case Finish(ending):
                return await self._attempts.finish(claim, ending)
            case Retry(evidence, delay_s):
                return await self._attempts.retry(claim, evidence, delay_s=delay_s)
            case Release(evidence):
                return await self._attempts.release(claim, evidence)

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        log.warning("message.dead", reason=reason)
        BURIED.inc()
        try:
            await patiently(lambda: self._dead_letters.dead_letter(delivery.body, reason))
        except Misconfigured as error:  # nowhere to put it: the log is the last place where it can be found
            log.error("message.unburied", body=repr(delivery.body[:2000]), reason=str(error))  # noqa: TRY400


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until its server answers: a fail-over takes a minute or two, and nothing is given up."""
    attempt = 0
    while True:
        try:
            return await call()
        except (Unavailable, OutcomeUnknown) as error:
            attempt += 1
            log.warning("store.away", attempt=attempt, reason=str(error))
        await asyncio.sleep(
            STORE_AGAIN_BASE_S + full_jitter(attempt, base_s=STORE_AGAIN_BASE_S, cap_s=STORE_AGAIN_CAP_S)
        )


def _ended(claim: Claim, outcome: Outcome, left: Left) -> Job | None:
    """The document to keep for quick reads, where the row ended as this worker meant it to."""
    if isinstance(outcome, Finish) and outcome.ending.state is left.state:
        receipt = left.event.data.get("receipt")
        return ended_job(
            claim, outcome.ending, seq=left.event.seq, finished_at=left.event.at, receipt=receipt
        )
    return None


def _evidence(outcome: Outcome) -> Evidence:
    match outcome:
        case Finish(ending):
            return ending.evidence
        case Retry(evidence) | Release(evidence):
            return evidence
    return Evidence()


def _names(hint: Hint) -> dict[str, str]:
    """For every log line on the way of this message's job."""
    trace = parse_traceparent(hint.traceparent)
    return {"job_id": str(hint.job_id)} | ({"trace_id": trace.trace_id} if trace else {})


def _failure(outcome: Outcome) -> str:
    """The code of what went wrong in an attempt; to be canceled is no failure."""
    error = _evidence(outcome).error
    return "" if error is None or error["code"] == JobCanceled.code else str(error["code"])


def _reason(outcome: Outcome) -> dict[str, str]:
    error = _evidence(outcome).error
    return {"code": str(error["code"]), "reason": str(error["message"])[:200]} if error else {}
