"""What the gateway needs from its surroundings, as it needs it. The adapters fit these by shape alone.

No adapter may be imported here or anywhere in the gateway but in `wiring` and `keys`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from shared.catalog import Model
from shared.errors import Misconfigured
from shared.events import Event
from shared.jobs import Attempt, Job, NewJob, State


class Models(Protocol):
    """The catalog as it is at the moment of asking."""

    @property
    def models(self) -> Sequence[Model]:
        """All on offer."""

    def find(self, ref: str) -> Model | None:
        """The model of `name@version`, or the newest version of `name`."""


class Caller(Protocol):
    """Who calls: the holder of a key."""

    @property
    def tenant(self) -> str:
        """Whose jobs these are."""

    @property
    def name(self) -> str:
        """The key's, to tell keys apart."""

    @property
    def role(self) -> str:
        """`user` or `operator`."""

    @property
    def s3_prefixes(self) -> tuple[str, ...]:
        """``s3://bucket/prefix/`` addresses that the tenant's jobs may name."""


class Holder(Caller, Protocol):
    """A caller whose key is known."""

    @property
    def key_id(self) -> UUID:
        """The key's."""


class Submitted(Protocol):
    """What the store made of a submission."""

    @property
    def id(self) -> UUID:
        """The job's; of a repeated Idempotency-Key the first one's."""

    @property
    def state(self) -> State:
        """Where it stands."""

    @property
    def fresh(self) -> bool:
        """Whether this call made it."""

    @property
    def publish_due(self) -> datetime | None:
        """When the relay publishes unless our own publish is confirmed."""


class Submits(Protocol):
    """Takes jobs in."""

    async def submit(self, job: NewJob) -> Submitted:
        """Accept the job for good."""

    async def published(self, id: UUID, publish_due: datetime) -> None:  # noqa: A002  the column's name
        """Note that the broker has it."""


class Reads(Protocol):
    """Answers about jobs; every question but `seqs` names the tenant."""

    async def job(self, tenant: str, job_id: UUID) -> Job | None:
        """The job, or None where this tenant has none of that id."""

    async def events(self, tenant: str, job_id: UUID, after: int = 0) -> list[Event]:
        """Its history with ``seq > after``, in order."""

    async def attempts(self, tenant: str, job_id: UUID) -> list[Attempt]:
        """Its ended runs."""

    async def seqs(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Where each of these jobs stands."""


class Cancels(Protocol):
    """Ends jobs on request."""

    async def cancel(self, tenant: str, job_id: UUID) -> Event | None:
        """The terminal event where it ended at once, None where its worker was asked."""


class Keys(Protocol):
    """Knows who holds a key."""

    async def find(self, key: str) -> Holder | None:
        """The holder, or None."""


class LoggedIn(Protocol):
    """A session that goes on."""

    @property
    def holder(self) -> Holder:
        """Of the key that it stands for."""

    @property
    def expires_at(self) -> datetime:
        """When it ends at the latest."""


class Sessions(Protocol):
    """Knows which browsers are logged in."""

    async def start(self, key: str, *, ttl_s: float) -> str | None:
        """A session's secret, or None where nobody holds the key."""

    async def find(self, secret: str) -> LoggedIn | None:
        """The session, or None."""

    async def end(self, secret: str) -> None:
        """End it."""


class Publisher(Protocol):
    """Sends hints to the queues."""

    async def publish(self, queue: str, job_id: UUID, *, priority: int, traceparent: str | None) -> None:
        """Send one and return when the broker confirmed it."""

    async def declare(self, queues: Iterable[str]) -> None:
        """Make sure that these queues exist as they must be; raises Misconfigured, and the others work."""

    @property
    def refused(self) -> Mapping[str, Misconfigured]:
        """By queue, why those that are known not to be as they must cannot be used."""


class Bus(Protocol):
    """Pushes events and keeps hot results."""

    async def announce(self, tenant: str, event: Event, result: bytes | None = None) -> None:
        """Push, and keep the result."""

    async def nudge(self, job_id: UUID) -> None:
        """Tell the job's worker to read its row now."""

    async def result(self, tenant: str, job_id: UUID) -> bytes | None:
        """The kept job document."""


class Sink(Protocol):
    """Who hears what a Listener hears."""

    def confirmed(self, tenant: str) -> None:
        """From here on nothing of this tenant is missed."""

    def received(self, tenant: str, event: Event) -> None:
        """An event of a followed tenant."""

    def lost(self) -> None:
        """Nothing is heard until the next confirmations."""

    def nudged(self, job_id: UUID) -> None:
        """A job's worker was told to read its row: of no interest to subscribers."""


class Listener(Protocol):
    """Hears what is pushed to the tenants it follows."""

    def follow(self, tenant: str) -> bool:
        """Ask for a tenant's events; True where they are heard already."""

    def unfollow(self, tenant: str) -> None:
        """Ask no longer."""

    async def run(self, sink: Sink) -> None:
        """Listen for ever."""


class ObjectHead(Protocol):
    """What is known of an object without reading it."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def content_type(self) -> str:
        """Media type."""


class Objects(Protocol):
    """The object store; a `ref` is a key of Leveret's own bucket or a whole ``s3://`` address."""

    def uri(self, key: str) -> str:
        """The address of a key of Leveret's own bucket."""

    async def head(self, ref: str) -> ObjectHead | None:
        """Size and type, or None where there is no such object."""

    async def put_bytes(self, ref: str, body: bytes, content_type: str) -> object:
        """Write a small object."""

    async def put_file(self, ref: str, path: Path, content_type: str) -> object:
        """Write a file."""

    async def presigned_get(
        self, ref: str, *, filename: str | None = None, content_type: str | None = None
    ) -> str:
        """An address by which anybody can read it for a while."""

    async def presigned_put(self, ref: str, content_type: str) -> str:
        """An address to which anybody can write it for a while."""

    def stream(self, ref: str) -> AsyncIterator[bytes]:
        """Its bytes."""


Document = Mapping[str, Any]
"""A JSON object, ready to be sent."""
