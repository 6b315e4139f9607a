"""The picture: what waits, who is there, and a lane for each worker. matplotlib is imported here only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.timeline.recording import Doing, Recording
from benchmarks.timeline.report import TIERS, crew, events

COLOURS = {
    Doing.STARTING: "#c7c7c7",
    Doing.IDLE: "#aec7e8",
    Doing.BUSY: "#2ca02c",
    Doing.LEAVING: "#ff7f0e",
}
_FINER_THAN_A_SCREEN = re.compile(r"(?<=[0-9]\.[0-9])[0-9]+(?=[ \n\"])")
"""Digits of coordinates behind the first decimal: half of the file."""
WAITING = dict(zip(TIERS, ("#d62728", "#1f77b4", "#9edae5"), strict=True))


def draw(recording: Recording, file: Path) -> Path:
    """Write it as SVG, the same bytes for the same recording."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "leveret", "font.size": 8})
    figure = Figure(figsize=(8, 7))
    waiting, workers, lanes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 3))
    _waiting(waiting, recording)
    _workers(workers, recording)
    _lanes(lanes, recording)
    for axes in (waiting, workers, lanes):
        _mark(axes, recording)
    _name_marks(waiting, recording)
    lanes.set_xlabel("seconds since the jobs came")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")
    file.write_text(_FINER_THAN_A_SCREEN.sub("", file.read_text()))
    return file


def _waiting(axes: Axes, recording: Recording) -> None:
    looks = recording.looks
    rows = [[look.waiting.get(tier, 0) for look in looks] for tier in TIERS]
    labels = [f"waiting, {tier}" for tier in TIERS]
    axes.stackplot([look.at for look in looks], rows, labels=labels, colors=WAITING.values(), step="post")
    axes.set_ylabel("jobs")
    oldest = axes.twinx()
    oldest.step(
        [look.at for look in looks],
        [look.oldest_s for look in looks],
        color="black",
        linewidth=0.8,
        where="post",
    )
    oldest.set_ylabel("oldest waits, s (line)")
    oldest.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize=7)


def _workers(axes: Axes, recording: Recording) -> None:
    looks = recording.looks
    rows = [[look.count(doing) for look in looks] for doing in Doing]
    axes.stackplot(
        [look.at for look in looks],
        rows,
        labels=[each.value for each in Doing],
        colors=[COLOURS[each] for each in Doing],
        step="post",
    )
    wanted = [(each.at, each.want) for each in recording.decisions if each.want is not None]
    axes.plot(
        [at for at, _ in wanted],
        [want for _, want in wanted],
        "k_",
        markersize=7,
        label="wanted, at a decision",
    )
    axes.set_ylabel("workers")
    axes.set_ylim(0, 1.8 * max(len(look.workers) for look in looks))
    axes.legend(loc="upper right", fontsize=7, ncols=5)


def _lanes(axes: Axes, recording: Recording) -> None:
    names = crew(recording)
    for lane, name in enumerate(names):
        for doing in Doing:
            spans = list(_spans(recording, name, doing))
            axes.broken_barh(spans, (lane - 0.4, 0.8), facecolors=COLOURS[doing])
    axes.set_yticks(range(len(names)), [f"worker {number}" for number in range(1, len(names) + 1)])
    axes.invert_yaxis()


def _spans(recording: Recording, name: str, doing: Doing) -> Iterator[tuple[float, float]]:
    """Begin and length of every stretch in which a worker was at this."""
    since: float | None = None
    for look in recording.looks:
        here = look.workers.get(name) is doing
        if here and since is None:
            since = look.at
        elif not here and since is not None:
            yield since, look.at - since
            since = None
    if since is not None:
        yield since, recording.looks[-1].at - since


def _mark(axes: Axes, recording: Recording) -> None:
    for at in events(recording.moments):
        axes.axvline(at, color="black", linestyle=":", linewidth=0.8)


def _name_marks(axes: Axes, recording: Recording) -> None:
    """The killed scaler has its successor a fraction of a second later: one name for both marks."""
    moments = recording.moments
    names = {
        moments.drained: "a busy worker is told to drain",
        moments.killed: "the leading scaler is killed, the other one leads",
        moments.done: "the last job is done",
        moments.empty: "the last worker is gone",
    }
    for at, name in names.items():
        axes.text(at, 1.02, name, rotation=20, fontsize=6, transform=axes.get_xaxis_transform())
