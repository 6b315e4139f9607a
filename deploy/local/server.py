"""What a private server is to the code that starts it."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deploy.local.failure import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one stack.

    Attributes:
        folder: State, settings and logs (`.leveret`).
        data: Parent of the servers' data, where their accounts can reach it.
    """

    folder: Path
    data: Path

    @property
    def logs(self) -> Path:
        """All logs of the stack."""
        return self.folder / "logs"

    @property
    def scratch(self) -> Path:
        """The workers' temporary files; emptied at each start, since a killed worker leaves its own."""
        return self.folder / "scratch"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def fresh_log(self, name: str) -> Path:
        """The same, with what an earlier run wrote moved aside to `.old`."""
        log = self.log(name)
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        return log


class Server(Protocol):
    """One private server: how it is prepared, started, asked whether it is ready, and told to stop."""

    name: str
    account: str | None
    stop_signal: signal.Signals

    async def prepare(self) -> None:
        """Make its data folder; cheap when that exists."""

    def command(self) -> Sequence[str | Path]:
        """Program and arguments, in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """What it gets beside `base_environment`."""

    async def probe(self) -> None:
        """One try at using it as a client would; raises OSError until it works."""

    def settings(self) -> dict[str, str]:
        """The `LEVERET_` variables that point a process at it."""


def base_environment(home: Path) -> dict[str, str]:
    """A server's environment: nothing of the caller's but the PATH."""
    path = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    )
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": str(home)}


async def run_once(command: Sequence[str | Path], *, log: Path, home: Path, account: str | None) -> None:
    """Run a preparing command (at most a minute), its output appended to the server's log.

    Raises:
        NotReadyError: It failed or hung.
    """
    import pwd  # noqa: PLC0415  only as root

    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=base_environment(home),
            user=account,
            group=account and pwd.getpwnam(account).pw_gid,
            extra_groups=None if account is None else [],
        )
    try:
        async with asyncio.timeout(60):
            code = await process.wait()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if code != 0:
        raise NotReadyError(f"{Path(command[0]).name} failed (exit status {code})", log)
