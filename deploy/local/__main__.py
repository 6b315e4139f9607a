"""`python -m deploy.local up|down|clean|status|env`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from deploy.local.failure import StackError
from deploy.local.progress import Progress
from deploy.local.stack import Stack

FOLDER = Path(__file__).parents[2] / ".leveret"
INTERRUPTED = 130
COMMANDS = {
    "up": "start everything (or find it running) and push an image through",
    "down": "stop everything, keep the data",
    "clean": "stop everything, remove the data",
    "status": "what runs; exit status 0 when all is well",
    "env": "print the lines to `eval` for the client and the command",
}


def main() -> int:
    """Run one command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="Leveret on this machine.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="another stack's; `.leveret` by default")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text)
    asked = parser.parse_args()
    try:
        return asyncio.run(_run(asked.command, asked.folder))
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    return 1


async def _run(command: str, folder: Path) -> int:
    _end_like_ctrl_c(signal.SIGTERM, signal.SIGHUP)
    if command == "env":
        print((folder / "env").read_text() if (folder / "env").exists() else "", end="")
        return 0
    stack = Stack(folder, Progress())
    well = await getattr(stack, command)()
    return 1 if well is False else 0


def _end_like_ctrl_c(*signals: signal.Signals) -> None:
    """A closed terminal or a `kill` must undo a half-made start just as Ctrl-C does."""
    task = asyncio.current_task()
    for number in signals:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else lambda: None)


if __name__ == "__main__":
    sys.exit(main())
