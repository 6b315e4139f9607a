"""`python -m tests.chaos.proof [PROMISE …]`: the checker is checked, on the real product (docs/chaos.md).

Each promise twice: taken out, its own column must not be zero; left in, under the same faults, all must be.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.local.failure import StackError
from tests.chaos.checker import Verdict
from tests.chaos.report import shortcomings
from tests.chaos.run import Result, Run
from tests.chaos.scenarios import NOTICED_BY, SCENARIOS


@dataclass(frozen=True, slots=True)
class Trial:
    """One promise, taken out and left in.

    Attributes:
        promise: Which.
        without: What the run without it came to.
        whole: What the run with it came to.
        wrong: Why that one failed; empty when all was zero.
        seconds: Both of them took.
    """

    promise: str
    without: Verdict
    whole: Verdict
    wrong: Sequence[str]
    seconds: float

    @property
    def noticed(self) -> int:
        """Jobs in the promise's own column."""
        return len(self.without.bold[NOTICED_BY[self.promise]])

    @property
    def passed(self) -> bool:
        """Noticed without it, and nothing to notice with it."""
        return self.noticed > 0 and not self.wrong


def main(arguments: Sequence[str]) -> int:
    """Try them all, or those named; returns the exit status: 0 all passed, 1 not, 2 no such promise."""
    unknown = set(arguments) - set(SCENARIOS)
    if unknown:
        _say(f"no such promise: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
        return 2
    try:
        return asyncio.run(_all(arguments or list(SCENARIOS)))
    except StackError as error:
        _say(str(error))
        return 1


async def _all(promises: Sequence[str]) -> int:
    seed = secrets.token_hex(4)
    trials = []
    for promise in promises:
        trials.append(await _trial(promise, seed))
        _say(f"{promise}: {'passed' if trials[-1].passed else 'FAILED'}, {trials[-1].seconds:.0f} s")
    for line in table(trials):
        _say(line)
    return 0 if all(trial.passed for trial in trials) else 1


async def _trial(promise: str, seed: str) -> Trial:
    began = time.monotonic()
    without = await _run(promise, seed, sabotage=promise)
    whole = await _run(promise, seed)
    found = (whole.verdict, whole.faults, whole.overlap, whole.tracebacks)
    wrong = list(shortcomings(SCENARIOS[promise], *found))
    return Trial(promise, without.verdict, whole.verdict, wrong, time.monotonic() - began)


async def _run(promise: str, seed: str, *, sabotage: str = "") -> Result:
    how = f"--{'sabotage' if sabotage else 'control'} {promise}"
    _say(f"\npython -m tests.chaos --seed {seed} {how}")
    return await Run(seed, SCENARIOS[promise], _say, sabotage=sabotage).result()


def table(trials: Sequence[Trial]) -> list[str]:
    """Lines: of each promise what was noticed without it, and what with it."""
    lines = ["", f"{'taken out':<12}{'accepted':>9}  {'noticed in':<24}{'jobs':>6}{'left in':>12}"]
    for trial in trials:
        whole = "all zero" if not trial.wrong else "NOT ZERO"
        accepted = trial.without.counts["accepted"]
        column = NOTICED_BY[trial.promise]
        lines.append(f"{trial.promise:<12}{accepted:>9}  {column:<24}{trial.noticed:>6}{whole:>12}")
        lines += [f"  {line}" for line in trial.wrong]
        if not trial.noticed:
            lines.append(f"  NOT NOTICED: {trial.promise} was taken out, and {column!r} is 0")
    return lines


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
