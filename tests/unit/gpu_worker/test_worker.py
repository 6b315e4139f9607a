"""The worker decides by the row, and acknowledges only what is committed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from gpu_worker import worker as worker_module
from gpu_worker.announcer import Announcer
from gpu_worker.engine.calls import EngineCall
from gpu_worker.execution import Execution
from gpu_worker.gate import Gate
from gpu_worker.hold import Hold, Stop
from gpu_worker.leases import Leases
from gpu_worker.worker import Worker
from shared.catalog import Model
from shared.errors import AlgorithmError, OutcomeUnknown, StoreError, Unavailable, Unstorable
from shared.events import EventType
from shared.jobs import Claim, State
from shared.messages import encode_hint
from tests.fakes.worker import (
    FakeAttempts,
    FakeDeadLetters,
    FakeEngine,
    FakeObjects,
    FakeReads,
    FakeRefusal,
    FakeVoice,
)
from tests.unit.gpu_worker.claims import claim, model

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Message:
    body: bytes


@dataclass
class House:
    """A worker among fakes."""

    scratch: Path
    attempts: FakeAttempts = field(default_factory=FakeAttempts)
    engine: FakeEngine = field(default_factory=FakeEngine)
    objects: FakeObjects = field(default_factory=FakeObjects)
    bus: FakeVoice = field(default_factory=FakeVoice)
    reads: FakeReads = field(default_factory=FakeReads)
    dead: FakeDeadLetters = field(default_factory=FakeDeadLetters)

    def __post_init__(self) -> None:
        self.engine.go.set()
        self.announcer = Announcer(self.bus, self.reads)
        self.leases = Leases(self.attempts)
        self.gate = Gate()
        self.worker = Worker(
            claims=self.attempts,
            attempts=self.attempts,
            leases=self.leases,
            models={"echo@1": model()},
            execution=self.execution,
            announcer=self.announcer,
            dead_letters=self.dead,
        )

    def execution(self, hold: Hold, model: Model) -> Execution:
        tell = partial(self.announcer.tell_progress, hold.claim)
        return Execution(hold, model, self.engine, self.gate, self.objects, self.scratch, tell)

    async def receive(self, job: Claim) -> None:
        await self.worker.act_on(Message(encode_hint(job.id)))
        await self.announcer.settle()

    def told(self) -> list[EventType]:
        return [event.type for _, event, _ in self.bus.announced]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "STORE_AGAIN_BASE_S", 0.0)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_a_queued_job_is_run_committed_and_announced(house: House) -> None:
    row = house.attempts.add(claim())

    await house.receive(row.claim)

    assert row.state is State.SUCCEEDED
    assert house.told()[-1] is EventType.SUCCEEDED
    assert set(house.told()) == {EventType.RUNNING, EventType.PROGRESS, EventType.SUCCEEDED}
    assert house.objects.stored == {f"s3://leveret/acme/{row.claim.id}/1/text.txt": b"done"}
    assert row.evidence is not None
    assert row.evidence.log == "printed\n"
    assert set(row.evidence.timings) == {"queue_s", "fetch_s", "turn_s", "infer_s", "store_s", "batch_size"}
    assert house.worker.busy == 0
    assert list(house.scratch.iterdir()) == []


async def test_an_attempt_that_is_canceled_by_nobody_is_repeated(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def canceled(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(house.engine, "run", canceled)
    row = house.attempts.add(claim())

    await house.receive(row.claim)

    assert row.state is State.WAITING
    assert house.told()[-1] is EventType.RETRYING


async def test_a_second_copy_of_a_message_runs_nothing(house: House) -> None:
    row = house.attempts.add(claim())
    await house.receive(row.claim)

    await house.receive(row.claim)

    assert house.attempts.calls.count("finish") == 1


async def test_a_model_that_is_offered_since_the_claim_is_claimed_again(house: House) -> None:
    """Between the statement and its answer the catalog changed; the message must not be given away."""
    row = house.attempts.add(claim())
    house.attempts.known = ()
    asked = house.attempts.claim

    async def late(job_id: UUID) -> Claim | FakeRefusal:
        answer = await asked(job_id)
        house.attempts.known = ("echo@1",)
        return answer

    house.attempts.claim = late  # type: ignore[method-assign]

    await house.receive(row.claim)

    assert row.state is State.SUCCEEDED
    assert "defer" not in house.attempts.calls


async def test_a_running_job_is_doubted_and_not_touched(house: House) -> None:
    row = house.attempts.add(claim(), State.RUNNING)

    await house.receive(row.claim)

    assert house.attempts.calls == ["claim", "doubt"]
    assert not house.engine.started.is_set()


async def test_a_waiting_job_is_left_to_the_relay(house: House) -> None:
    row = house.attempts.add(claim(), State.WAITING)

    await house.receive(row.claim)

    assert house.attempts.calls == ["claim"]


async def test_a_model_that_is_not_known_here_waits_for_another_worker(house: House) -> None:
    row = house.attempts.add(claim(model_version="9"))

    await house.receive(row.claim)

    assert row.state is State.WAITING
    assert house.told() == [EventType.RETRYING]


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b'{"v":2,"job_id":"x"}', b'{"v":1,"job_id":"nope"}']
)
async def test_garbage_is_buried_with_its_reason(house: House, body: bytes) -> None:
    await house.worker.act_on(Message(body))

    assert [(buried, "not a hint" in reason) for buried, reason in house.dead.buried] == [(body, True)]
    assert house.attempts.calls == []


async def test_a_hint_without_a_row_is_buried(house: House) -> None:
    await house.worker.act_on(Message(encode_hint(uuid7())))

    assert [reason for _, reason in house.dead.buried] == ["no such job"]


async def test_an_algorithm_that_raises_fails_its_job_with_evidence(house: House) -> None:
    def fail(call: EngineCall) -> None:
        call.spent.update(prepare_s=0.5, infer_s=0.25, batch_size=2)
        raise AlgorithmError("no face", exception="ValueError", traceback="File …")

    house.engine.does = fail
    row = house.attempts.add(claim())

    await house.receive(row.claim)

    assert row.state is State.FAILED
    assert row.evidence is not None
    assert row.evidence.error is not None
    assert row.evidence.error["code"] == "algorithm_error"
    assert row.evidence.error["traceback"] == "File …"
    told = {"prepare_s": 0.5, "infer_s": 0.25, "batch_size": 2}
    assert row.evidence.timings.items() >= told.items()
    assert row.evidence.log == "printed\n"
    kept = house.bus.announced[-1][2]
    assert kept is not None
    assert "traceback" not in json.loads(kept)["error"]


async def test_a_store_that_fails_makes_the_job_wait(house: House) -> None:
    house.objects.failures = [StoreError("S3 is away")]
    row = house.attempts.add(claim(inputs={"text": {"uri": "s3://leveret/acme/uploads/x"}}))

    await house.receive(row.claim)

    assert row.state is State.WAITING
    assert house.told()[-1] is EventType.RETRYING


async def test_postgresql_being_away_costs_neither_message_nor_result(house: House) -> None:
    row = house.attempts.add(claim())
    house.attempts.failures = [Unavailable("away")] * 3

    await house.receive(row.claim)
    assert row.state is State.SUCCEEDED

    other = house.attempts.add(claim())
    house.engine.does = lambda _: house.attempts.failures.extend([Unavailable("away")] * 3)
    await house.receive(other.claim)
    assert other.state is State.SUCCEEDED
    assert house.attempts.calls.count("finish") == 5


async def test_a_claim_whose_answer_was_lost_is_found_again_and_run_once(house: House) -> None:
    row = house.attempts.add(claim())
    house.attempts.lost = 1

    await house.receive(row.claim)

    assert row.state is State.SUCCEEDED
    assert house.attempts.calls == ["claim", "claim", "recover", "finish"]


async def test_a_lost_answer_is_remembered_through_an_outage(house: House) -> None:
    row = house.attempts.add(claim())
    house.attempts.lost = 1
    house.attempts.failures = [Unavailable("away")]
    house.attempts.after = [Unavailable("away"), Unavailable("away")]

    await house.receive(row.claim)

    assert row.state is State.SUCCEEDED
    assert "doubt" not in house.attempts.calls


async def test_a_second_copy_whose_answer_was_lost_does_not_run_what_is_in_hand(house: House) -> None:
    house.engine.go.clear()
    row = house.attempts.add(claim())
    receiving = asyncio.create_task(house.receive(row.claim))
    await house.engine.started.wait()
    house.attempts.failures = [OutcomeUnknown("lost")]

    await house.receive(row.claim)

    assert house.attempts.calls[-1] == "doubt"
    house.engine.go.set()
    await receiving
    assert house.attempts.calls.count("finish") == 1


async def test_a_commit_whose_answer_was_lost_is_announced_once(house: House) -> None:
    row = house.attempts.add(claim())
    house.engine.does = lambda _: setattr(house.attempts, "lost", 1)

    await house.receive(row.claim)

    assert row.state is State.SUCCEEDED
    assert house.attempts.calls == ["claim", "finish", "finish", "left"]
    assert house.told().count(EventType.SUCCEEDED) == 1


async def test_a_claim_that_never_happened_is_made_again(house: House) -> None:
    row = house.attempts.add(claim())
    house.attempts.failures = [OutcomeUnknown("lost on the way there")]

    await house.receive(row.claim)

    assert row.state is State.SUCCEEDED
    assert house.attempts.calls == ["claim", "claim", "finish"]


async def test_what_postgresql_refuses_as_data_fails_the_job_and_not_the_worker(house: House) -> None:
    house.engine.does = lambda _: house.attempts.failures.append(Unstorable("invalid input"))
    row = house.attempts.add(claim())

    await house.receive(row.claim)

    assert row.state is State.FAILED
    assert row.evidence is not None
    assert row.evidence.error is not None
    assert row.evidence.error["code"] == "internal_error"


async def test_a_message_that_cannot_even_be_buried_does_not_end_the_worker(house: House) -> None:
    house.dead.refused = True
    await house.worker.act_on(Message(b"garbage"))
    assert house.dead.buried == []


async def test_a_job_claimed_while_the_worker_gives_back_is_given_back_as_well(house: House) -> None:
    house.engine.go.clear()
    row = house.attempts.add(claim())
    house.worker.give_back()

    await house.receive(row.claim)

    assert row.state is State.QUEUED


async def test_a_stale_worker_discards_its_result(house: House) -> None:
    row = house.attempts.add(claim())

    def lose(_: EngineCall) -> None:
        row.fence += 1

    house.engine.does = lose

    await house.receive(row.claim)

    assert row.state is State.RUNNING
    assert EventType.SUCCEEDED not in house.told()


async def test_redis_being_away_fails_no_job(house: House) -> None:
    house.bus.away = True
    row = house.attempts.add(claim())

    await house.receive(row.claim)

    assert row.state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("reason", "state"),
    [(Stop.CANCELED, State.CANCELED), (Stop.RELEASED, State.QUEUED), (Stop.LOST, State.RUNNING)],
)
async def test_a_running_job_stops_when_asked(house: House, reason: Stop, state: State) -> None:
    house.engine.go.clear()
    row = house.attempts.add(claim())
    receiving = asyncio.create_task(house.receive(row.claim))
    await house.engine.started.wait()
    assert house.worker.busy == 1

    house.leases.ask_all(reason)
    await receiving

    assert row.state is state
    assert house.worker.busy == 0


async def test_a_renewal_that_names_a_job_no_more_stops_it(house: House) -> None:
    house.engine.go.clear()
    row = house.attempts.add(claim())
    receiving = asyncio.create_task(house.receive(row.claim))
    await house.engine.started.wait()

    row.fence += 1
    await house.leases.renew()
    await receiving

    assert "finish" not in house.attempts.calls
