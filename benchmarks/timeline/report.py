"""The page: what was asked for, what was counted, second by second, and every decision with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from benchmarks.timeline.plan import Plan
from benchmarks.timeline.recording import Decided, Doing, Look, Moments, Recording

STEP_S = 5.0
TIERS = ("high", "normal", "low")

PAGE = """\
# A timeline

Written by `make timeline`: a gateway, two scalers, the `process` fleet's workers and all servers, as real
processes of one machine. {jobs} jobs of {job_s[0]:g} to {job_s[1]:g} s come: {burst} at once, and after
{pause_s:g} s {trickle} one by one, every {gap_s[0]:g} s at first and every {gap_s[1]:g} s at last; a fifth of
high, half of normal, the rest of low priority. Each only waits, as a worker does whose GPU computes, so that
{most} workers fit on two cores.

![The timeline](timeline.svg)

Shortened, so that it can be watched (in brackets the defaults): a look every {interval_s:g} s (30), idle for
{idle_s:g} s (120), objectives of {high:g}, {normal:g} and {low:g} s (120, 600, 3600), at most {most} workers.

{when}, {machine}; {servers}.

## Counted

| | |
|---|---|
{counts}

Lost and twice are counted in the rows and, apart from them, in a file that the algorithm itself writes.
Killed at work are attempts that did not run to their end, those given back included.

## Second by second

Every fifth second, and the one after each event.

| s | waiting: high | normal | low | oldest s | starting | idle | busy | draining | done | |
|---|---|---|---|---|---|---|---|---|---|---|
{looks}

## Every decision

All that the scalers wrote down; `leveret scaler explain {queue}` tells the same.

| s | want | have | did | because |
|---|---|---|---|---|
{decisions}
"""


def page(recording: Recording, plan: Plan, *, queue: str, when: str, machine: str, servers: str) -> str:
    """All of it, as Markdown."""
    high, normal, low = plan.wait_s
    return PAGE.format(
        **asdict(plan),
        jobs=plan.jobs,
        high=high,
        normal=normal,
        low=low,
        queue=queue,
        when=when,
        machine=machine,
        servers=servers,
        counts="\n".join(f"| {name} | {value} |" for name, value in told(recording)),
        looks="\n".join(_looks(recording)),
        decisions="\n".join(_decision(each) for each in recording.decisions),
    )


def told(recording: Recording) -> Iterator[tuple[str, str]]:
    """What was counted and measured, by name."""
    counts, moments = recording.counts, recording.moments
    yield "accepted, lost, twice", f"{counts.accepted}, {counts.lost}, {counts.twice}"
    yield "killed at work", str(counts.killed_busy)
    yield "workers that ended without a goodbye, still there at the end", f"{counts.silent}, {counts.left}"
    yield "workers, most at a time", f"{len(crew(recording))}, {max(len(e.workers) for e in recording.looks)}"
    yield "workers while nobody asks for anything", str(_before(recording.looks))
    yield "first worker ready", f"{_first(recording.looks, _ready):.1f} s"
    yield "last job done, last worker gone", f"{moments.done:.1f} s, {moments.empty:.1f} s"
    yield (
        "the leading scaler killed, the other one leads",
        f"{moments.killed:.1f} s, {moments.taken_over - moments.killed:.2f} s later",
    )
    yield "worker-seconds, at work", f"{recording.worker_s:.0f}, {recording.busy_s:.0f}"


def crew(recording: Recording) -> list[str]:
    """Every worker there ever was, in the order in which they came."""
    return list(dict.fromkeys(name for look in recording.looks for name in look.workers))


def failures(recording: Recording, plan: Plan) -> list[str]:
    """What was to hold and does not, in words."""
    counts, moments, looks = recording.counts, recording.moments, recording.looks
    held = {
        f"all {plan.jobs} are accepted": counts.accepted == plan.jobs,
        "none is lost": not counts.lost,
        "none is done twice": not counts.twice,
        "nobody is killed at work": not counts.killed_busy,
        "everybody says goodbye": not counts.silent and not counts.left,
        "an idle stack holds no worker": not _before(looks) and not looks[-1].workers,
        f"at most {plan.most} workers": max(len(each.workers) for each in looks) <= plan.most,
        "workers share": max(each.count(Doing.BUSY) for each in looks) > 1,
        "the standby leads within one look": moments.taken_over - moments.killed
        <= plan.interval_s + plan.late_s,
    }
    return [what for what, holds in held.items() if not holds]


def _before(looks: Iterable[Look]) -> int:
    return max((len(each.workers) for each in looks if each.at < 0), default=0)


def _ready(look: Look) -> bool:
    return bool(look.count(Doing.IDLE) + look.count(Doing.BUSY))


def _first(looks: Iterable[Look], holds: Callable[[Look], bool]) -> float:
    return next(each.at for each in looks if holds(each))


def events(moments: Moments) -> dict[float, str]:
    """What was done to it, by moment."""
    return {
        moments.drained: f"`leveret workers drain {moments.who}`",
        moments.killed: "the leading scaler is killed (SIGKILL)",
        moments.taken_over: "the other one leads",
        moments.done: "the last job is done",
        moments.empty: "the last worker is gone",
    }


def _looks(recording: Recording) -> Iterator[str]:
    due, happened = sorted(events(recording.moments).items()), 0
    step = -math.inf
    for look in recording.looks:
        notes = [note for at, note in due[happened:] if at <= look.at]
        happened += len(notes)
        if notes or look.at // STEP_S > step:
            step = look.at // STEP_S
            yield _row(look, "; ".join(notes))


def _row(look: Look, note: str) -> str:
    waiting = " | ".join(str(look.waiting.get(tier, 0)) for tier in TIERS)
    doing = " | ".join(str(look.count(each)) for each in Doing)
    return f"| {look.at:.1f} | {waiting} | {look.oldest_s:.1f} | {doing} | {look.done} | {note} |"


def _decision(each: Decided) -> str:
    want = "-" if each.want is None else each.want
    return f"| {each.at:.1f} | {want} | {each.have} | {each.did} | {each.reason} |"
