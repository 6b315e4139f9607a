"""What a caller is told when a server fails at each step of a submit, and that accepted stays accepted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx2
import pytest

from gateway import submit as submit_module
from gateway.app import create_app
from gateway.audit import Audit
from gateway.auth import Authenticator
from gateway.cancel import Canceler
from gateway.feed import Feed
from gateway.inputs import Inputs
from gateway.links import Links
from gateway.lookup import Lookup
from gateway.operations import desk as operations
from gateway.queues import Queues
from gateway.services import Services
from gateway.settings import Gateway
from gateway.submit import Submitter
from shared.catalog import load_catalog
from shared.errors import LeveretError, Misconfigured, OutcomeUnknown, StoreError, Unavailable
from shared.events import Event
from shared.jobs import NewJob, State
from shared.telemetry.tracing import OFF, Tracing
from tests.fakes.audit import FakeEntries
from tests.fakes.blobs import FakeBlobs
from tests.fakes.broker import FakePublisher
from tests.fakes.bus import FakeBus
from tests.fakes.operations import FakeOperations
from tests.fakes.store import FakeReads
from tests.gateway_process import write_catalog

pytestmark = pytest.mark.anyio

KEY = "lev_" + "k" * 43
FILE = {"image": ("a.png", b"bytes", "image/png")}


@dataclass(frozen=True)
class Holder:
    tenant: str = "acme"
    name: str = "test"
    role: str = "user"
    s3_prefixes: tuple[str, ...] = ()
    key_id: UUID = field(default=UUID(int=1))


@dataclass(frozen=True)
class Submitted:
    id: UUID
    publish_due: datetime | None
    state: State = State.QUEUED
    fresh: bool = True


@dataclass
class Store:
    """Submits, cancels and keys."""

    accepted: list[NewJob] = field(default_factory=list)
    marked: list[UUID] = field(default_factory=list)
    failure: Exception | None = None

    async def submit(self, job: NewJob) -> Submitted:
        if self.failure is not None:
            raise self.failure
        self.accepted.append(job)
        return Submitted(job.id, None if job.delay_s else datetime.now(UTC))

    async def published(self, id: UUID, publish_due: datetime) -> None:  # noqa: A002  as the port says
        assert publish_due
        self.marked.append(id)

    async def find(self, key: str) -> Holder | None:
        return Holder() if key == KEY else None

    async def cancel(self, tenant: str, job_id: UUID) -> Event | None:
        raise NotImplementedError


class Desk:
    """The application over fakes."""

    def __init__(self, models: Path, tracing: Tracing = OFF) -> None:
        self.store, self.publisher, self.blobs, bus = Store(), FakePublisher(), FakeBlobs(), FakeBus()
        self.publisher.confirms.set()
        settings, reads, catalog = Gateway(), FakeReads(), load_catalog(models)
        links, audit = Links(settings.base_url, self.blobs, public_store=True), Audit(FakeEntries())
        lookup = Lookup(reads, bus, links)
        self.submitter = Submitter(
            catalog=catalog,
            inputs=Inputs(self.blobs, "leveret"),
            queues=Queues(self.publisher, catalog.queues),
            store=self.store,
            publisher=self.publisher,
            tracing=tracing,
        )
        services = Services(
            settings=settings,
            tracing=tracing,
            catalog=catalog,
            auth=Authenticator(self.store),
            submitter=self.submitter,
            lookup=lookup,
            canceler=Canceler(self.store, bus, lookup),
            feed=Feed(reads, bus.listener()),
            links=links,
            objects=self.blobs,
            desk=operations.Desk(catalog, FakeOperations(), FakeOperations(), FakeOperations(), audit),
            audit=audit,
            lists=cast("Any", None),  # the real store's
            retrier=cast("Any", None),
            keyring=cast("Any", None),
            tickets=cast("Any", None),
            effective=cast("Any", None),
            board=cast("Any", None),
            hub=cast("Any", None),
            failures=cast("Any", None),
            accounts=cast("Any", None),
            bulk=cast("Any", None),
            statistics=cast("Any", None),
            history=cast("Any", None),
        )
        transport = httpx2.ASGITransport(app=create_app(services))
        headers = {"X-API-Key": KEY}
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    async def submit(self, **fields: Any) -> httpx2.Response:
        return await self.client.post("/v1/jobs", data={"model": "echo"}, files=FILE, **fields)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(write_catalog(tmp_path))


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Unavailable("PostgreSQL is away"), "unavailable"),
        (OutcomeUnknown("the answer was lost"), "outcome_unknown"),
        (Misconfigured("the account is refused"), "misconfigured"),
    ],
)
async def test_what_the_database_fails_with_is_told(desk: Desk, failure: LeveretError, code: str) -> None:
    desk.store.failure = failure
    answer = await desk.submit()
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert int(answer.headers["retry-after"]) > 0
    assert desk.publisher.sent == []


async def test_without_the_object_store_nothing_is_accepted(desk: Desk) -> None:
    desk.blobs.failure = StoreError("S3 took too long")
    answer = await desk.submit()
    assert (answer.status_code, answer.json()["code"]) == (503, "store_error")
    assert desk.store.accepted == []


async def test_bytes_are_stored_before_the_row_and_the_message_follows_it(desk: Desk) -> None:
    answer = await desk.submit()
    assert answer.status_code == 202
    (job,) = desk.store.accepted
    assert desk.blobs.objects[job.inputs["image"]["uri"].removeprefix("s3://leveret/")][0] == b"bytes"
    assert desk.publisher.sent == [("quick", job.id, 5, None)]
    assert desk.store.marked == [job.id]


async def test_a_late_confirm_delays_the_answer_no_longer_than_its_limit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit_module, "CONFIRM_WAIT_S", 0.05)
    desk.publisher.confirms.clear()
    answer = await desk.submit()
    assert answer.status_code == 202
    assert desk.store.marked == []
    # And the publish goes on: the confirm that comes in the end still counts
    desk.publisher.confirms.set()
    await desk.submitter.settle()
    assert desk.store.marked == [desk.store.accepted[0].id]
    assert desk.publisher.cancelled == 0


@pytest.mark.parametrize("failure", [Unavailable("not confirmed"), Misconfigured("refused by the broker")])
async def test_an_accepted_job_stays_accepted_without_its_message(desk: Desk, failure: LeveretError) -> None:
    desk.publisher.failure = failure
    answer = await desk.submit()
    assert answer.status_code == 202
    assert answer.json()["id"] == str(desk.store.accepted[0].id)
    assert desk.store.marked == []


async def test_a_queue_known_to_be_refused_is_refused_before_anything_happens(desk: Desk) -> None:
    desk.publisher.refused["quick"] = Misconfigured("leveret.quick has no priorities")
    answer = await desk.submit()
    assert (answer.status_code, answer.json()["code"]) == (503, "misconfigured")
    assert (desk.store.accepted, desk.blobs.objects) == ([], {})


async def test_a_scheduled_job_has_no_message_yet(desk: Desk) -> None:
    answer = await desk.client.post("/v1/jobs", json={"model": "free", "delay_s": 60})
    assert answer.status_code == 202
    assert answer.json()["run_at"] is not None
    assert desk.publisher.sent == []
    (job,) = desk.store.accepted
    assert job.delay_s == 60


async def test_a_moment_in_the_past_is_now(desk: Desk) -> None:
    body = {"model": "free", "run_at": "2020-01-01T00:00:00Z"}
    assert (await desk.client.post("/v1/jobs", json=body)).status_code == 202
    assert desk.store.accepted[0].delay_s == 0


async def test_a_defect_is_told_without_a_word_of_it(desk: Desk) -> None:
    desk.store.failure = RuntimeError("secret-host refused the password")
    answer = await desk.submit()
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret-host" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_equal_requests_have_equal_digests_and_others_not(desk: Desk) -> None:
    bodies = [
        b'{"model":"free","params":{},"priority":3,"metadata":{"a":1,"b":2}}',
        b'{"metadata": {"b": 2, "a": 1}, "priority": 3, "model": "free", "params": {}}',
        b'{"model":"free","params":{},"priority":3,"metadata":{"a":1,"b":3}}',
        b'{"model":"free@1","params":{},"priority":3,"metadata":{"a":1,"b":2}}',
    ]
    for body in bodies:
        headers = {"Content-Type": "application/json"}
        assert (await desk.client.post("/v1/jobs", content=body, headers=headers)).status_code == 202
    first, same, *others = (job.body_digest for job in desk.store.accepted)
    assert first == same
    assert first not in others


async def test_many_at_once_are_each_accepted_once(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.submit() for _ in range(20)))
    assert len({answer.json()["id"] for answer in answers}) == len(desk.store.accepted) == 20
