"""Signs into findings: what is wrong, why, and which command helps. Pure: no store, no clock.

Each rule looks for one cause. What nobody could find out is no finding: unknown is not well, and not ill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.overview.signs import QueueSigns, Signs

Level = Literal["bad", "warn", "ok"]
_RANK = {"bad": 0, "warn": 1, "ok": 2}

SLOW_S = 1.0
LONG_S = 300.0
FAILING = 0.05
ENOUGH_ENDED = 20
HALF, FEW_ENDED = 0.5, 5
"""Half of all failing is a finding, of fewer jobs as well, and however long it has been so."""
LONGER_S = 600.0
"""Where a minute holds fewer than `FEW_ENDED`, the last ten of them are looked at."""
REPEATED = 0.2
MAX_FINDINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that somebody should know.

    Attributes:
        level: `bad`: jobs do not run, or get lost time; `warn`: it will not stay well by itself.
        code: Stable.
        sentence: What is the matter.
        cause: Why, as far as the rows tell.
        command: What helps, where a command does.
        page: Of the dashboard, where more is to be seen.
        subject: What it is about there.
        own: A tenant's key may do the same: command and page are for all.
    """

    level: Level
    code: str
    sentence: str
    cause: str = ""
    command: str | None = None
    page: str = "overview"
    subject: str | None = None
    own: bool = False


WELL = Finding(
    level="ok", code="well", sentence="Everything runs.", cause="Nothing that is needed is missing."
)


def judge(signs: Signs) -> list[Finding]:
    """What is wrong, worst first; what concerns most jobs before the rest. One that says so if nothing is."""
    found = [finding for rule in _RULES for finding in rule(signs)]
    return sorted(found, key=lambda finding: _RANK[finding.level])[:MAX_FINDINGS] or [WELL]


def _broker_away(signs: Signs) -> Iterator[Finding]:
    if signs.broker is False:
        yield Finding(
            level="bad",
            code="broker_away",
            sentence="RabbitMQ does not answer: jobs are accepted, and none is started.",
            cause="This gateway has no connection to it. The relay sends what is due when it is back.",
            command="leveret doctor",
        )


def _no_worker(signs: Signs) -> Iterator[Finding]:
    for queue in _by_waiting(signs):
        if queue.waiting and not queue.ready and not queue.starting and queue.paused_by is None:
            yield Finding(
                level="bad",
                code="no_worker",
                sentence=f"{_jobs(queue.waiting)} in {queue.queue}, and no worker serves it.",
                cause=_why_nobody(queue),
                command=_how_to_get_one(queue),
                page="scaler" if queue.scaled else "workers",
                subject=queue.queue,
            )


def _why_nobody(queue: QueueSigns) -> str:
    since = f"The first has waited {seconds(queue.oldest_s)}." if queue.oldest_s is not None else ""
    if queue.fleet_paused_by:
        why = f"Its scaler was paused by {queue.fleet_paused_by}."
    elif not queue.offered:
        why = "No model of the catalog runs there any more."
    elif queue.scaled:
        why = "The scaler knows the queue and has started none, or it did not come up."
    else:
        why = "No worker was heard of, and no scaler decided on it within a day."
    return f"{why} {since}".rstrip()


def _how_to_get_one(queue: QueueSigns) -> str:
    if queue.fleet_paused_by:
        return f"leveret scaler resume {queue.queue}"
    if queue.scaled:
        return f"leveret scaler explain {queue.queue}"
    return f"LEVERET_WORKER_QUEUE={queue.queue} python -m gpu_worker"


def _silent_workers(signs: Signs) -> Iterator[Finding]:
    holding = [worker for worker in signs.silent if worker.jobs]
    if holding:
        worst = max(holding, key=lambda worker: worker.silent_s)
        count = sum(worker.jobs for worker in holding)
        yield Finding(
            level="bad",
            code="worker_silent",
            sentence=f"{_count(len(holding), 'worker')} with {_count(count, 'job')} not heard of.",
            cause=f"{worst.id} said nothing for {seconds(worst.silent_s)}: it was killed, cut off, or its "
            "machine went away. Its jobs go back to the queue when their leases end.",
            command="leveret workers",
            page="workers",
            subject=worst.id,
        )


def _slow_rows(signs: Signs) -> Iterator[Finding]:
    if signs.rows_s is not None and signs.rows_s > SLOW_S:
        yield Finding(
            level="warn",
            code="postgresql_slow",
            sentence=f"PostgreSQL took {seconds(signs.rows_s)} to answer this page.",
            cause="It is busy, its disk is slow, or a table wants a vacuum: submits and claims wait as well.",
            command="psql -c 'select pid, state, wait_event, query from pg_stat_activity'",
        )


def _redis_away(signs: Signs) -> Iterator[Finding]:
    if signs.redis is False:
        yield Finding(
            level="warn",
            code="redis_away",
            sentence="Redis does not answer: results are pushed up to 5 s late.",
            cause="Subscribers are served by the sweep meanwhile. Nothing is lost.",
            command="leveret doctor",
        )


def growing(ratio: float | None, before: float | None, ended: int) -> bool:
    """Whether so many failures are a finding, by the ratio of lately and of the ten minutes before."""
    if ratio is None:
        return False
    more = ended >= ENOUGH_ENDED and ratio >= FAILING and ratio >= 2 * (before or 0.0)
    return more or (ended >= FEW_ENDED and ratio >= HALF)


