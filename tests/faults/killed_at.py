"""A worker that kills itself at one point of its way: `python -m tests.faults.killed_at POINT FLAG`.

The first worker that gets there and makes the file FLAG dies; another one with the same flag goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

from gpu_worker.__main__ import main
from shared.adapters.consumer import Consumer
from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.claims import ClaimStore
from shared.jobs import Claim

Method = Callable[..., Awaitable[Any]]


def die(flag: Path) -> None:
    """As the kernel does when memory runs out; once per flag."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def before(method: Method, flag: Path) -> Method:
    @wraps(method)
    async def dying(*args: Any, **more: Any) -> Any:
        die(flag)
        return await method(*args, **more)

    return dying


def after(method: Method, flag: Path) -> Method:
    @wraps(method)
    async def dying(*args: Any, **more: Any) -> Any:
        answer = await method(*args, **more)
        if answer is not None and (isinstance(answer, Claim) or method.__name__ != "claim"):
            die(flag)
        return answer

    return dying


POINTS: dict[str, tuple[type, str, Callable[[Method, Path], Method]]] = {
    "after claim": (ClaimStore, "claim", after),
    "after store": (AttemptStore, "finish", before),
    "after commit": (AttemptStore, "finish", after),
    "before ack": (Consumer, "settle", before),
}

if __name__ == "__main__":
    room, name, when = POINTS[sys.argv[1]]
    setattr(room, name, when(getattr(room, name), Path(sys.argv[2])))
    sys.exit(main())
