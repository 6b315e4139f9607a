"""A job once more: a new job with the inputs of one that has ended. The old one stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from uuid_utils.compat import uuid7

from gateway.lookup import NO_JOB
from gateway.ports import Models
from gateway.refusals import NotEnded, UnknownModel
from gateway.submit import Accepted, Submitter
from shared.catalog import Model
from shared.errors import InvalidJob, NotFound
from shared.jobs import NewJob, State


class Repeatable(Protocol):
    """A job as another one is made from it."""

    @property
    def id(self) -> UUID:
        """The job's."""

    @property
    def state(self) -> State:
        """Where it is."""

    @property
    def priority(self) -> int:
        """0 … 10."""

    @property
    def max_attempts(self) -> int:
        """At least 1."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def model_version(self) -> str:
        """Its version."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """As the row keeps them."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Complete."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The caller's."""

    @property
    def destinations(self) -> Mapping[str, str]:
        """Where outputs go."""

    @property
    def timeout_s(self) -> float:
        """Of one attempt."""


class Repeatables(Protocol):
    """Reads jobs to be repeated."""

    async def repeatable(self, tenant: str | None, ids: Sequence[UUID]) -> Sequence[Repeatable]:
        """Those that there are and that are the tenant's; None: anybody's."""


class Retrier:
    """Makes new jobs from ended ones."""

    def __init__(self, catalog: Models, jobs: Repeatables, submitter: Submitter) -> None:
        self._catalog = catalog
        self._jobs = jobs
        self._submitter = submitter

    async def retry(
        self, tenant: str, job_id: UUID, *, idempotency_key: str | None, traceparent: str | None = None
    ) -> Accepted:
        """Accept a job like this one.

        Raises:
            NotFound: This tenant has no such job.
            NotEnded: It has not ended.
            UnknownModel: Its model is not offered any more.
            InvalidJob: Its params do not fit the version that is offered now.
            IdempotencyConflict: The key was used for something else.
            Unavailable: PostgreSQL is away; nothing was accepted.
            OutcomeUnknown: The answer to the commit was lost.
            Misconfigured: The model's queue cannot be used.
        """
        found = await self._jobs.repeatable(tenant, [job_id])
        if not found:
            raise NotFound(NO_JOB)
        return await self.repeat(found[0], idempotency_key=idempotency_key, traceparent=traceparent)

    async def found(self, ids: Sequence[UUID]) -> Sequence[Repeatable]:
        """Those of these jobs that there are, whosever they are."""
        return await self._jobs.repeatable(None, ids)

    async def repeat(
        self, old: Repeatable, *, idempotency_key: str | None, traceparent: str | None = None
    ) -> Accepted:
        """The same for a job that was read."""
        if not old.state.terminal:
            raise NotEnded(f"the job is {old.state}: cancel it first, or wait for its end")
        job = _again(old, self._model(old), idempotency_key, traceparent)
        return await self._submitter.accept(job)

    def _model(self, old: Repeatable) -> Model:
        """The same version, or the newest where that one has left."""
        same, ref = self._catalog.find(f"{old.model}@{old.model_version}"), old.model
        model = same or self._catalog.find(ref)
        if model is None:
            raise UnknownModel([("model", f"there is no model {ref!r} here any more")])
        if same is None and (problems := model.validate_params(old.params)):
            raise InvalidJob(problems)
        return model


def _again(old: Repeatable, model: Model, key: str | None, traceparent: str | None) -> NewJob:
    return NewJob(
        id=uuid7(),
        tenant=old.tenant,
        model=model.name,
        model_version=model.version,
        queue=model.queue,
        priority=old.priority,
        max_attempts=old.max_attempts,
        timeout_s=old.timeout_s,
        inputs=old.inputs,
        params=old.params if old.model_version == model.version else model.fill_params(dict(old.params)),
        metadata=old.metadata,
        destinations=old.destinations,
        idempotency_key=key,
        body_digest=hashlib.sha256(b"retry " + old.id.bytes).digest(),
        retry_of=old.id,
        traceparent=traceparent,
    )
