from __future__ import annotations

from gpu_worker.engine.meter import Meter
from tests.fakes.clock import FakeClock


def test_work_counts_while_it_goes_on_and_rest_does_not() -> None:
    clock = FakeClock()
    meter = Meter(clock.now)
    clock.advance(5)
    assert meter.seconds == 0

    meter.mark(busy=True)
    clock.advance(2)
    assert meter.seconds == 2
    meter.mark(busy=True)  # the next batch, without a rest in between
    clock.advance(1)
    meter.mark(busy=False)
    clock.advance(10)
    meter.mark(busy=False)

    assert meter.seconds == 3
