"""`python -m benchmarks.dashboard [--quick]`: a real gateway, jobs at a steady rate, and pages that watch."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import surroundings
from benchmarks.dashboard.jobs import Jobs
from benchmarks.dashboard.pages import Page
from benchmarks.engine.cpu import used_by
from benchmarks.leveret import Leveret
from benchmarks.session import ended, servers_of_its_own
from deploy.local.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGES = (0, 1, 10)
BOUND = 0.10
"""Of a core, at most, for one page: what the project asks of itself."""


@dataclass(frozen=True, slots=True)
class Round:
    """One stretch of time.

    Attributes:
        pages: So many were open.
        cpu: The gateway's, as a share of one core.
        jobs_per_s: How many came, ran and ended.
        frames_per_s: How many frames each page was sent; 0 without a page.
        bytes_per_s: How much of them.
    """

    pages: int
    cpu: float
    jobs_per_s: float
    frames_per_s: float
    bytes_per_s: float


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dashboard", description="What open dashboards cost the gateway."
    )
    parser.add_argument("--rate", type=int, default=500, help="jobs a second that come, run and end")
    parser.add_argument("--quick", action="store_true", help="a look: one round of everything")
    return ended(_run(parser.parse_args()))


async def _run(asked: argparse.Namespace) -> None:
    progress, machine = Progress(), surroundings.machine()
    async with servers_of_its_own(progress, vhosts=[]) as (folder, settings):
        side = Leveret(folder, settings)
        await side.start()
        key = await side.key("operator")
        async with Jobs(settings, tenant="bench", rate=asked.rate) as jobs:
            rounds = await _rounds(side, key, jobs, asked, progress)
    progress.say("everything is stopped")
    print(f"\n{_table(rounds)}\n\n{surroundings.today()}, {machine}; {asked.rate} jobs/s asked for.")


async def _rounds(
    side: Leveret, key: str, jobs: Jobs, asked: argparse.Namespace, progress: Progress
) -> list[Round]:
    """With more pages and with fewer in turn, so that what the machine does beside it falls on all alike."""
    found = []
    for number in range(1 if asked.quick else 4):
        for pages in PAGES if number % 2 == 0 else reversed(PAGES):
            found.append(await _round(side, key, jobs, pages, length_s=10 if asked.quick else 20))
            progress.say(f"{pages} pages: {100 * found[-1].cpu:.1f} % of a core")
    return found


async def _round(side: Leveret, key: str, jobs: Jobs, count: int, *, length_s: float) -> Round:
    async with AsyncExitStack() as open_pages:
        pages = [await open_pages.enter_async_context(Page(side.url, key, jobs)) for _ in range(count)]
        await asyncio.sleep(3)  # the first look at everything is not the steady state
        before, done, told = _cpu(side), jobs.done, [(page.frames, page.bytes) for page in pages]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(length_s)
        took = loop.time() - began
        frames = [page.frames - was for page, (was, _) in zip(pages, told, strict=True)]
        sent = [page.bytes - was for page, (_, was) in zip(pages, told, strict=True)]
        return Round(
            pages=count,
            cpu=(_cpu(side) - before) / took,
            jobs_per_s=(jobs.done - done) / took,
            frames_per_s=statistics.fmean(frames) / took if frames else 0.0,
            bytes_per_s=statistics.fmean(sent) / took if sent else 0.0,
        )


def _cpu(side: Leveret) -> float:
    return used_by({"gateway": side.pids()["gateway"]})["gateway"]


def _table(rounds: Sequence[Round]) -> str:
    bare = _median(rounds, 0).cpu
    lines = [
        "| pages | jobs/s | gateway, % of a core | ratio to none | pages' own % | frames/s | kB/s each |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for pages in PAGES:
        each = _median(rounds, pages)
        own = each.cpu - bare
        lines.append(
            f"| {pages} | {each.jobs_per_s:.0f} | {100 * each.cpu:.1f} | {each.cpu / bare:.2f} | "
            f"{100 * own:.1f} | {each.frames_per_s:.1f} | {each.bytes_per_s / 1000:.1f} |"
        )
    one = _median(rounds, 1).cpu - bare
    verdict = "within" if one <= BOUND else "ABOVE"
    return "\n".join(
        [*lines, "", f"One page takes {100 * one:.1f} % of a core: {verdict} {100 * BOUND:.0f} %."]
    )


def _median(rounds: Sequence[Round], pages: int) -> Round:
    mine = [each for each in rounds if each.pages == pages]
    return Round(
        pages,
        *(
            statistics.median(getattr(each, name) for each in mine)
            for name in ("cpu", "jobs_per_s", "frames_per_s", "bytes_per_s")
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
