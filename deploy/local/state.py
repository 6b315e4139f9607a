"""What a stack remembers between commands: its ports, its processes, the user's settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploy.local import envfile
from deploy.local.ports import free_ports, is_free
from deploy.local.processes import Process

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True)
class State:
    """The run-state file, written anew at each change and never half."""

    file: Path
    ports: dict[str, list[int]] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    user: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> State:
        """Read the file; an absent one is a new stack's."""
        try:
            record: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            return cls(file)
        processes = {name: Process.load(fields) for name, fields in record["processes"].items()}
        return cls(file, record["ports"], processes, record["user"])

    def ports_for(self, name: str, count: int, *, first: int | None = None, keep: bool = False) -> list[int]:
        """The ports this process has, or had before if they are free again; else new ones.

        Args:
            name: The process.
            count: How many it needs.
            first: A customary port to begin with, if that is free.
            keep: Take the earlier ones even if they are in use: living processes know them.
        """
        known = self.ports.get(name, [])
        if self.runs(name) or (len(known) == count and (keep or all(map(is_free, known)))):
            return known
        taken = {port for ports in self.ports.values() for port in ports}
        self.ports[name] = [port for port in free_ports(count + len(taken)) if port not in taken][:count]
        if first is not None and is_free(first):
            self.ports[name][0] = first
        self.save()
        return self.ports[name]

    def runs(self, name: str) -> bool:
        """Does the process of that name still run?"""
        process = self.processes.get(name)
        return process is not None and process.alive()

    def started(self, name: str, process: Process) -> None:
        """Remember a process."""
        self.processes[name] = process
        self.save()

    def keep_user(self, settings: dict[str, str]) -> None:
        """Remember the user's own `LEVERET_` variables, which a later `up` from another shell lacks."""
        self.user = settings
        self.save()

    def forget_processes(self) -> None:
        """All have ended."""
        self.processes.clear()
        self.save()

    def save(self) -> None:
        """Replace the file, readable by its owner alone: settings may hold passwords."""
        record = {
            "ports": self.ports,
            "user": self.user,
            "processes": {name: process.dump() for name, process in self.processes.items()},
        }
        envfile.replace(self.file, json.dumps(record, indent=1))
