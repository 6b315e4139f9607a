"""`python -m tests.chaos [--seed S] [--minutes M]`: all breaks, nothing may be lost (docs/chaos.md)."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import subprocess
import sys

from deploy.local.failure import StackError
from tests.chaos.plan import Plan, plan_for
from tests.chaos.report import shortcomings, table
from tests.chaos.run import Result, Run
from tests.chaos.sabotaged import SABOTAGES
from tests.chaos.scenarios import NOTICED_BY, SCENARIOS
from tests.stack import ROOT

INTERRUPTED = 130


def main() -> int:
    """Run; returns the exit status: 0 all zero, 1 not, 130 interrupted."""
    asked = _parser().parse_args()
    try:
        return asyncio.run(_run(asked))
    except StackError as error:
        _say(str(error))
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("interrupted: everything is stopped and removed")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", default=None, help="replays a run's faults, jobs and followers")
    parser.add_argument("--minutes", type=float, default=3, help="3; 1 has fewer kinds of faults")
    parser.add_argument("--keep", action="store_true", help="keep the processes' logs")
    scenario = parser.add_mutually_exclusive_group()
    scenario.add_argument(
        "--sabotage", choices=SABOTAGES, help="take this promise out: the checker must see it"
    )
    scenario.add_argument("--control", choices=SABOTAGES, help="the same short run with nothing taken out")
    return parser


async def _run(asked: argparse.Namespace) -> int:
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else lambda: None)
    seed = asked.seed or secrets.token_hex(4)
    scenario = asked.sabotage or asked.control
    plan = SCENARIOS[scenario] if scenario else plan_for(seed, asked.minutes)
    _say(f"seed {seed}, commit {_commit()}, {plan.seconds:g} s, {len(plan.appointments)} faults")
    result = await Run(seed, plan, _say, sabotage=asked.sabotage or "", keep=asked.keep).result()
    _show(result)
    return _status(asked, plan, result, seed)


def _show(result: Result) -> None:
    _say("")
    for line in table(result.verdict, result.faults, result.overlap):
        _say(line)
    _say(f"cpu: {result.cpu_s[0]:.0f} s this process, {result.cpu_s[1]:.0f} s gateways and workers")


def _status(asked: argparse.Namespace, plan: Plan, result: Result, seed: str) -> int:
    if asked.sabotage:
        wrong, good = _unnoticed(asked.sabotage, result), f"noticed: {asked.sabotage} switched off"
    else:
        found = (plan, result.verdict, result.faults, result.overlap, result.tracebacks)
        wrong, good = list(shortcomings(*found)), "all zero"
    for line in wrong:
        _say(f"FAILED: {line}")
    _say(f"\n{'failed' if wrong else good}")
    _say(f"replay: python -m tests.chaos --seed {seed} {_how(asked)} (commit {_commit()})")
    return 1 if wrong else 0


def _unnoticed(what: str, result: Result) -> list[str]:
    column = NOTICED_BY[what]
    return [] if result.verdict.bold[column] else [f"{what} was switched off, and {column!r} is 0"]


def _how(asked: argparse.Namespace) -> str:
    """The arguments that, with the seed, make the same run."""
    if asked.sabotage or asked.control:
        return f"--sabotage {asked.sabotage}" if asked.sabotage else f"--control {asked.control}"
    return f"--minutes {asked.minutes:g}"


def _commit() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    return answer.stdout.strip() or "unknown"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
