"""The figures as Markdown tables, each with the verdict on its goal. Prints nothing itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.engine.arithmetic import busy_share, ceiling, slope
from benchmarks.engine.plan import BATCH, FLOOR, FP16, FP16_BATCHED, GOAL, GOAL_HOLD_MS, MANY_IN_HAND
from benchmarks.figures import median
from benchmarks.memory import LIMIT_MB
from benchmarks.tables import brackets, markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from benchmarks.engine.arithmetic import Weight
    from benchmarks.engine.draining import Turn
    from benchmarks.engine.measuring import Figures

Key = tuple[int | str, str]

STAGES = ("queue_s", "fetch_s", "turn_s", "prepare_s", "infer_s", "finish_s", "store_s")
FLAT_KB = 50.0
"""Per 1,000 jobs: 1 MB in 20,000, about what one reading differs from the next."""
LEAST_JOBS = 10_000
"""With fewer jobs the noise of the readings is larger than that."""
FACTOR = 2.0
GRAPHS = {
    "resnet": "ResNet-50, FP32, CPU",
    FP16: "ResNet-50, FP16, CUDA, one by one",
    FP16_BATCHED: f"ResNet-50, FP16, CUDA, {BATCH} at a time",
}


def tables(figures: Figures) -> Iterator[str]:
    """One block of text per measurement that was made."""
    if figures.devices:
        yield "Device busy\n\n" + markdown([_DEVICE_HEAD, *_devices(figures)])
        yield _device_goal(figures)
        yield "Median stages of these jobs, ms\n\n" + markdown(_stages(figures))
    if figures.drains:
        yield "No-op drain\n\n" + markdown([_DRAIN_HEAD, *_drains(figures)])
        yield from _drain_goals(figures)
    if figures.latencies:
        yield "One job at a time, one slot, ms\n\n" + markdown(_latencies(figures))
    if figures.reloads:
        yield "First job after the engine was killed, ms\n\n" + markdown([_RELOAD_HEAD, *_reloads(figures)])
    if figures.memory:
        yield "Memory, no-op jobs, 16 slots\n\n" + markdown([_MEMORY_HEAD, *_memory(figures)])


_DEVICE_HEAD = (
    "device",
    "worker",
    "jobs/s",
    "device busy",
    "cores allow",
    "CPU ms a job: worker",
    "engine or child",
    "S3",
    "other servers",
    "cores busy",
)
_DRAIN_HEAD = (
    "in hand",
    "worker",
    "jobs/s",
    "Leveret without output ÷ it",
    "CPU ms a job: parent",
    "child",
    "servers",
    "PSS MB: parent",
    "child",
)
_RELOAD_HEAD = ("job", "client p50", "most", "of it loading the model, p50", "warm client p50")
_MEMORY_HEAD = ("process", "idle MB PSS", "after MB PSS", "jobs", "KB more per 1,000 jobs")


def work_name(work: int | str) -> str:
    """What is computed, in words."""
    return f"{work} ms" if isinstance(work, int) else GRAPHS[work]


def shares(figures: Figures, key: Key) -> list[float]:
    """The device's busy share in each round."""
    rounds = zip(figures.devices[key], figures.raw[key[0]], strict=True)
    return [busy_share(turn.pace.rate, raw.rate, figures.batches[key]) for turn, raw in rounds]


def _ceiling(figures: Figures, key: Key) -> str:
    rounds = zip(figures.devices[key], figures.raw[key[0]], strict=True)
    cores = len(os.sched_getaffinity(0))
    found = [ceiling(sum(t.pace.cpu_ms.values()), cores, raw.rate, figures.batches[key]) for t, raw in rounds]
    return f"{median(found):.2f}"


def _devices(figures: Figures) -> Iterator[tuple[str, ...]]:
    told = None
    for key, turns in figures.devices.items():
        work, who = key
        if work != told:
            raws, told = [raw.rate for raw in figures.raw[work]], work
            yield (work_name(work), "none: the work alone", brackets(raws, 1), "1.00", *[""] * 6)
        yield (
            work_name(work),
            who,
            brackets(_rates(turns), 1),
            brackets(shares(figures, key), 2),
            _ceiling(figures, key),
            _cpu(turns, "worker"),
            _cpu(turns, "child"),
            _cpu(turns, "seaweedfs"),
            _cpu(turns, "postgresql", "rabbitmq", "redis", "gateway"),
            f"{median(turn.pace.cores for turn in turns):.1f}",
        )


def _rates(turns: Sequence[Turn]) -> list[float]:
    return [turn.pace.rate for turn in turns]


def _cpu(turns: Sequence[Turn], *whose: str) -> str:
    return f"{median(sum(turn.pace.cpu_ms.get(name, 0.0) for name in whose) for turn in turns):.2f}"


