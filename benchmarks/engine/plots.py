"""The figures as PNG files. matplotlib is imported here only, without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from benchmarks.engine.plan import GOAL
from benchmarks.engine.report import shares, work_name
from benchmarks.figures import median

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.engine.measuring import Figures

mpl.use("Agg")

from matplotlib import pyplot as plt

OURS, THEIRS = "#1f77b4", "#b0b0b0"
DPI = 120


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Write one file per measurement that was made; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"busy": figures.devices, "drains": figures.drains, "memory": figures.memory}
    drawing = {"busy": _busy, "drains": _drains, "memory": _memory}
    return [_saved(folder / f"{name}.png", drawing[name](figures)) for name, rows in made.items() if rows]


def _saved(path: Path, figure: Any) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path


def _busy(figures: Figures) -> Any:
    works = list(dict.fromkeys(work for work, _ in figures.devices))
    figure, all_axes = plt.subplots(1, len(works), figsize=(4 * len(works), 4), sharey=True, squeeze=False)
    for axes, work in zip(all_axes[0], works, strict=True):
        rows = {who: shares(figures, (w, who)) for w, who in figures.devices if w == work}
        _bars(axes, rows)
        axes.axhline(GOAL, color="black", linestyle=":", linewidth=1)
        axes.set_title(work_name(work))
    all_axes[0][0].set_ylabel("device busy")
    all_axes[0][0].set_ylim(bottom=0)
    return figure


def _bars(axes: Any, rows: Mapping[str, list[float]]) -> None:
    heights = [median(rounds) for rounds in rows.values()]
    low = [height - min(rounds) for height, rounds in zip(heights, rows.values(), strict=True)]
    high = [max(rounds) - height for height, rounds in zip(heights, rows.values(), strict=True)]
    places = range(len(rows))
    axes.bar(places, heights, yerr=[low, high], color=_colours(rows), capsize=3)
    axes.set_xticks(places, list(map(_label, rows)), fontsize=7)


def _label(name: str) -> str:
    """Narrow enough to stand beside the next one."""
    return name.replace(", ", "\n").replace(" in memory", "\nin memory").replace(" of 8", "\nof 8")


def _colours(rows: Mapping[str, object]) -> list[str]:
    return [OURS if name.startswith("Leveret") else THEIRS for name in rows]


def _drains(figures: Figures) -> Any:
    counts = list(dict.fromkeys(in_hand for in_hand, _ in figures.drains))
    figure, all_axes = plt.subplots(
        1, len(counts), figsize=(6.5 * len(counts), 4), sharey=True, squeeze=False
    )
    for axes, in_hand in zip(all_axes[0], counts, strict=True):
        rows = dict(_rates(figures, in_hand))
        _bars(axes, rows)
        axes.set_title(f"no-op jobs, {in_hand} in hand")
    all_axes[0][0].set_ylabel("jobs/s")
    return figure


def _rates(figures: Figures, in_hand: int) -> Iterator[tuple[str, list[float]]]:
    for (hand, who), turns in figures.drains.items():
        if hand == in_hand:
            yield who, [turn.pace.rate for turn in turns]


def _memory(figures: Figures) -> Any:
    figure, axes = plt.subplots(figsize=(6, 4))
    for process, weights in figures.memory.items():
        axes.plot([each.done for each in weights], [each.megabytes for each in weights], label=process)
    axes.set_xlabel("no-op jobs done")
    axes.set_ylabel("MB (PSS)")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure
