"""What the routes work with, and how a route asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Path, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer

from gateway.audit import Audit
from gateway.auth import COOKIE, Authenticator
from gateway.bulk.desk import BulkDesk
from gateway.cancel import Canceler
from gateway.feed import Feed
from gateway.links import Links
from gateway.lists.failures import Failures
from gateway.lists.jobs import Lists
from gateway.lists.statistics import Statistics
from gateway.live.hub import Hub
from gateway.lookup import NO_JOB, Lookup
from gateway.operations.accounts import Accounts
from gateway.operations.desk import Desk
from gateway.operations.keyring import Keyring
from gateway.overview.board import Board
from gateway.overview.history import History
from gateway.ports import Holder, Models, Objects
from gateway.refusals import Forbidden
from gateway.retry import Retrier
from gateway.settings import Gateway
from gateway.submit import Submitter
from gateway.tickets import Tickets
from shared.errors import NotFound
from shared.settings import ProcessSettings
from shared.telemetry.tracing import OFF, Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a request may need, opened before the first one comes."""

    settings: Gateway
    tracing: Tracing = OFF
    catalog: Models
    auth: Authenticator
    submitter: Submitter
    lookup: Lookup
    canceler: Canceler
    feed: Feed
    links: Links
    objects: Objects
    desk: Desk
    audit: Audit
    lists: Lists
    retrier: Retrier
    keyring: Keyring
    tickets: Tickets
    effective: ProcessSettings
    board: Board
    hub: Hub
    failures: Failures
    accounts: Accounts
    bulk: BulkDesk
    statistics: Statistics
    history: History


def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


UsedServices = Annotated[Services, Depends(_services)]

_BEARER = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="`Authorization: Bearer lev_…`")
_HEADER = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="ApiKeyHeader", description="The same key"
)
_COOKIE = APIKeyCookie(
    name=COOKIE, auto_error=False, scheme_name="Session", description="What `POST /v1/session` set"
)
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


async def _caller(
    request: Request,
    services: UsedServices,
    _bearer: Annotated[object, Security(_BEARER)],
    _header: Annotated[object, Security(_HEADER)],
    _cookie: Annotated[object, Security(_COOKIE)],
) -> Holder:
    return await services.auth.caller(request.headers, changes=request.method not in SAFE)


Authenticated = Annotated[Holder, Depends(_caller)]


async def _operator(caller: Authenticated) -> Holder:
    if caller.role != "operator":
        raise Forbidden("this is for keys of the role `operator`")
    return caller


Operator = Annotated[Holder, Depends(_operator)]
"""Decided before anything else of the request is looked at."""


def parse_id(text: str, missing: str) -> UUID:
    """An id in a path.

    Raises:
        NotFound: It is none, so nothing has it: `missing`.
    """
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(missing) from None


def parse_job_id(text: str) -> UUID:
    """A job's id; raises NotFound likewise."""
    return parse_id(text, NO_JOB)


def _job_id(
    job_id: Annotated[str, Path(description="The job's id", json_schema_extra={"format": "uuid"})],
) -> UUID:
    return parse_job_id(job_id)


JobId = Annotated[UUID, Depends(_job_id)]
