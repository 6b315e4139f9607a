"""Jobs come to an idle stack: real workers start, share them and leave; one is sent away, a scaler is killed.

The short form of what `make timeline` records, on a gateway and two scalers of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.timeline import report
from benchmarks.timeline.plan import MODELS, SHORT
from benchmarks.timeline.play import play
from benchmarks.timeline.recording import Doing
from benchmarks.timeline.stage import Stage
from tests.e2e.counting import Books
from tests.gateway_process import Backstage, GatewayProcess, gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture
def napping(stack_env: dict[str, str], tmp_path: Path) -> Iterator[GatewayProcess]:
    with gateway_process(stack_env, tmp_path, LEVERET_CATALOG_PATH=str(MODELS)) as started:
        yield started


@pytest.fixture
async def stage(
    napping: GatewayProcess, stack_env: dict[str, str], behind: Backstage, tmp_path: Path
) -> Stage:
    key = await behind.keys.create("naps", "timeline", "operator")
    variables = {**stack_env, "LEVERET_CATALOG_PATH": str(MODELS)}
    return Stage(url=napping.url, key=key, variables=variables, folder=tmp_path)


@pytest.mark.timeout(300)
async def test_workers_come_share_the_jobs_and_leave_whoever_is_killed_meanwhile(
    stage: Stage, books: Books
) -> None:
    # Given nobody, when jobs come, a busy worker is told to drain and the leading scaler is killed
    recording = await play(stage, SHORT)
    # Then every job is done once, nobody was killed at work, and nobody is left
    assert not report.failures(recording, SHORT)
    assert books
    # And the standby changed something after it took over: it sent the last ones away
    moments = recording.moments
    later = [each for each in recording.decisions if each.at > moments.taken_over]
    assert any("to leave" in each.did for each in later)
    # And whoever was told to drain while it was busy finished what it held, took no more, and left
    seen = [(each.at, each.workers[moments.who]) for each in recording.looks if moments.who in each.workers]
    asked = next(at for at, doing in seen if doing is Doing.LEAVING)
    assert {doing for at, doing in seen if at >= asked} == {Doing.LEAVING}
    assert seen[-1][0] < moments.empty
