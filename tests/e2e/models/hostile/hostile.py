"""Every misdeed that an algorithm is known for; `note` is what it is given, and should give back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

MEGABYTE = 1_000_000
kept: list[bytes] = []


def run(*, note: Any, deed: str, gate: str) -> Any:
    with Path(f"{gate}.runs").open("a") as runs:
        runs.write(f"{os.getpid()}\n")
    while not Path(gate).exists():  # another process makes it
        time.sleep(0.02)
    return DEEDS[deed](note)


def raises(_: Any) -> NoReturn:
    raise ValueError("the mask is empty")


def misdescribes(_: Any) -> Any:
    return {"what": object()}


def hangs(_: Any) -> NoReturn:
    while True:
        pass


def exits(_: Any) -> NoReturn:
    print("before the end")  # noqa: T201  what the job's log shows
    os._exit(3)


def leaks(note: Any) -> Any:
    kept.append(b"x" * (600 * MEGABYTE))
    return note


def grows(_: Any) -> NoReturn:
    while True:
        kept.append(b"x" * (20 * MEGABYTE))
        time.sleep(0.005)


def prints(note: Any) -> Any:
    for _ in range(1000):
        sys.stdout.write("x" * (MEGABYTE - 1) + "\n")
    return note


def prints_past_python(note: Any) -> Any:
    for _ in range(1000):
        os.write(1, b"x" * (MEGABYTE - 1) + b"\n")
    return note


def reads(worker: int) -> dict[str, str]:
    """Whatever tells a secret: here, and of every process from this one up to the worker."""
    found = {"os.environ": repr(dict(os.environ))}
    pid = os.getpid()
    while pid not in {0, 1}:
        for name in ("environ", "cmdline", "mem", "maps", "fd", "cwd/.env"):
            found[f"{pid} {name}"] = _seen(Path(f"/proc/{pid}/{name}"))
        if pid == worker:
            return found
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    raise RuntimeError("the worker is not above this process")


def _seen(path: Path) -> str:
    try:
        if path.is_dir():
            return repr([str(entry.readlink()) for entry in path.iterdir()])
        if path.name == "mem":
            path.open("rb").close()
            return "opened"
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        return f"refused: {error.strerror}"


def forks(_: Any) -> list[int]:
    """Children of every kind that are left behind; their pids."""
    child = subprocess.Popen(["sleep", "600"])
    session = subprocess.Popen(["sleep", "600"], start_new_session=True)
    daemon = subprocess.run(
        ["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"], check=True, capture_output=True, text=True
    )
    return [child.pid, session.pid, int(daemon.stdout)]


def doubles(note: Any) -> Any:
    """The child comes back into the engine beside its parent."""
    child = os.fork()
    if not child:
        return "the child's"
    os.waitpid(child, 0)
    return note


DEEDS: dict[str, Callable[[Any], Any]] = {
    deed.__name__: deed
    for deed in (
        raises,
        misdescribes,
        hangs,
        exits,
        leaks,
        grows,
        prints,
        prints_past_python,
        reads,
        forks,
        doubles,
    )
}