def _growing_failures(signs: Signs) -> Iterator[Finding]:
    ratio, before, top = signs.failure_ratio, signs.failure_ratio_before, signs.failing
    if ratio is None or not signs_grow(signs):
        return
    most = f", {top.count} by {top.code} in {top.model}" if top else ""
    words = f"{_line(top.message)} " if top and top.message else ""
    usual = "it was not known" if before is None else f"it was {_percent(before)}"
    of = f"{_count(signs.ended, 'job')} ended in this time."
    yield Finding(
        level="bad" if ratio >= HALF else "warn",
        code="failures_growing",
        sentence=f"{_percent(ratio)} of the jobs that ended in {_lately(signs)} failed{most}.",
        cause=words + (of if _longer(signs) else f"In the ten minutes before {usual}."),
        command=top.command if top else None,
        page="failures",
        subject=top.fingerprint if top else None,
        own=True,
    )


def signs_grow(signs: Signs) -> bool:
    """Of ten minutes nothing is known to compare with: only half of all failing is a finding."""
    before = 1.0 if _longer(signs) else signs.failure_ratio_before
    return growing(signs.failure_ratio, before, signs.ended)


def _longer(signs: Signs) -> bool:
    return signs.window_s >= LONGER_S


def _lately(signs: Signs) -> str:
    return f"the last {signs.window_s / 60:.0f} minutes" if _longer(signs) else "the last minute"


def _repeats(signs: Signs) -> Iterator[Finding]:
    attempts = signs.ended + signs.retried
    if signs.retried >= FEW_ENDED and signs.retried >= REPEATED * attempts:
        most = f"In the last hour most by {signs.repeating}. " if signs.repeating else ""
        yield Finding(
            level="warn",
            code="attempts_repeated",
            sentence=f"{signs.retried} of the {attempts} attempts that ended in {_lately(signs)} failed and "
            "are repeated.",
            cause=f"{most}The jobs may end well, later than they could and at the cost of both attempts.",
            page="models",
            own=True,
        )


def _repairs(signs: Signs) -> Iterator[Finding]:
    if signs.repaired:
        yield Finding(
            level="warn",
            code="relay_repairing",
            sentence=f"The relay put {_count(signs.repaired, 'job')} right within the last minute.",
            cause="Workers died or the broker lost messages. The jobs run again by themselves; if this goes "
            "on, something keeps failing.",
            command="leveret workers",
            page="workers",
        )


def _held_queues(signs: Signs) -> Iterator[Finding]:
    for queue in _by_waiting(signs):
        if queue.paused_by is not None:
            yield Finding(
                level="warn",
                code="queue_paused",
                sentence=f"{queue.queue} is paused by {queue.paused_by}; {_jobs(queue.waiting)}.",
                cause="Nothing of it is started until it goes on.",
                command=f"leveret queues resume {queue.queue}",
                page="queues",
                subject=queue.queue,
            )


def _paused_fleets(signs: Signs) -> Iterator[Finding]:
    for queue in _by_waiting(signs):
        if queue.fleet_paused_by and queue.waiting and (queue.ready or queue.starting):
            yield Finding(
                level="warn",
                code="scaler_paused",
                sentence=f"The scaler is paused for {queue.queue}, where {_jobs(queue.waiting)}.",
                cause=f"{queue.fleet_paused_by} paused it: no worker is started and none is sent away.",
                command=f"leveret scaler resume {queue.queue}",
                page="scaler",
                subject=queue.queue,
            )


def _limit(queue: QueueSigns) -> str:
    """An operator's order that allows no more workers than there are."""
    if queue.fleet_max is None or queue.ready + queue.starting < queue.fleet_max:
        return ""
    return f", and an operator's order allows {queue.fleet_max} at most"


def _long_waits(signs: Signs) -> Iterator[Finding]:
    for queue in _by_waiting(signs):
        held = queue.paused_by is not None or not queue.ready
        if not held and queue.oldest_s is not None and queue.oldest_s > LONG_S:
            there = _count(queue.ready, "worker")
            yield Finding(
                level="warn",
                code="backlog",
                sentence=f"The first job in {queue.queue} has waited {seconds(queue.oldest_s)}.",
                cause=f"{_jobs(queue.waiting)}; {there} there cannot keep up{_limit(queue)}.",
                command=f"leveret scaler explain {queue.queue}" if queue.scaled else None,
                page="queues",
                subject=queue.queue,
            )


_RULES: tuple[Callable[[Signs], Iterator[Finding]], ...] = (
    _broker_away,
    _no_worker,
    _silent_workers,
    _growing_failures,
    _repeats,
    _slow_rows,
    _redis_away,
    _repairs,
    _held_queues,
    _paused_fleets,
    _long_waits,
)


def _by_waiting(signs: Signs) -> list[QueueSigns]:
    return sorted(signs.queues, key=lambda queue: (-queue.waiting, queue.queue))


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'} wait{'s' if count == 1 else ''}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _line(words: str) -> str:
    """Other people's words on one line, ended as a sentence is."""
    line = " ".join(words.split())
    return line if line.endswith((".", "!", "?", "…")) else f"{line}."


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.3g} %"


def seconds(value: float | None) -> str:
    """A duration in words of one unit: ``42 s``, ``7 min``, ``3 h``, ``2 d``."""
    if value is None:
        return "—"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= 2 * size:
            return f"{value / size:.0f} {unit}"
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"  # noqa: PLR2004  three digits
