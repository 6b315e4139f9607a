"""The addresses in answers: where a job, its streams and its outputs are found from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gateway.ports import Objects

TRACE_ID = "{trace_id}"


class Links:
    """Makes addresses for one installation.

    Args:
        base_url: Its public address.
        objects: The object store.
        public_store: Whether clients can reach the store; otherwise outputs come through the gateway.
        trace_url: Where a trace is shown, with ``{trace_id}`` in it; None where nobody said.
    """

    def __init__(
        self, base_url: str, objects: Objects, *, public_store: bool, trace_url: str | None = None
    ) -> None:
        self._base_url = base_url
        self._objects = objects
        self.public_store = public_store
        self._trace_url = trace_url

    def job(self, job_id: str) -> str:
        """The job itself."""
        return f"{self._base_url}/v1/jobs/{job_id}"

    def urls(self, job_id: str, trace: Mapping[str, Any] | None = None) -> dict[str, str]:
        """The `urls` of a job document; its trace's where that is recorded and somebody shows traces."""
        job = self.job(job_id)
        socket = job.replace("http", "ws", 1)
        return {
            "self": job,
            "events": f"{job}/events",
            "stream": f"{socket}/stream",
            "cancel": f"{job}/cancel",
            "logs": f"{job}/logs",
            **self._shown(trace),
        }

    def _shown(self, trace: Mapping[str, Any] | None) -> dict[str, str]:
        if self._trace_url is None or not trace or not trace["recorded"]:
            return {}
        return {"trace": self._trace_url.replace(TRACE_ID, trace["id"])}

    async def signed(
        self, job_id: str, outputs: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """The outputs, each with a `url` made anew: signed ones live for a while only."""
        return {
            name: {**output, "url": await self.output(job_id, name, output)}
            for name, output in outputs.items()
        }

    async def output(self, job_id: str, name: str, output: Mapping[str, Any]) -> str:
        """Where one output can be read."""
        if not self.public_store:
            return f"{self.job(job_id)}/outputs/{quote(name)}"
        return await self._objects.presigned_get(
            output["uri"], filename=filename(output), content_type=output.get("content_type")
        )


def filename(output: Mapping[str, Any]) -> str:
    """The name under which an output is saved."""
    return str(output["uri"]).rpartition("/")[2]
