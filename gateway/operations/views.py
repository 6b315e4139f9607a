"""What operators are answered, for its description only: answers are written as they come."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.views import Money


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CountsView(_View):
    """Live jobs."""

    waiting: int = Field(description="Could run now")
    running: int
    oldest_s: float | None = Field(description="Age of the one that waits longest; null where none waits")


class PriorityView(CountsView):
    """Live jobs of one priority."""

    priority: int


class ClassesView(_View):
    """Live jobs by the classes of priorities that share a wait objective."""

    high: CountsView = Field(description="Priority 8 to 10")
    normal: CountsView = Field(description="Priority 4 to 7")
    low: CountsView = Field(description="Priority 0 to 3")


class CrewView(_View):
    """The workers of a queue that are heard of."""

    starting: int
    ready: int = Field(description="Taking jobs, the busy ones included")
    busy: int = Field(description="Of the ready ones, those with a job in hand")
    draining: int = Field(description="Finishing what they hold, or asked to")
    slots: int = Field(description="Jobs that the ready ones hold at most")


class LimitsView(_View):
    """What an operator set of a fleet; null: as the scaler's settings say."""

    min: int | None
    max: int | None
    paused: bool = Field(description="The scaler starts nothing and sends nobody away")
    changed_by: str | None = Field(description="The key that set it last, as tenant/name")
    changed_at: AwareDatetime | None


class QueueView(CountsView):
    """A queue."""

    queue: str
    offered: bool = Field(description="Whether a model of the catalog runs there")
    scheduled: int = Field(description="Jobs whose time has not come: `run_at`, or a pause before a retry")
    classes: ClassesView
    priorities: list[PriorityView] = Field(description="Highest first, without the empty ones")
    ended_per_min: float | None = Field(
        description="Jobs that ended, by the last five minutes; null where no attempt ended within the hour"
    )
    in_per_s: float = Field(description="Jobs that came, by the last five minutes")
    out_per_s: float | None = Field(description="As `ended_per_min`, by the second")
    drain_low_s: float | None = Field(
        description="In which all that waits is done at this pace if nothing comes; null where nothing waits "
        "or no pace is known"
    )
    drain_high_s: float | None = Field(
        description="The same if as much comes as lately; null beside a number: it does not drain"
    )
    paused: bool = Field(description="Nothing of it is started; what runs goes on")
    paused_by: str | None = Field(description="The key that holds it, as tenant/name")
    paused_at: AwareDatetime | None
    mean_s: float | None = Field(
        description="For how long a job holds a slot, by the last hour's attempts; null below five of them"
    )
    eta_s: float | None = Field(
        description="In which the workers that are ready now would have done all that waits now; null where "
        "nothing waits, nobody is ready, or `mean_s` is null"
    )
    workers: CrewView
    scaler: LimitsView


class QueuesView(_View):
    """All queues."""

    queues: list[QueueView]


class HeldJobView(_View):
    """A job in a worker's hands, whoever it belongs to."""

    id: str
    model: str
    model_version: str
    attempt: int
    fence: int = Field(description="Rises with every claim and every lost lease; an older one is refused")
    running_s: float
    lease_s: float | None = Field(description="Seconds until its worker must have renewed its hold on it")


class DeviceView(_View):
    """A device of a worker, as of its last heartbeat; null: not known."""

    device: str = Field(examples=["cuda0"])
    kind: str = Field(description="cpu or cuda")
    name: str | None = Field(examples=["NVIDIA L4"])
    utilisation: float | None = Field(
        description="0 to 1: for which share of the time between its last two heartbeats an engine's device "
        "stage was at work"
    )
    memory_used: int | None = Field(
        description="Bytes: of a GPU all that is taken, by whomever; of the CPU what the engines hold"
    )
    memory_total: int | None = Field(description="Bytes: the GPU's; the machine's, or its container's limit")


class LoadedView(_View):
    """A model that a worker's engines hold, ready to run."""

    name: str
    version: str
    engines: int = Field(description="So many of them hold it")
    load_s: float | None = Field(description="How long loading took, in the slowest of them")
    memory: int | None = Field(
        description="Bytes that their processes grew by, or its weights where those are more"
    )


class WorkerView(_View):
    """A worker that has not said goodbye."""

    id: str
    queue: str
    state: Literal["starting", "ready", "draining"] = Field(description="What it last said of itself")
    draining: bool = Field(description="It leaves when it has finished what it holds, or was asked to")
    silent: bool = Field(description="Three heartbeats did not come: nobody knows if it lives")
    slots: int
    busy: int = Field(description="Slots taken, as of its last heartbeat")
    jobs: list[HeldJobView] = Field(description="What it runs, by the jobs' own rows")
    host: str
    device: str
    devices: list[DeviceView] | None = Field(
        description="One for each engine, the first 16; null where it told nothing, as an older version does"
    )
    models: list[LoadedView] | None = Field(description="The first 100 by name; null as for `devices`")
    started_at: AwareDatetime
    since: AwareDatetime = Field(description="When it entered its state")
    heartbeat_s: float = Field(description="Seconds since it was last heard of")


