"""`python -m benchmarks.telemetry`: submits to a gateway that tells everything, and to a silent one.

Both run all the time on the same servers and are loaded in turns, each pair in the other order than the pair
before; what they had accepted is removed between the pairs. Compared within a pair: submits a second, and
what one costs the gateway's process in CPU time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiormq
import asyncpg

from benchmarks import surroundings
from benchmarks.leveret import Leveret
from benchmarks.load import run_for
from benchmarks.session import ended, servers_of_its_own
from benchmarks.tables import brackets, markdown
from deploy.local.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLIENTS = 16
LIMIT = 0.05
"""What metrics and logs may take of the throughput."""
ON = {"LEVERET_LOG_LEVEL": "info", "LEVERET_LOG_FORMAT": "json"}
OFF = {"LEVERET_LOG_LEVEL": "error"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Turn:
    """One side loaded once: submits a second, and CPU microseconds of the gateway for each."""

    rate: float
    cpu_us: float


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry")
    parser.add_argument("--quick", action="store_true", help="a look: six pairs")
    quick = parser.parse_args().quick
    return ended(_run(pairs=6 if quick else 60, seconds=1.0 if quick else 1.5))


async def _run(*, pairs: int, seconds: float) -> None:
    progress, machine = Progress(), surroundings.machine()
    async with servers_of_its_own(progress, vhosts=[]) as (folder, settings):
        told = Leveret(folder, {**settings, **ON})
        silent = Leveret(folder, {**settings, **OFF}, module="benchmarks.telemetry.silenced")
        for side in (told, silent):
            await side.start()
            await run_for(side.url, side.submit, clients=CLIENTS, seconds=seconds)
        turns = []
        for number in range(pairs):
            await _forget(settings)
            order = (told, silent) if number % 2 else (silent, told)
            measured = {side: await _turn(side, seconds) for side in order}
            turns.append((measured[told], measured[silent]))
            progress.say(
                f"pair {number + 1} of {pairs}: {measured[told].rate:.0f}/s, {measured[silent].rate:.0f}/s"
            )
        servers = await surroundings.servers(settings)
    print(f"\n{_table(turns)}\n\n{_verdict(turns)}")
    packages = surroundings.packages(["prometheus-client", "structlog"])
    print(f"{surroundings.today()}, {machine}.\n{servers}; {packages}.")


async def _turn(side: Leveret, seconds: float) -> Turn:
    pid = side.pids()["gateway"]
    before = _cpu_s(pid)
    result = await run_for(side.url, side.submit, clients=CLIENTS, seconds=seconds)
    return Turn(result.rate, (_cpu_s(pid) - before) / result.latency.count * 1e6)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def _forget(settings: Mapping[str, str]) -> None:
    """No turn works on a larger database or a longer queue than another."""
    connection = await asyncpg.connect(settings["LEVERET_POSTGRES_DSN"], timeout=10)
    try:
        await connection.execute("truncate specs cascade", timeout=60)
    finally:
        await connection.close(timeout=5)
    broker = await aiormq.connect(settings["LEVERET_RABBITMQ_URL"])
    try:
        await (await broker.channel()).queue_purge("leveret.noop")
    finally:
        await broker.close()


def _table(turns: Sequence[tuple[Turn, Turn]]) -> str:
    told, silent = [pair[0] for pair in turns], [pair[1] for pair in turns]
    rows = [
        ("", "metrics and logs", "neither", "cost"),
        (
            f"submits/s, {CLIENTS} clients",
            brackets([turn.rate for turn in told]),
            brackets([turn.rate for turn in silent]),
            _percent([1 - on.rate / off.rate for on, off in turns]),
        ),
        (
            "gateway's CPU a submit, µs",
            brackets([turn.cpu_us for turn in told]),
            brackets([turn.cpu_us for turn in silent]),
            _percent([on.cpu_us / off.cpu_us - 1 for on, off in turns]),
        ),
    ]
    return markdown(rows)


def _percent(shares: Sequence[float]) -> str:
    low, high = _sure(shares)
    return f"{statistics.median(shares):.1%} ({low:.1%} to {high:.1%})"


def _sure(shares: Sequence[float]) -> tuple[float, float]:
    """Between which the median lies with 95 % certainty: by the order of the pairs, whatever their spread."""
    ordered, count = sorted(shares), len(shares)
    rank = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)))
    return ordered[rank], ordered[count - 1 - rank]


def _verdict(turns: Sequence[tuple[Turn, Turn]]) -> str:
    costs = [1 - on.rate / off.rate for on, off in turns]
    low, high = _sure(costs)
    told = f"Metrics and default logs take {statistics.median(costs):.1%} of the submits: "
    if low <= LIMIT < high:
        return (
            told
            + f"the machine was too busy, or the pairs too few, to say more than {low:.1%} to {high:.1%}."
        )
    return told + f"{'within' if high <= LIMIT else 'ABOVE'} the {LIMIT:.0%} they may."


if __name__ == "__main__":
    sys.exit(main())
