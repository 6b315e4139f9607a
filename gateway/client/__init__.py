"""The Python SDK and the `leveret` command: what a caller of the API needs, and nothing of its server side.

Only the standard library and the `client` extra (httpx2, websockets, cyclopts, rich) may enter this room.
Names are loaded on first use, so that `leveret --help` does not pay for an HTTP stack.

    from gateway.client import Client

    job = Client().submit("cutout", image="face.jpg", priority=7)
    job.wait(progress=True)
    job.outputs["cutout"].save("cutout.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.client.aio import AsyncClient
    from gateway.client.blocking import Client, Job, Output
    from gateway.client.errors import (
        ApiError,
        ConfigError,
        CorruptDownloadError,
        InputError,
        JobCanceled,
        JobError,
        JobExpired,
        JobFailed,
        LeveretError,
        OutcomeUnknownError,
        UnreachableError,
        WaitTimeoutError,
    )
    from gateway.client.inputs import Upload
    from gateway.client.jobs import AsyncJob
    from gateway.client.outputs import AsyncOutput
    from gateway.client.records import Event
    from gateway.client.retry import RetryPolicy

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "AsyncOutput",
    "Client",
    "ConfigError",
    "CorruptDownloadError",
    "Event",
    "InputError",
    "Job",
    "JobCanceled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "LeveretError",
    "OutcomeUnknownError",
    "Output",
    "RetryPolicy",
    "UnreachableError",
    "Upload",
    "WaitTimeoutError",
]

_HOMES = {
    "AsyncClient": "aio",
    "AsyncJob": "jobs",
    "AsyncOutput": "outputs",
    "Client": "blocking",
    "Event": "records",
    "Job": "blocking",
    "Output": "blocking",
    "RetryPolicy": "retry",
    "Upload": "inputs",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
