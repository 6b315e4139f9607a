"""Two small pictures: what each policy costs and misses, and one day of ours beside the hand-tuned one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.sim.figures import Figures
from benchmarks.sim.scenarios import LAW

STEP_S = 300.0
"""A picture of a day shows no more than this."""


def draw(rows: Sequence[Figures], day: tuple[float, float], folder: Path) -> list[Path]:
    """Write both as SVG.

    Args:
        rows: Those of one scenario, two of them with a timeline.
        day: From and to, seconds.
        folder: Where to.
    """
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "leveret", "font.size": 9})
    return [_policies(rows, folder / "sim-policies.svg"), _day(rows, day, folder / "sim-day.svg")]


def _save(figure: Figure, file: Path) -> Path:
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")
    return file


def _policies(rows: Sequence[Figures], file: Path) -> Path:
    figure = Figure(figsize=(7, 0.4 * len(rows) + 0.7))
    axes = figure.subplots()
    colors = ["tab:red" if row.policy == LAW else "tab:blue" for row in rows]
    bars = axes.barh(
        [row.policy.replace("RabbitMQ, ", "") for row in rows], [row.gpu_h for row in rows], color=colors
    )
    axes.bar_label(bars, [_told(row) for row in rows], padding=3, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="GPU-hours", xlim=(0, 1.35 * max(row.gpu_h for row in rows)))
    axes.tick_params(axis="y", labelsize=7)
    return _save(figure, file)


def _told(row: Figures) -> str:
    killed = f", {row.killed} killed at work" if row.killed else ""
    return f"{row.gpu_h:.0f} h, {row.late:.2%} late{killed}"


def _day(rows: Sequence[Figures], day: tuple[float, float], file: Path) -> Path:
    watched = [row for row in rows if row.timeline]
    figure = Figure(figsize=(7, 2.0 * len(watched)))
    all_axes = figure.subplots(len(watched), 1, sharex=True, squeeze=False)[:, 0]
    for row, axes in zip(watched, all_axes, strict=True):
        _one(axes, row, day)
    all_axes[-1].set_xlabel("hour of the day")
    return _save(figure, file)


def _one(axes: Axes, row: Figures, day: tuple[float, float]) -> None:
    points = _thinned([point for point in row.timeline if day[0] <= point[0] < day[1]], day)
    hours = [(at - day[0]) / 3600 for at, *_ in points]
    axes.step(
        hours, [machines for _, machines, _, _ in points], label="machines", color="tab:blue", linewidth=1
    )
    axes.step(hours, [busy for _, _, busy, _ in points], label="at work", color="tab:green", linewidth=1)
    axes.step(
        hours, [waiting for *_, waiting in points], label="jobs waiting", color="tab:orange", linewidth=0.8
    )
    axes.set_title(row.policy, fontsize=8)
    axes.legend(fontsize=7, loc="upper right")


def _thinned(
    points: Sequence[tuple[float, int, int, int]], day: tuple[float, float]
) -> list[tuple[float, int, int, int]]:
    """The highest of every five minutes; where nobody had anything to look at, there was nothing."""
    best = {
        int(slot): (slot * STEP_S, 0, 0, 0) for slot in range(int(day[0] // STEP_S), int(day[1] // STEP_S))
    }
    for at, *figures in points:
        slot = int(at // STEP_S)
        machines, busy, waiting = (max(pair) for pair in zip(best[slot][1:], figures, strict=True))
        best[slot] = (slot * STEP_S, machines, busy, waiting)
    return [best[slot] for slot in sorted(best)]
