"""What the `kubernetes` fleet needs from a cluster. Nothing here but signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Workload(Protocol):
    """A Deployment."""

    @property
    def replicas(self) -> int:
        """Asked for."""

    @property
    def version(self) -> str:
        """Of the object."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """All of them."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Of its pods."""


class PodView(Protocol):
    """A pod."""

    @property
    def name(self) -> str:
        """Its worker's id."""

    @property
    def ended(self) -> bool:
        """For good."""

    @property
    def assigned(self) -> bool:
        """It has a node."""

    @property
    def running(self) -> bool:
        """It is past pending."""

    @property
    def ready(self) -> bool:
        """By its readiness."""

    @property
    def deleting(self) -> bool:
        """It was asked to end."""

    @property
    def age_s(self) -> float:
        """By the wall clock."""

    @property
    def trouble(self) -> str:
        """Why its container does not run."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """All of them."""


class Cluster(Protocol):
    """What the fleet asks of Kubernetes."""

    async def workload(self, name: str) -> Workload:
        """A Deployment as it is."""
        ...

    async def claim(self, name: str, annotations: Mapping[str, str], *, version: str) -> bool:
        """Annotate it unless it has changed since."""
        ...

    async def scale(self, name: str, replicas: int, *, expected: int) -> bool:
        """Set its number of pods if it still is what was expected."""
        ...

    async def pods(self, labels: Mapping[str, str]) -> Sequence[PodView]:
        """All with these labels."""
        ...

    async def annotate_pod(self, name: str, annotations: Mapping[str, str]) -> None:
        """Annotate a pod."""
        ...
