"""The machine bites: with one part of the protocol taken out it finds a run that breaks a promise."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from gateway import relay as relay_module
from gpu_worker.leases import Leases
from gpu_worker.serving import Server
from gpu_worker.worker import Worker
from shared.adapters.store.claims import Refusal
from shared.errors import EngineDied
from shared.jobs import Claim, Evidence, State
from tests.machine import rows
from tests.machine.memory import MemoryStores
from tests.machine.profile import SABOTAGE
from tests.machine.rows import MemoryClaims
from tests.machine.rules import PICK, Machine
from tests.machine.world import World

Patch = pytest.MonkeyPatch


class Stalling(Machine):
    """Workers stall more often, and for longer than their leases: it is for them that there are fences."""

    @precondition(lambda self: self.world.workers)
    @rule(pick=PICK, seconds=st.sampled_from([33.4, 45.7]))
    def stall_worker(self, pick: int, seconds: float) -> None:
        self.pause_worker(pick=pick, drops=True, seconds=seconds, resumes=True)


def without_fence(_: Patch) -> World:
    world = World()
    truth = world.truth
    assert isinstance(truth, MemoryStores)
    truth.table.fenced = False
    return world


def without_relay(_: Patch) -> World:
    return World(relays=False)


def with_early_ack(patch: Patch) -> World:
    async def serve(self: Server, delivery: object) -> None:  # type: ignore[type-arg]
        await self._queue.settle(delivery)
        await self._worker.act_on(delivery)  # type: ignore[arg-type]

    patch.setattr(Server, "_serve", serve)
    return World()


def without_lease_grace(patch: Patch) -> World:
    patch.setattr(relay_module, "LEASE_GRACE_S", 0.0)
    world = World()
    truth = world.truth
    assert isinstance(truth, MemoryStores)
    truth.server_grace_s = 0.0
    return world


def without_renewals(patch: Patch) -> World:
    async def renew(self: Leases) -> None: ...

    patch.setattr(Leases, "renew", renew)
    return World()


def without_marks(patch: Patch) -> World:
    """Nobody is known to be at work: a dying worker charges none of several."""

    def enter(self: MemoryClaims, claim: Claim) -> None: ...

    patch.setattr(MemoryClaims, "enter", enter)
    return World()


def with_marks_at_the_claim(patch: Patch) -> World:
    """Everybody in hand is taken to be at work: a dying worker charges all of them."""
    claim = MemoryClaims.claim

    def claim_and_enter(self: MemoryClaims, job_id: UUID) -> Claim | Refusal:
        answer = claim(self, job_id)
        if isinstance(answer, Claim):
            self.enter(answer)
        return answer

    patch.setattr(MemoryClaims, "claim", claim_and_enter)
    return World()


def with_marks_for_those_in_line(patch: Patch) -> World:
    """Whoever an engine's death is the error of runs alone next, though no engine began with him."""

    def died(_: State, evidence: Evidence) -> bool:
        return evidence.error is not None and evidence.error["code"] == EngineDied.code

    patch.setattr(rows, "_was_at_work", died)
    return World()


def with_claims_taken_up_twice(patch: Patch) -> World:
    """Two copies of a message whose claims' answers were lost: each takes the row's claim for its own."""

    async def recovered(self: Worker, job_id: UUID) -> Claim | None:
        return await self._claims.recover(job_id)

    patch.setattr(Worker, "_recovered", recovered)
    return World()


def with_two_winners(patch: Patch) -> World:
    """A row that runs can be claimed as one that is queued."""
    claim = MemoryClaims.claim

    def claim_anyway(self: MemoryClaims, job_id: UUID) -> Claim | Refusal:
        row = self._table.rows.get(job_id)
        runs = row is not None and row.state is State.RUNNING and row.ref in self._models
        return row.claim() if row is not None and runs else claim(self, job_id)

    patch.setattr(MemoryClaims, "claim", claim_anyway)
    return World()


@pytest.mark.parametrize(
    ("sabotage", "promise"),
    [
        (without_fence, "stale|of the fences|runs one claim twice"),
        (without_relay, "lost"),
        (with_early_ack, "acknowledged, and nobody owns"),
        (without_lease_grace, "which lives and renews"),
        (without_renewals, "which lives and renews"),
        (without_marks, "was at work in a worker that died, and is not blamed"),
        (with_marks_at_the_claim, "blamed, and was in no engine"),
        (with_marks_for_those_in_line, "is to run alone, and was in no engine"),
        (with_claims_taken_up_twice, "runs one claim twice"),
        (with_two_winners, "runs one claim twice"),
    ],
)
def test_a_protocol_less_one_part_is_found_out(
    sabotage: Callable[[Patch], World], promise: str, monkeypatch: Patch
) -> None:
    class Sabotaged(Stalling if sabotage is without_fence else Machine):  # type: ignore[misc]
        make_world = staticmethod(lambda: sabotage(monkeypatch))

    with pytest.raises(AssertionError, match=promise):
        run_state_machine_as_test(Sabotaged, settings=settings(SABOTAGE))
