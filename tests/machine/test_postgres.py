"""The same rules on the store that the product runs on, and proof that the one in memory is like it."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from gateway import relay as relay_module
from tests.machine.postgres import TwinStores, bridged
from tests.machine.profile import POSTGRES
from tests.machine.rules import Machine
from tests.machine.world import World

pytestmark = pytest.mark.stack


def test_every_rule_holds_on_postgresql(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "TICK_S", 4.0)  # each tick is five statements on a real server
    with bridged(postgres_dsn) as bridge:

        class OnPostgres(Machine):
            make_world = staticmethod(partial(World, partial(TwinStores, bridge)))

        run_state_machine_as_test(OnPostgres, settings=settings(POSTGRES))
