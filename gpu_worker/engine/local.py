"""The author's loop: one run of a model folder without servers, on the code path that production takes.

    python -m gpu_worker.engine local DIR image=@x.jpg size=128 [--out DIR] [--pdb] [--json] [--device cuda]
    python -m gpu_worker.engine local DIR --load-only [--json] [--device cuda]

The call starts itself again under the model's own interpreter, with the engine's scrubbed environment and
imports, and runs there in process, so that `--pdb` and breakpoint() work. What the algorithm
started ends with it.
Exit codes: 0 done, 1 the run failed, 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pdb  # noqa: T100  `--pdb` is the point
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gpu_worker.engine import launch
from gpu_worker.engine.arguments import ArgumentError, declared, read_arguments
from gpu_worker.engine.failure import describe, own_frames, text_of, trimmed
from gpu_worker.engine.job import BadInputError, BadOutputError, DeviceMissingError, Job, Retry
from gpu_worker.engine.keeper import adopt_orphans, children, end_children
from gpu_worker.engine.runner import Request, Runner
from gpu_worker.engine.spec import SpecError, spec_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_worker.engine.spec import ModelSpec


OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_COMPARE = "`leveret models new NAME` writes a folder that runs, to compare with"
_HINTS: dict[type[BaseException], str] = {
    BadInputError: "the run gets what is given as name=value; model.toml says what it takes",
    BadOutputError: "[outputs] in model.toml says what the algorithm has to return",
    DeviceMissingError: "without --device cuda it runs on the CPU",
    Retry: "a worker would run the job again",
    SpecError: _COMPARE,
    KeyboardInterrupt: "interrupted; --pdb opens the debugger where an algorithm fails",
}


def main(arguments: list[str]) -> int:
    """Run one model once; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    folder = Path(chosen.dir).resolve()
    try:
        table = json.loads(chosen.table) if chosen.table else _read_table(folder)
        if chosen.table is None:
            return _again_in_its_own_python(arguments, folder, table, chosen.device)
        spec = spec_of(table, folder)
    except SpecError as error:
        return _refuse(str(error), _COMPARE, chosen)
    if chosen.load_only:
        return _load(spec, chosen)
    out = Path(chosen.out).resolve()
    try:
        inputs, params = read_arguments(spec, chosen.values)
        out.mkdir(parents=True, exist_ok=True)
    except ArgumentError as error:
        return _refuse(str(error), declared(spec), chosen)
    except OSError as error:
        return _refuse(f"-o {chosen.out}: can't write there: {error.strerror}", "name another folder", chosen)
    return _run(spec, Request(inputs, params, out), chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="local", description="Run a model folder once, without servers.")
    parser.add_argument("dir", help="the model's folder")
    parser.add_argument(
        "values", nargs="*", metavar="NAME=VALUE", help="inputs (image=@x.jpg) and params (size=128)"
    )
    parser.add_argument("--out", default="out", help="folder for the outputs (default: out)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--load-only", action="store_true", help="load the model, warm it up, run nothing")
    parser.add_argument("--pdb", action="store_true", help="debug where the run failed")
    parser.add_argument("--debug", action="store_true", help="show a failure's whole traceback")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--table", help=argparse.SUPPRESS)  # set by the call that starts this one
    return parser


def _read_table(folder: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  the model's own Python may be older than 3.11, and never gets here

    source = folder / "model.toml"
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError(f"{source}: missing; a model folder holds a model.toml") from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{source}: not readable as TOML: {error}") from error


def _again_in_its_own_python(arguments: list[str], folder: Path, table: dict[str, Any], device: str) -> int:
    interpreter = table.get("interpreter")
    json_table = json.dumps(table, default=str)
    with tempfile.TemporaryDirectory(prefix="leveret-local-") as private:
        environment = launch.environment(Path(private), device=launch.Device(device))
        command = launch.command(interpreter, "local", *arguments, "--table", json_table)
        signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the algorithm, or its debugger
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return _kept(command, environment)
        except OSError as error:
            raise SpecError(
                f"{folder / 'model.toml'}: interpreter {interpreter!r}: {error.strerror}"
            ) from error


def _kept(command: list[str], environment: dict[str, str]) -> int:
    adopt_orphans()
    strangers = children()  # this process may have been exec'd by one that had some
    try:
        code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603  our own module
    finally:
        end_children(strangers)
    if code >= 0:
        return code
    _say(f"leveret: the algorithm's process was killed by {signal.Signals(-code).name}", sys.stderr)
    return FAILED


def _load(spec: ModelSpec, chosen: argparse.Namespace) -> int:
    started = time.perf_counter()
    try:
        with _stdout_on_stderr() if chosen.json else contextlib.nullcontext():
            Runner(spec, chosen.device)
    except BaseException as error:  # noqa: BLE001  the execution step: an algorithm may raise anything
        return _report_failure(error, chosen)
    load_s = round(time.perf_counter() - started, 3)
    _say(json.dumps({"load_s": load_s}) if chosen.json else f"{spec.ref} loaded in {load_s:g} s", sys.stdout)
    return OK


def _run(spec: ModelSpec, request: Request, chosen: argparse.Namespace) -> int:
    try:
        with _stdout_on_stderr() if chosen.json else contextlib.nullcontext():
            result = Runner(spec, chosen.device).run(request, Job("local", _show_progress))
    except BaseException as error:  # noqa: BLE001  the execution step: an algorithm may raise anything
        return _report_failure(error, chosen)
    _say(json.dumps(result) if chosen.json else _text_of(result), sys.stdout)
    return OK


def _report_failure(error: BaseException, chosen: argparse.Namespace) -> int:
    if chosen.pdb:
        traceback.print_exception(error)
        pdb.post_mortem(own_frames(error.__traceback__) or error.__traceback__)
    elif chosen.json:
        _say(json.dumps({"error": describe(error)}), sys.stdout)
    elif chosen.debug:
        _say("".join(traceback.format_exception(error)).rstrip(), sys.stderr)
    else:
        _explain(error)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED


def _explain(error: BaseException) -> None:
    """A line and a hint; the traceback only where the author's own code raised."""
    hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), None)
    if hint is None and (own_frames(error.__traceback__) or isinstance(error, SyntaxError)):
        _say(trimmed(error).rstrip(), sys.stderr)
        hint = "--pdb opens the debugger there"
    else:
        name = "" if hint else f"{type(error).__name__}: "
        _say(f"leveret: {name}{_one_line(text_of(error))}", sys.stderr)
    _say(f"  hint: {hint or '--debug shows the traceback'}", sys.stderr)


def _refuse(message: str, hint: str, chosen: argparse.Namespace) -> int:
    if chosen.json:
        document = {"code": "usage", "message": message, "hint": hint}
        _say(json.dumps({"error": document}), sys.stderr)
    else:
        _say(f"leveret: {_one_line(message)}\n  hint: {hint}", sys.stderr)
    return USAGE


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """What the algorithm prints must not mix with the JSON; native code prints too, hence the descriptor."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _show_progress(value: float) -> None:
    _say(f"progress {value:.0%}", sys.stderr)


def _say(text: str, stream: TextIO) -> None:
    stream.write(f"{text}\n")
    stream.flush()


def _text_of(result: dict[str, Any]) -> str:
    lines = []
    for name, output in result["outputs"].items():
        facts = " ".join(f"{key}={value}" for key, value in output["metadata"].items())
        lines.append(f"{name}: {output['path']} ({output['content_type']}) {facts}".rstrip())
    lines.append("  ".join(f"{name[:-2]} {value * 1000:.1f} ms" for name, value in result["timings"].items()))
    return "\n".join(lines)
