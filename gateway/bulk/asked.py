"""What a caller says of an action on many jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.lists.asked import JobFilter
from gateway.ports import Caller
from gateway.refusals import EmptyFilter
from shared.jobs import MAX_PRIORITY, State
from shared.listing import FAILED, LIVE, Filter

MAX_IDS = 1000

Action = Literal["retry", "cancel", "prioritise"]

TAKES: Mapping[str, frozenset[State]] = {
    "retry": frozenset(State) - LIVE,
    "cancel": LIVE,
    "prioritise": frozenset({State.WAITING, State.QUEUED}),
}
"""What an action can be done to."""
MEANT: Mapping[str, frozenset[State]] = {**TAKES, "retry": FAILED | {State.CANCELED}}
"""What it is done to where no state is said: nobody repeats what succeeded without saying so."""


class BulkFilter(JobFilter):
    """Which jobs; something must be said besides `scope`."""

    ids: list[UUID] = Field(default=[], max_length=MAX_IDS, description="These, as far as the rest holds")

    def wanted(self, caller: Caller, now: datetime | None = None) -> Filter:
        """The same for the store."""
        return replace(super().wanted(caller, now), ids=tuple(self.ids))


class BulkRequest(BaseModel):
    """An action on many jobs."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    action: Action
    filter: BulkFilter
    priority: Annotated[
        int | None, Field(ge=0, le=MAX_PRIORITY, strict=True, description="For `prioritise`, and there only")
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> BulkRequest:
        if (self.priority is not None) != (self.action == "prioritise"):
            raise ValueError("priority goes with prioritise, and prioritise with it")
        if wrong := frozenset(self.filter.state) - TAKES[self.action]:
            raise ValueError(f"{self.action} cannot be done to jobs that are {', '.join(sorted(wrong))}")
        return self

    def settled(self) -> BulkFilter:
        """The filter with the states that are meant; a retry leaves out what was retried, unless told to.

        Raises:
            EmptyFilter: It names nothing.
        """
        if not self.filter.said().keys() - {"scope", "retried"}:
            raise EmptyFilter("say which jobs: a state, a model, a queue, ids, …")
        states = self.filter.state or sorted(MEANT[self.action])
        retried = self.filter.retried or ("no" if self.action == "retry" else None)
        return self.filter.model_copy(update={"state": list(states), "retried": retried})


class BulkStart(BaseModel):
    """The word to begin."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    confirm: str | None = Field(
        default=None, max_length=255, description="`confirm_word`, where it is needed"
    )


def confirm_word(action: str, said: Mapping[str, Any]) -> str:
    """What is to be typed: the name of what it is done to, as far as there is one."""
    return str(said.get("queue") or said.get("model") or said.get("error") or action)