class WorkersView(_View):
    """Who is there."""

    workers: list[WorkerView]


class ActionsView(BaseModel):
    """What was done about a decision."""

    model_config = ConfigDict(extra="allow")

    launch: int = Field(description="Machines to start")
    drain: list[str] = Field(description="Workers asked to leave")
    terminate: list[str] = Field(description="Machines ended: their worker was gone, never came, or is lost")


class DecisionView(_View):
    """A decision of the scaler."""

    id: int
    at: AwareDatetime
    want: int | None = Field(description="Workers aimed at; null: something was unknown, so it held")
    have: int
    reason: str = Field(description="In words")
    actions: ActionsView


class ExplainedView(DecisionView):
    """A decision with all that it rests on."""

    inputs: dict[str, Any] = Field(
        description="Demand by class, workers, machines, the broker's figures, failed launches, learned "
        'times; "unknown" for a part that could not be had'
    )


class ThereView(_View):
    """Who is there now."""

    serving: int = Field(description="Take jobs, or would")
    starting: int = Field(description="Were started and are not ready")
    draining: int = Field(description="Finish what they hold, or were asked to")


Whose = Literal["settings", "order"]


class InForceView(_View):
    """Limits as they held at a look, and whether an operator's order or the scaler's settings said so."""

    min: int
    max: int
    min_by: Whose
    max_by: Whose


class WantedView(_View):
    """A number of workers, before and after the limits."""

    want: int | None = Field(description="Workers aimed at; null: something was unknown, or it is paused")
    asked: int | None = Field(description="Workers that the jobs ask for, before any limit; null: not known")
    bound: Literal["max", "min", "jobs"] | None = Field(
        description="Which limit made `want` another number; `jobs`: no more workers than there are jobs for"
    )


class LookView(WantedView):
    """The scaler's last look."""

    at: AwareDatetime
    since: AwareDatetime = Field(description="Since when every look has found the same")
    fresh: bool = Field(description="False: it does not look any more")


class SpanView(WantedView, InForceView):
    """What one look after the other found without a change."""

    at: AwareDatetime = Field(description="The first of these looks")
    until: AwareDatetime = Field(
        description="The last of them; it held until the next span, if no gap is there"
    )
    gap_before: bool = Field(description="Nobody looked between the span before and this one")
    serving: int | None
    starting: int | None
    leaving: int | None


class FleetHistoryView(_View):
    """How many workers a fleet wanted and had, oldest first; it is kept for eight days."""

    queue: str
    spans: list[SpanView]


class FleetView(LimitsView):
    """A queue's fleet."""

    queue: str
    there: ThereView
    limits: InForceView | None = Field(description="In force; null: no scaler ever looked")
    look: LookView | None = Field(description="The scaler's last one; null: none ever looked")
    latest: DecisionView | None = Field(description="The last decision that changed something, or that held")


class FleetsView(_View):
    """All fleets."""

    fleets: list[FleetView]


class DecisionsView(_View):
    """A page of decisions, newest first."""

    decisions: list[ExplainedView]
    next_cursor: int | None = Field(description="The `cursor` of the next page; null on the last")


class CostView(_View):
    """What was used under one key. Money is decimal digits; what has no price at all is null, never 0."""

    key: str | None = Field(description="Null: what idled where nobody used anything, and the total")
    jobs: int = Field(description="Whose first attempt ended then")
    attempts: int = Field(description="That ended then")
    machine_s: float = Field(description="The attempts' shares of the machines' time, with what still runs")
    gpu_s: float
    used: Money | None = Field(description="What this cost")
    wasted_attempts: int = Field(description="Of the attempts, those that were retried, given back or lost")
    wasted_s: float = Field(description="Their part of `machine_s`")
    wasted: Money | None = Field(description="Their part of `used`")
    idle: Money | None = Field(
        description="What was paid and nobody used; a tenant's or a model's part is by its use. Null for "
        "single jobs, and to keys of the role `user`"
    )
    paid: Money | None = Field(description="`used` and `idle` together")
    paid_s: float | None = Field(description="Machine time that was paid; null where machines are shared")
    per_1000_jobs: Money | None = Field(description="Of `paid`, or of `used` where that is null")
    unpriced_s: float = Field(description="Machine seconds without a known price: the sums leave them out")


class CostsView(_View):
    """What machines cost."""

    by: Literal["tenant", "model", "queue", "day", "job"]
    since: AwareDatetime = Field(description="A whole hour, at or before the one asked for")
    until: AwareDatetime = Field(description="A whole hour, or now")
    currency: str = Field(examples=["USD"])
    rows: list[CostView] = Field(description="The dearest first; days newest first")
    total: CostView = Field(description="Of all rows, also of those left out; of jobs, of those shown")
    partial: bool = Field(description="Rows were left out: above `limit`, or beyond the last 20,000 attempts")
