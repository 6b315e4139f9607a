"""A network of its own for one process, which can be made to lose every packet: no FIN, no RST, silence."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests import stack

RULES = """
table inet faults {
    chain arriving { type filter hook input priority 0; iifname != "lo" drop; }
    chain leaving { type filter hook output priority 0; oifname != "lo" drop; }
}
"""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace and the pair of interfaces that joins it to this machine.

    Attributes:
        name: Of the namespace.
        host: This machine's address, as seen from inside.
    """

    name: str
    host: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """In front of a command that shall run inside."""
        return ("ip", "netns", "exec", self.name)

    def drop_everything(self) -> None:
        subprocess.run([*self.prefix, "nft", "-f", "-"], input=RULES, text=True, check=True, timeout=10)

    def let_through(self) -> None:
        _run(*self.prefix, "nft", "delete", "table", "inet", "faults")


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Made for the block; where that is not allowed the test is skipped, and fails in CI."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft"))):
        stack.skip_or_fail("a network namespace needs root, iproute2 and nftables")
    mark = os.getpid() % 60000
    name, outside, inside = f"faults-{mark}", f"flt{mark}o", f"flt{mark}i"
    net = f"10.{200 + mark % 50}.{mark // 250}"
    made = Namespace(name, f"{net}.1")
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
    except subprocess.CalledProcessError as refused:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        stack.skip_or_fail(f"no network namespace here: {refused.stderr}")
    try:
        _run("ip", "addr", "add", f"{net}.1/24", "dev", outside)
        _run("ip", "link", "set", outside, "up")
        _run(*made.prefix, "ip", "addr", "add", f"{net}.2/24", "dev", inside)
        _run(*made.prefix, "ip", "link", "set", inside, "up")
        _run(*made.prefix, "ip", "link", "set", "lo", "up")
        yield made
    finally:
        _run("ip", "netns", "del", name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=10, capture_output=True, text=True)
