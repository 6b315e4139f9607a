"""Whatever happens in whatever order, every accepted job reaches exactly one end."""

from __future__ import annotations

from hypothesis import settings

from tests.machine.profile import MEMORY
from tests.machine.rules import Machine

TestMachine = Machine.TestCase
TestMachine.settings = settings(MEMORY)
