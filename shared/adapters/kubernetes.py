"""Kubernetes: a Deployment is looked at, annotated and scaled. The only room where lightkube may be imported.

What of the Kubernetes documentation this rests on:

- The scale subresource takes a number and a resource version; a change in between is answered 409 ("API
  Conventions: Concurrency Control and Consistency").
- A page of a list whose place in time is no longer kept is answered 410, and the list starts anew
  ("Kubernetes API Concepts: Retrieving large results sets in chunks").
- A pod that is being deleted has a deletion timestamp and goes on until its grace period ends
  ("Pod Lifecycle: Termination of Pods").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx2
import msgspec
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod
from lightkube.types import PatchType

from shared.errors import Misconfigured, OutcomeUnknown, Unavailable

ANSWER_S = 4.5
"""Below what the scaler grants a question."""
PAGE = 250
_GONE_FOR_GOOD = frozenset({"Succeeded", "Failed"})
FIELD_MANAGER = "leveret-scaler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A Deployment.

    Attributes:
        replicas: Asked for by its specification.
        version: Of the whole object; a change that names an older one is refused.
        labels: What its pods carry.
    """

    replicas: int
    version: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """A pod.

    Attributes:
        ended: It will not run again.
        assigned: It has a node.
        running: All that it needs to start is there.
        ready: By its readiness.
        deleting: It was asked to end.
        age_s: Since its creation, by this machine's clock.
        trouble: Why its container does not run, as Kubernetes names it; "" where it does.
    """

    name: str
    ended: bool
    assigned: bool
    running: bool
    ready: bool
    deleting: bool
    age_s: float
    trouble: str
    annotations: Mapping[str, str]


