"""How jobs and events look on a terminal. Foreign words never become markup or control characters."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from gateway.client.cli.exits import printable
from gateway.client.progress import STATE_STYLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.client.outputs import OutputRecord
    from gateway.client.records import Event, JobView

_PIPE_WIDTH = 1000
_STAGES = ("queue_s", "fetch_s", "turn_s", "load_s", "prepare_s", "infer_s", "finish_s", "store_s")


def console() -> Console:
    """Where results go: stdout, coloured on a terminal."""
    # In a pipe a line is a line, however long.
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def print_event(screen: Console, event: Event) -> None:
    """One line per event."""
    state = event.state or "progress"
    # The reader's own wall clock; --json has the moment in UTC.
    clock = datetime.fromisoformat(event.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    line = Text(f"{clock:<13}", style="dim").append(f" {event.job_id}  ", style="default")
    line.append(f"{state:<10}", style=STATE_STYLES.get(state, "dim"))
    screen.print(line.append(printable(_tell(event)), style="default"))


def _tell(event: Event) -> str:
    if event.progress is not None and event.state is None:
        return f"{event.progress:.0%}"
    if error := event.data.get("error"):
        return f"{error.get('code', '')}: {error.get('message', '')}"
    if outputs := event.data.get("outputs"):
        return ", ".join(outputs)
    attempt = event.data.get("attempt")
    return f"attempt {attempt}" if attempt else ""


def print_receipt(
    screen: Console, job: JobView, outputs: Mapping[str, OutputRecord], saved: Mapping[str, Path]
) -> None:
    """How a job ended: state, stages, error, outputs and where they are now."""
    mark = "✓" if job.state == "succeeded" else "✗" if job.done else "…"
    style = STATE_STYLES.get(job.state, "white")
    screen.print(Text.assemble((f"{mark} {job.model} {job.state}{_total(job)}", style), f"  {job.id}"))
    if timings := _timings(job.timings):
        screen.print(Text(f"  {timings}", style="dim"))
    if job.error:
        text = f"  {job.error.get('code', 'error')}: {job.error.get('message', '')}"
        screen.print(Text(printable(text), style="red"))
    for name, output in outputs.items():
        screen.print(Text(_output_line(output, saved.get(name))))


def _timings(timings: Mapping[str, float]) -> str:
    known = [name for name in _STAGES if name in timings]
    others = [name for name in timings if name not in known and name.endswith("_s")]
    spans = [f"{name.removesuffix('_s')} {_duration(timings[name])}" for name in known + others]
    shared = timings.get("batch_size", 1)
    return " · ".join([*spans, f"in a batch of {shared:g}"] if shared > 1 else spans)


def _total(job: JobView) -> str:
    """From submit to end, by the gateway's clock."""
    begin, end = job.raw.get("created_at"), job.raw.get("finished_at")
    if not begin or not end:
        return ""
    return f" in {_duration((datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds())}"


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _output_line(output: OutputRecord, saved: Path | None) -> str:
    size = f"{output.size:,} bytes" if output.size is not None else ""
    where = f"→ {saved}" if saved else output.uri
    return printable(f"  {output.name}  {output.content_type}  {size}  {where}")


def table(*columns: str) -> Any:
    """A plain table with a heading."""
    from rich.table import Table  # noqa: PLC0415  only lists need it

    return Table(*columns, box=None, pad_edge=False, header_style="bold")