def _device_goal(figures: Figures) -> str:
    found = [
        (median(shares(figures, key)), key[1])
        for key in figures.devices
        if key[0] == GOAL_HOLD_MS and figures.batches[key] == 1 and key[1].startswith("Leveret")
    ]
    if not found:
        return f"Goal (at {GOAL_HOLD_MS} ms): not measured."
    share, who = max(found)
    verdict = "met" if share >= GOAL else "missed"
    return f"Goal at {GOAL_HOLD_MS} ms, batch 1: at least {GOAL:.2f}. Best: {share:.2f} ({who}). {verdict}."


def _stages(figures: Figures) -> list[tuple[str, ...]]:
    names = [name for name in _stage_names(figures.stages.values()) if name != "queue_s"]
    head = ("device", "worker", *(name.removesuffix("_s") for name in names))
    rows = [
        (work_name(work), who, *(_ms(stages, name) for name in names))
        for (work, who), stages in figures.stages.items()
    ]
    return [head, *rows]


def _stage_names(told: Iterable[Mapping[str, float]]) -> list[str]:
    """The known stages in their order, then whatever else the receipts hold."""
    known = list(STAGES)
    found = {name for stages in told for name in stages}
    return [name for name in known if name in found] + sorted(found - set(known))


def _ms(stages: Mapping[str, float], name: str) -> str:
    if name not in stages:
        return ""
    return f"{stages[name]:.1f}" if name == "batch_size" else f"{stages[name] * 1000:.2f}"


def drain_ratio(figures: Figures, in_hand: int, who: str) -> float:
    """Leveret's no-op without output over another's, medians of the rounds."""
    ours = next(key for key in figures.drains if key[0] == in_hand and "no output" in key[1])
    return median(_rates(figures.drains[ours])) / median(_rates(figures.drains[in_hand, who]))


def _drains(figures: Figures) -> Iterator[tuple[str, ...]]:
    for (in_hand, who), turns in figures.drains.items():
        yield (
            str(in_hand),
            who,
            brackets(_rates(turns)),
            f"{drain_ratio(figures, in_hand, who):.2f}",
            _cpu(turns, "worker"),
            _cpu(turns, "child"),
            _cpu(turns, "seaweedfs", "postgresql", "rabbitmq", "redis", "gateway"),
            f"{median(turn.parent_mb for turn in turns):.0f}",
            f"{median(turn.child_mb for turn in turns):.0f}",
        )


def _drain_goals(figures: Figures) -> Iterator[str]:
    for in_hand, goal, peers in ((1, 1.0, "Celery"), (MANY_IN_HAND, FACTOR, "")):
        rivals = [
            who
            for hand, who in figures.drains
            if hand == in_hand and not who.startswith(("Leveret", FLOOR)) and who.startswith(peers)
        ]
        ratio, who = min((drain_ratio(figures, in_hand, who), who) for who in rivals)
        verdict = "met" if ratio >= goal else "missed"
        yield (
            f"Goal with {in_hand} in hand: {goal:.0f} times {peers or 'the best peer'}. "
            f"Without output: {ratio:.2f} times {who}. {verdict}."
        )


def _latencies(figures: Figures) -> list[tuple[str, ...]]:
    names = _stage_names([latency.stages for latency in figures.latencies.values()])
    fixed = ("job", "client p50", "p99", "the work alone p50", "added p50")
    rows = [
        (
            model,
            f"{latency.client.p50 * 1000:.2f}",
            f"{latency.client.p99 * 1000:.2f}",
            f"{latency.raw_p50 * 1000:.3f}",
            f"{(latency.client.p50 - latency.raw_p50) * 1000:.2f}",
            *(_ms(latency.stages, name) for name in names),
        )
        for model, latency in figures.latencies.items()
    ]
    return [(*fixed, *(name.removesuffix("_s") for name in names)), *rows]


def _reloads(figures: Figures) -> Iterator[tuple[str, ...]]:
    for model, reloads in figures.reloads.items():
        took = [each.client_s * 1000 for each in reloads]
        loading = median(each.load_s * 1000 for each in reloads)
        warm = figures.latencies[model].client.p50 * 1000
        yield model, f"{median(took):.0f}", f"{max(took):.0f}", f"{loading:.1f}", f"{warm:.2f}"


def _memory(figures: Figures) -> Iterator[tuple[str, ...]]:
    for process, weights in figures.memory.items():
        first, last = weights[0], weights[-1]
        limit = f" {'ok' if first.megabytes <= LIMIT_MB else 'OVER'}" if "parent" in process else ""
        yield (
            process,
            f"{first.megabytes:.0f}{limit}",
            f"{last.megabytes:.0f}",
            str(last.done),
            _slope(weights),
        )


def _slope(weights: Sequence[Weight]) -> str:
    rise = slope(weights)
    if weights[-1].done < LEAST_JOBS:
        return f"{rise:.0f} (too few jobs to judge)"
    return f"{rise:.0f} {'flat' if rise <= FLAT_KB else 'RISING'}"
