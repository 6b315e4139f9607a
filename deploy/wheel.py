"""Lets a wheel bring the dashboard's page: Node and a registry are needed to build one, not to use one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DashboardHook(BuildHookInterface[Any]):
    """Builds the page before its files are collected. An editable install leaves that to `make dashboard`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling's own shape
        """Build unless what is there is of these sources.

        Raises:
            DashboardError: It cannot be built: a wheel without it would be another product.
        """
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root)))
        from deploy.dashboard import build, up_to_date  # noqa: PLC0415  the root is no package

        if not up_to_date():
            build()
