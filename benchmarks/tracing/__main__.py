"""`python -m benchmarks.tracing [--quick] [--calls]`: its calls alone, then whole jobs; prints one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from benchmarks import surroundings
from benchmarks.session import ended, servers_of_its_own
from benchmarks.tables import brackets, markdown
from benchmarks.tracing import calls
from benchmarks.tracing.stack import Used, collector, measured
from deploy.local.progress import Progress

MICRO = 1e6
OFF = "off"


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of few jobs")
    parser.add_argument("--calls", action="store_true", help="the calls alone: no servers, a few seconds")
    asked = parser.parse_args()
    if asked.calls:
        with collector() as url:
            print(_calls(url, 20))
        return 0
    return ended(_run(rounds=1 if asked.quick else 3, jobs=300 if asked.quick else 500))


async def _run(rounds: int, jobs: int) -> None:
    progress, machine = Progress(), surroundings.machine()
    used: dict[str, list[Used]] = {}
    with collector() as url:
        async with servers_of_its_own(progress, vhosts=[]) as (folder, settings):
            for number in range(rounds):
                for name, variables in _in_turn(_ways(url), number):
                    progress.say(f"round {number + 1}: {name}")
                    used.setdefault(name, []).append(await measured(folder, settings | variables, jobs))
        print(f"\n{_calls(url, 200, used)}\n\n{_jobs(used)}\n\n{surroundings.today()}, {machine}.")


def _in_turn(ways: dict[str, dict[str, str]], number: int) -> list[tuple[str, dict[str, str]]]:
    """Each comes first, second and last as often as the others: the machine is not the same all the time."""
    each, first = list(ways.items()), number % len(ways)
    return each[first:] + each[:first]


def _ways(url: str) -> dict[str, dict[str, str]]:
    return {
        OFF: {},
        "on, nothing recorded": {"LEVERET_TRACING_ENDPOINT": url, "LEVERET_TRACING_RATIO": "0"},
        "on, every job recorded": {"LEVERET_TRACING_ENDPOINT": url, "LEVERET_TRACING_RATIO": "1"},
    }


def _calls(url: str, batches: int, used: Mapping[str, list[Used]] | None = None) -> str:
    """A table of what all of a job's calls cost the threads that serve, and the one that sends."""
    base = calls.empty(batches).seconds
    rows = [["all calls that one job makes", "µs", "spans", "of a job's processor time"]]
    whole = sorted(each.both for each in used[OFF])[len(used[OFF]) // 2] if used else None
    ways = (
        (OFF, calls.off(batches)),
        ("on, every job recorded", calls.on(batches)),
        ("and sent, by another thread", calls.sent(url, batches)),
    )
    for name, cost in ways:
        took = cost.seconds - base
        share = f"{took / whole:.2%}" if whole else "-"
        rows.append([name, f"{took * MICRO:.2f}", str(cost.spans), share])
    return markdown(rows)


def _jobs(used: Mapping[str, list[Used]]) -> str:
    """A table of whole jobs."""
    rows = [["processor time of a job that does nothing, µs", "gateway", "worker", "both"]]
    for name, rounds in used.items():
        columns = ([getattr(each, part) * MICRO for each in rounds] for part in ("gateway", "worker", "both"))
        rows.append([name, *(brackets(column) for column in columns)])
    return markdown(rows)


if __name__ == "__main__":
    sys.exit(main())
