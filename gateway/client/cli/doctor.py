"""`leveret doctor`: one line per dependency, ✓ or ✗, and what to do about each ✗."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from pathlib import Path

from gateway.client.cli.checks import (
    Surroundings,
    check_gateway,
    check_machine,
    check_scaler,
    check_servers,
)
from gateway.client.cli.exits import FAILED, OK, printable
from gateway.client.cli.findings import Finding
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.settings import STACK_FILE, find_file, read_env


async def doctor(common: Common = NO_OPTIONS) -> int:
    """Check every dependency and say what to fix.

    The servers behind the gateway are checked where their settings are known: in the environment or in
    `.leveret/stack.env`.

    Args:
        common: Options of every command.
    """
    around = await asyncio.to_thread(look_around, common)
    findings = check_machine(around)
    findings += await check_gateway(around)
    findings += await check_scaler(around)
    findings += await check_servers(around)
    if common.json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    return FAILED if any(finding.ok is False for finding in findings) else OK


def look_around(common: Common) -> Surroundings:
    """What is known here: the settings of the environment over those of a local stack."""
    folder = Path.cwd()
    stack = find_file(STACK_FILE, folder)
    known = read_env(stack) if stack else {}
    own = {name: value for name, value in os.environ.items() if name.startswith("LEVERET_")}
    return Surroundings(folder, {**known, **own}, common.url)


def _print(findings: list[Finding]) -> None:
    from rich.text import Text  # noqa: PLC0415  not for --json

    from gateway.client.cli.show import console  # noqa: PLC0415  not for --json

    screen = console()
    marks = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}
    for finding in findings:
        line = Text.assemble(marks[finding.ok], f" {finding.name:<14} {printable(finding.found)}")
        screen.print(line)
        if finding.fix:
            screen.print(Text(f"  → {finding.fix}", style="yellow"))
