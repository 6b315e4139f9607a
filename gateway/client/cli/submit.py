"""`leveret submit`: values in, a job, its progress, its outputs in a folder, and a receipt."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gateway.client.cli.exits import FAILED, OK, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.values import is_file, read_values
from gateway.client.errors import InputError, LeveretError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from gateway.client.jobs import AsyncJob

SMALL_BYTES = 4096
_READABLE = ("text/", "application/json")


async def submit(
    model: str,
    /,
    *values: str,
    priority: Annotated[int | None, Parameter(name=["--priority", "-p"])] = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    wait: bool = True,
    common: Common = NO_OPTIONS,
) -> int:
    """Submit a job, wait for it by pushed events, save its outputs.

    Args:
        model: The algorithm, NAME or NAME@VERSION.
        values: Inputs and params: image=@face.jpg, image=s3://bucket/key, size=128.
        priority: 0 to 10, 10 first.
        out: Save the outputs in this folder, or the only one under this file name.
        wait: With --no-wait, print the job's id and return.
        common: Options of every command.
    """
    async with common.client() as client:
        schema = await client.model(model)
        inputs, params = told_apart(read_values(values, schema), schema)
        # Now, and not once the job has run.
        await asyncio.to_thread(check_place, out, len(schema.get("outputs") or ()))
        job = await client.submit(model, priority=priority, inputs=inputs, params=params)
        if not wait:
            print_id(job, common)
            return OK
        with waiting(job):
            await job.wait(progress=not common.json, check=False)
        return await finish(job, out, common)


def print_id(job: AsyncJob, common: Common) -> None:
    """A job that nobody waits for here."""
    if common.json:
        print_json(job.raw)
    else:
        sys.stdout.write(f"{job.id}\n")


def check_place(out: Path | None, outputs: int) -> None:
    """Make sure that outputs can be saved there; makes the folder.

    Raises:
        InputError: They can't.
    """
    if out is None:
        return
    folder = out.parent if _as_file(out, outputs) and not out.is_dir() else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"-o {out}: can't write there: {error.strerror}") from error


def _as_file(out: Path, outputs: int) -> bool:
    return outputs == 1 and bool(out.suffix)


async def finish(job: AsyncJob, out: Path | None, common: Common) -> int:
    """Save what a job made, print how it ended; returns the exit code."""
    # The terminal event brings the outputs; the stages' times stand in the job.
    await job.refresh()
    saved = await _save(job, out)
    if common.json:
        print_json({**job.raw, "saved": {name: str(path) for name, path in saved.items()}})
    else:
        from gateway.client.cli.show import console, print_receipt  # noqa: PLC0415  not for --json

        screen = console()
        print_receipt(screen, job, job.outputs, saved)
        if out is None:
            await _print_small(screen, job)
        if job.error:
            sys.stderr.write(f"  hint: `leveret logs {job.id}` shows what the algorithm printed\n")
    return OK if job.state == "succeeded" else FAILED


async def _save(job: AsyncJob, out: Path | None) -> Mapping[str, Path]:
    if out is None:
        return {}
    as_file = _as_file(out, len(job.outputs))
    return {
        name: await output.save(out if as_file else out / output.filename)
        for name, output in job.outputs.items()
    }


async def _print_small(screen: Console, job: AsyncJob) -> None:
    """Short texts are what one wants to see, not where they lie."""
    for output in job.outputs.values():
        if output.content_type.startswith(_READABLE) and (output.size or 0) <= SMALL_BYTES:
            text = (await output.bytes()).decode(errors="replace")
            screen.print(printable(f"{output.name}: {text.strip()}"), markup=False)


def _plain(value: Any) -> Any:
    """JSON typed on the command line is a value, even where it looks like the API's own words."""
    return value if isinstance(value, str) or is_file(value) else {"json": value}


def told_apart(values: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and params apart: said outright, since a model may name a param like an option of `submit`."""
    declared = schema.get("inputs") or {}
    inputs = {name: _plain(value) for name, value in values.items() if name in declared or is_file(value)}
    return inputs, {name: value for name, value in values.items() if name not in inputs}


@contextmanager
def waiting(job: AsyncJob) -> Iterator[None]:
    """Whoever stops waiting learns that the job does not stop."""
    try:
        yield
    except (asyncio.CancelledError, LeveretError):
        if not job.done:
            sys.stderr.write(f"  the job goes on: `leveret watch {job.id}`, `leveret cancel {job.id}`\n")
        raise
