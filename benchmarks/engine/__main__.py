"""`python -m benchmarks.engine [--quick]`: starts private servers, measures, prints tables, draws plots."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks import surroundings
from benchmarks.engine import gpu, plots, report, told
from benchmarks.engine.catalog import make_catalog
from benchmarks.engine.contenders import DATABASES
from benchmarks.engine.leveret import MeasuredLeveret
from benchmarks.engine.measuring import Figures, Measuring
from benchmarks.engine.plan import FULL, QUICK, Plan
from benchmarks.measuring import workers_gone
from benchmarks.running import ROOT
from benchmarks.session import PLACE, ended, servers_of_its_own
from deploy.local.failure import StackError
from deploy.local.progress import Progress

PARTS = ("latency", "drains", "devices", "memory")
GPU = "gpu"
"""Where there is a card, and asked for by name only."""
PLOTS = ROOT / ".leveret" / "bench-engine"


def main() -> int:
    """Run; returns the exit status."""
    return ended(_run(_parser().parse_args()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine", description="How well a worker keeps its device busy."
    )
    parser.add_argument("--quick", action="store_true", help="a short look: one round, fewer jobs and rows")
    parser.add_argument(
        "--only", nargs="+", choices=(*PARTS, GPU), default=PARTS, help=f"these alone; {GPU}: by name only"
    )
    parser.add_argument("--plots", type=Path, default=PLOTS, help=f"where the PNG files go ({PLOTS.name}/)")
    return parser


async def _run(asked: argparse.Namespace) -> None:
    plan = QUICK if asked.quick else FULL
    card = gpu.require_gpu() if GPU in asked.only else ""
    _check_disk(plan)
    progress, machine = Progress(), surroundings.machine()
    async with servers_of_its_own(progress, vhosts=tuple(DATABASES)) as (folder, settings):
        batching = await make_catalog(folder / "catalog", gpu.PYTHON if card else None)
        side = MeasuredLeveret(folder, settings, catalog=folder / "catalog")
        async with workers_gone([side]):
            measuring = Measuring(folder, settings, side, plan, progress)
            figures = await measuring.run(frozenset(asked.only), batching=batching)
        servers = await surroundings.servers(settings)
    progress.say("everything is stopped")
    _print(figures, plan, batching=batching, quick=asked.quick)
    print(f"{surroundings.today()}, {machine}.\n{servers}; {surroundings.packages(told.PACKAGES)}.")
    if card:
        print(f"GPU: {card}.")
    for path in plots.draw(figures, asked.plots):
        print(f"drawn: {path}")


def _check_disk(plan: Plan) -> None:
    free_gb = shutil.disk_usage(PLACE).free / 1e9
    if free_gb < plan.free_gb:
        raise StackError(f"{PLACE} has {free_gb:.0f} GB free; this run may write {plan.free_gb} GB")


def _print(figures: Figures, plan: Plan, *, batching: bool, quick: bool) -> None:
    for block in report.tables(figures):
        print(f"\n{block}")
    print(f"\n{told.notes(plan, batching=batching, quick=quick)}\n")


if __name__ == "__main__":
    sys.exit(main())