class Kubernetes:
    """One namespace."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def workload(self, name: str) -> Workload:
        """A Deployment as it is.

        Raises:
            Unavailable: It can't be read, or is not there.
        """
        async with _asking(f"read deployment {name}"):
            found = await self._client.get(Deployment, name)
        return _workload(found)

    async def claim(self, name: str, annotations: Mapping[str, str], *, version: str) -> bool:
        """Annotate a Deployment unless it has changed since `version`; whether that was so.

        Raises:
            OutcomeUnknown: No answer.
            Unavailable: Refused.
        """
        change = {"metadata": {"annotations": dict(annotations), "resourceVersion": version}}
        async with _asking(f"annotate deployment {name}", changes=True):
            try:
                await self._client.patch(Deployment, name, change, patch_type=PatchType.MERGE)
            except ApiError as error:
                if _status(error) == HTTPStatus.CONFLICT:
                    return False
                raise
        return True

    async def scale(self, name: str, replicas: int, *, expected: int) -> bool:
        """Set the number of pods if it still is what was expected; whether it was.

        Raises:
            OutcomeUnknown: No answer.
            Unavailable: Refused.
        """
        async with _asking(f"scale deployment {name}", changes=True):
            scale = await self._client.get(Deployment.Scale, name)
            if (scale.spec.replicas or 0 if scale.spec else 0) != expected:
                return False
            scale.spec = ScaleSpec(replicas=replicas)
            try:
                await self._client.replace(scale, name, field_manager=FIELD_MANAGER)
            except ApiError as error:
                if _status(error) == HTTPStatus.CONFLICT:
                    return False
                raise
        return True

    async def pods(self, labels: Mapping[str, str]) -> list[PodView]:
        """All pods with these labels.

        Raises:
            Unavailable: They can't be listed, or not all of them in time.
        """
        async with _asking("list pods"):
            try:
                return await self._list(labels)
            except ApiError as error:
                if _status(error) != HTTPStatus.GONE:
                    raise
            return await self._list(labels)  # the list had changed too much to be continued

    async def annotate_pod(self, name: str, annotations: Mapping[str, str]) -> None:
        """Annotate a pod; one that is gone needs none.

        Raises:
            Unavailable: Refused, or no answer.
        """
        change = {"metadata": {"annotations": dict(annotations)}}
        async with _asking(f"annotate pod {name}"):
            try:
                await self._client.patch(Pod, name, change, patch_type=PatchType.MERGE)
            except ApiError as error:
                if _status(error) not in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                    raise

    async def _list(self, labels: Mapping[str, str]) -> list[PodView]:
        now = datetime.now(UTC)
        found = self._client.list(Pod, labels=dict(labels), chunk_size=PAGE)
        return [_pod(pod, now) async for pod in found]


@asynccontextmanager
async def open_kubernetes(namespace: str | None) -> AsyncIterator[Kubernetes]:
    """The cluster that this process runs in, or that KUBECONFIG names. Asks nothing yet.

    Args:
        namespace: None means the pod's own, or the configuration's.

    Raises:
        Misconfigured: There is no configuration.
    """
    try:
        config = KubeConfig.from_env().get()
    except (ConfigError, OSError) as error:
        raise Misconfigured(f"no Kubernetes configuration: {error}") from error
    if config is None:
        raise Misconfigured("the Kubernetes configuration names no current context")
    client = AsyncClient(
        config, namespace=namespace, timeout=httpx2.Timeout(ANSWER_S), field_manager=FIELD_MANAGER
    )
    try:
        yield Kubernetes(client)
    finally:
        await client.close()


@asynccontextmanager
async def _asking(what: str, *, changes: bool = False) -> AsyncIterator[None]:
    """A deadline over the whole of it, and our errors in place of the driver's and the network's."""
    with _translated(what, OutcomeUnknown if changes else Unavailable):
        async with asyncio.timeout(ANSWER_S):
            yield


@contextmanager
def _translated(what: str, lost: type[OutcomeUnknown | Unavailable]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise lost(f"Kubernetes took too long to {what}") from error
    except ApiError as error:
        kind = lost if _status(error) >= HTTPStatus.INTERNAL_SERVER_ERROR else Unavailable
        raise kind(f"Kubernetes refused to {what}: {_status(error)} {error.status.reason or ''}") from error
    except (httpx2.HTTPError, msgspec.MsgspecError, OSError, ValueError) as error:
        raise lost(f"Kubernetes is away: {type(error).__name__} when asked to {what}") from error


def _status(error: ApiError) -> int:
    return error.status.code or error.response.status_code


def _workload(found: Deployment) -> Workload:
    spec, metadata = found.spec, found.metadata
    if spec is None or metadata is None:
        raise Unavailable("Kubernetes answered with half a deployment")
    replicas = 1 if spec.replicas is None else spec.replicas  # as the API's own default
    return Workload(
        replicas=replicas,
        version=metadata.resourceVersion or "",
        annotations=dict(metadata.annotations or {}),
        labels=dict(spec.selector.matchLabels or {}),
    )


def _pod(pod: Pod, now: datetime) -> PodView:
    metadata: Any = pod.metadata
    status: Any = pod.status
    phase = status.phase or "Pending"
    created = metadata.creationTimestamp or now
    return PodView(
        name=metadata.name,
        ended=phase in _GONE_FOR_GOOD,
        assigned=bool(pod.spec and pod.spec.nodeName),
        running=phase == "Running",
        ready=any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
        deleting=metadata.deletionTimestamp is not None,
        age_s=max(0.0, (now - created).total_seconds()),
        trouble=_trouble(status),
        annotations=dict(metadata.annotations or {}),
    )


def _trouble(status: Any) -> str:
    """Of the first container that does not run, unless it is only on its way."""
    for container in status.containerStatuses or ():
        state = container.state
        if (
            state
            and state.waiting
            and state.waiting.reason not in {None, "ContainerCreating", "PodInitializing"}
        ):
            return str(state.waiting.reason)
        if state and state.terminated:
            return f"{state.terminated.reason or 'ended'} ({state.terminated.exitCode})"
    return str(status.reason or "")
