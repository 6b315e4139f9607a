"""What a caller may ask of a list: filters, pages, and whose jobs."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.ports import Caller
from gateway.refusals import Forbidden
from gateway.schemas import Moment
from shared.jobs import MAX_PRIORITY, State
from shared.listing import Filter, first_id, last_id

MAX_LIMIT = 200
MAX_IDS = 200
MAX_CURSOR = 64
_AGE = re.compile(r"([<>])(\d{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=36500)
_RETRIED = {"yes": True, "no": False}

Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Retried = Literal["yes", "no", "any"]
Scope = Annotated[
    Literal["tenant", "all"],
    Field(description="`all`: the jobs of every tenant, for keys of the role `operator`"),
]


class JobFilter(BaseModel):
    """Which jobs; all that is said must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    state: list[State] = Field(default=[], max_length=len(State), description="One of these")
    model: Text | None = Field(default=None, description="The model's name, whatever the version")
    queue: Text | None = None
    worker: Text | None = Field(default=None, description="Who ran it last")
    error: Text | None = Field(default=None, description="The code of the error it ended with")
    fingerprint: Text | None = Field(
        default=None, description="Of its failure, as `GET /v1/failures` tells it"
    )
    priority: Annotated[int | None, Field(ge=0, le=MAX_PRIORITY)] = None
    retried: Retried | None = Field(
        default=None,
        description="`yes`: a job names it in `retry_of`; `no`: none does; `any`: either. A bulk `retry` "
        "means `no` where this is not said, all else `any`",
    )
    age: str | None = Field(
        default=None,
        pattern=r"^[<>][0-9]{1,9}[smhd]$",
        description="`>5m`: submitted longer ago; `<2h`: more recently",
        examples=[">5m"],
    )
    ended: str | None = Field(
        default=None,
        pattern=r"^[<>][0-9]{1,9}[smhd]$",
        description="`<1h`: ended more recently; `>1d`: ended longer ago",
        examples=["<1h"],
    )
    created_after: Moment | None = Field(default=None, description="Submitted since (RFC 3339)")
    scope: Scope = "tenant"

    def wanted(self, caller: Caller, now: datetime | None = None) -> Filter:
        """The same for the store.

        Raises:
            Forbidden: It asks for every tenant's jobs, with a key of a tenant.
        """
        now = now or datetime.now(UTC)
        newest, oldest = _bounds(self.age, self.created_after, now)
        ended_before, ended_after = _moments(self.ended, now)
        return Filter(
            tenant=tenant_of(caller, self.scope),
            states=frozenset(self.state),
            model=self.model,
            queue=self.queue,
            worker=self.worker,
            error=self.error,
            fingerprint=self.fingerprint,
            priority=self.priority,
            retried=_RETRIED.get(self.retried or "any"),
            newest=newest,
            oldest=oldest,
            ended_before=ended_before,
            ended_after=ended_after,
        )

    def said(self) -> dict[str, Any]:
        """What was said, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True)


class CountQuery(JobFilter):
    """Which jobs to count."""


class ListQuery(JobFilter):
    """Which jobs, and which page of them."""

    id: list[UUID] = Field(default=[], max_length=MAX_IDS, description="One of these")
    cursor: str | None = Field(
        default=None, max_length=MAX_CURSOR, description="`next_cursor` of the page before"
    )
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description="Jobs on a page")

    @field_validator("cursor")
    @classmethod
    def _known(cls, cursor: str | None) -> str | None:
        if cursor is not None:
            read_cursor(cursor)
        return cursor

    @property
    def before(self) -> UUID | None:
        """Only lower ids."""
        return read_cursor(self.cursor) if self.cursor is not None else None

    def wanted(self, caller: Caller, now: datetime | None = None) -> Filter:
        """The same for the store."""
        return replace(super().wanted(caller, now), ids=tuple(self.id))


def tenant_of(caller: Caller, scope: str) -> str | None:
    """Whose jobs to look at; None: everybody's.

    Raises:
        Forbidden: The key may not.
    """
    if scope != "all":
        return caller.tenant
    if caller.role != "operator":
        raise Forbidden("this is for keys of the role `operator`")
    return None


def write_cursor(job_id: UUID) -> str:
    """An id as callers pass it back, not to be taken for one."""
    return base64.urlsafe_b64encode(job_id.bytes).rstrip(b"=").decode()


def read_cursor(text: str) -> UUID:
    """The inverse of write_cursor.

    Raises:
        ValueError: It is none of ours.
    """
    try:
        return UUID(bytes=base64.b64decode(text + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("is no cursor of this list") from None


def _bounds(
    age: str | None, created_after: datetime | None, now: datetime
) -> tuple[UUID | None, UUID | None]:
    """The highest and the lowest id."""
    before, after = _moments(age, now)
    newest = last_id(before) if before else None
    oldest = [first_id(moment) for moment in (created_after, after) if moment]
    return newest, max(oldest, default=None)


def _moments(age: str | None, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Not after, and not before: `>5m` says the first, `<5m` the second."""
    if not age or not (found := _AGE.fullmatch(age)):
        return None, None
    moment = now - min(timedelta(**{_UNITS[found[3]]: int(found[2])}), _LONGEST)
    return (moment, None) if found[1] == ">" else (None, moment)
