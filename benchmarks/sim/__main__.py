"""`python -m benchmarks.sim [--quick] [--ideas]`: every policy through every scenario, in one table.

The whole run writes `docs/sim.md` and its pictures; a quick one only prints.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from benchmarks.sim import ideas, report
from benchmarks.sim.figures import Figures, claims, measure
from benchmarks.sim.scenarios import (
    LAW,
    OUT_OF_REACH,
    POLICIES,
    TUNED,
    Scenario,
    classes,
    kept_warm,
    scenarios,
    spot,
)
from benchmarks.sim.workload import DAY_S

ROOT = Path(__file__).parents[2]
TRACES = ROOT.parent / "shared" / "traces"
SHOWN_DAY = 17


def main() -> int:
    """Run; returns the exit status: 1 where something that is to hold does not."""
    asked = _parser().parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = asked.traces if asked.traces.is_dir() else None
    given = list(scenarios(folder, quick=asked.quick))
    if asked.ideas:
        _print(report.table(ideas.tried(given[0], asked.seed)))
        starved = [measure(*given) for given in ideas.starving()]
        _print(report.classes_table(starved))
        return 0
    rows = [row for scenario in given for row in _rows(scenario, watch=scenario is given[0])]
    mixed = [measure(each, LAW, policy) for each, policy in classes(given[0].workload)]
    _print("three classes", report.classes_table(mixed))
    markets = [measure(each, LAW, policy) for each, policy in spot(folder, given[0].workload)]
    _print("spot", report.spot_table(markets))
    held = claims([*rows, *markets], given)
    _print(report.verdicts(held))
    if not asked.quick:
        _write(report.Results(given, rows, markets, mixed, held), asked.docs)
    return 0 if all(claim.holds for claim in held) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sim", description="The scaler, simulated.")
    parser.add_argument("--quick", action="store_true", help="four days, nothing written: a few seconds")
    parser.add_argument(
        "--ideas", action="store_true", help="what was tried to beat the law, on the request trace"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the cloud's chances, for --ideas")
    parser.add_argument("--traces", type=Path, default=TRACES, help="recorded requests and preemptions")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the page and pictures go")
    return parser


def _rows(scenario: Scenario, *, watch: bool) -> Iterator[Figures]:
    _print(scenario.name, report.HEAD)
    for name, make in POLICIES.items():
        row = measure(scenario, name, make(scenario), watch=watch and name in (LAW, TUNED))
        _print(report.table([row]).splitlines()[-1])
        yield row
    if scenario.name == OUT_OF_REACH:
        row = measure(scenario, f"{LAW}, min 1", kept_warm(scenario))
        _print(report.table([row]).splitlines()[-1])
        yield row


def _write(results: report.Results, folder: Path) -> None:
    from benchmarks.sim.plots import draw  # noqa: PLC0415  takes a second to import

    (folder / "sim.md").write_text(report.page(results))
    day = (SHOWN_DAY * DAY_S, (SHOWN_DAY + 1) * DAY_S)
    first = results.scenarios[0].name
    written = draw([row for row in results.rows if row.scenario == first], day, folder)
    _print(f"written: {', '.join(file.name for file in (folder / 'sim.md', *written))}")


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
