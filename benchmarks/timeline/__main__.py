"""`python -m benchmarks.timeline [--quick]`: records a run and checks what is to hold.

The whole run writes `docs/timeline.md` and its picture; a quick one only prints.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import surroundings
from benchmarks.leveret import Leveret
from benchmarks.load import UnexpectedAnswerError
from benchmarks.running import ROOT
from benchmarks.session import ended, servers_of_its_own
from benchmarks.timeline import report
from benchmarks.timeline.plan import FULL, MODELS, QUEUE, SHORT, Plan
from benchmarks.timeline.play import play
from benchmarks.timeline.recording import Recording
from benchmarks.timeline.stage import Stage
from deploy.local.progress import Progress


def main() -> int:
    """Run; returns the exit status."""
    return ended(_run(_parser().parse_args()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timeline", description="Two hundred jobs.")
    parser.add_argument("--quick", action="store_true", help="thirty jobs, nothing written")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the page and the picture go")
    return parser


async def _run(asked: argparse.Namespace) -> None:
    plan = SHORT if asked.quick else FULL
    progress, machine = Progress(), surroundings.machine()
    async with servers_of_its_own(progress, vhosts=()) as (folder, settings):
        recording = await _recorded(folder, settings, plan, progress)
        servers = await surroundings.servers(settings)
    progress.say("everything is stopped")
    for name, value in report.told(recording):
        print(f"{name}: {value}")
    if wrong := report.failures(recording, plan):
        raise UnexpectedAnswerError(f"does not hold: {'; '.join(wrong)}")
    if not asked.quick:
        about = {"when": surroundings.today(), "machine": machine, "servers": servers}
        _write(recording, plan, asked.docs, **about)


async def _recorded(folder: Path, settings: dict[str, str], plan: Plan, progress: Progress) -> Recording:
    gateway = Leveret(folder, settings, catalog=MODELS)
    await gateway.start()
    stage = Stage(
        url=gateway.url,
        key=await gateway.key("operator"),
        variables={**settings, "LEVERET_CATALOG_PATH": str(MODELS)},
        folder=folder,
    )
    progress.say(f"the gateway is ready, {plan.jobs} jobs are about to come")
    return await play(stage, plan)


def _write(recording: Recording, plan: Plan, folder: Path, **about: str) -> None:
    from benchmarks.timeline.plots import draw  # noqa: PLC0415  takes a second to import

    (folder / "timeline.md").write_text(report.page(recording, plan, queue=QUEUE, **about))
    print(f"written: timeline.md, {draw(recording, folder / 'timeline.svg').name}")


if __name__ == "__main__":
    sys.exit(main())
