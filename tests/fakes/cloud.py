"""A cloud in memory, on a simulated clock, that misbehaves as the real one is documented to.

| Behaviour | Where EC2's documentation says so |
|---|---|
| An instant fleet answers with what it launched and, offering by offering, why not | [CreateFleet] |
| `InsufficientInstanceCapacity`, `MaxSpotInstanceCountExceeded`, `VcpuLimitExceeded` | [errors] |
| The same client token launches once; with other parameters it is refused | [token] |
| What was launched is not on the list at once | [consistency] |
| Calls above the rate are refused: `RequestLimitExceeded` | [throttling] |
| An instance may end during its launch: `Server.InternalError`, `Client.InternalError` | [StateReason] |
| A spot instance is taken back: `Server.SpotInstanceTermination`, the notice is best effort | [spot] |
| Before that its request's status says so: `marked-for-termination`, as best effort | [status] |
| What ended stays on the list for about an hour | [terminate] |
| One wrong id and none is terminated | [TerminateInstances] |
| A whole zone may fail, and takes its instances with it | [zones] |
| A boot takes minutes, and now and then much longer | no page says how long; the scaler learns it |

[CreateFleet]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleetError.html
[errors]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
[token]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Run_Instance_Idempotency.html
[consistency]: https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
[throttling]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/query-api-troubleshooting.html
[StateReason]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
[spot]: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
[status]: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
[terminate]: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/terminating-instances.html
[TerminateInstances]: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html
[zones]: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-regions-availability-zones.html
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.adapters.ec2_answers import Instance, Launched, Refusal
from shared.errors import OutcomeUnknown, Unavailable
from tests.fakes.clock import FakeClock

LISTED_S = 3600.0
NOTICE_S = 120.0
Place = tuple[str, str, str]
"""Type, zone, market."""


@dataclass(kw_only=True)
class Habits:
    """What the cloud does when nothing special is going on.

    Attributes:
        boot_s: From launch to ready worker: uniform between these.
        tail: Share of the boots that take four times as long.
        failing: Share of the launches that end while they boot.
        silent: Share of the launches whose worker is never heard of.
        visible_s: After so long a launch is on the list.
    """

    boot_s: tuple[float, float] = (120.0, 240.0)
    tail: float = 0.0
    failing: float = 0.10
    silent: float = 0.02
    visible_s: float = 8.0


@dataclass(kw_only=True)
class FakeInstance:
    """A machine: what became of it, and what is fated."""

    id: str
    place: Place
    launched: float
    ready: float
    """When its worker is heard of first; infinity for one that never is."""
    dies: float = float("inf")
    state: str = "running"
    reason: str = ""
    ended: float = float("inf")
    doomed: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self.state == "running"

    def end(self, now: float, reason: str) -> None:
        if self.alive:
            self.state, self.reason, self.ended = "terminated", reason, now


class Killed(BaseException):
    """The process that asked is gone: nothing catches this."""


class FakeCloud:
    """Satisfies `scaler.fleet.ec2.Cloud` and `scaler.fleet.inventory.Lister`. Seeded.

    Attributes:
        away: Calls that are not answered: ``launch``, ``list``, ``terminate``.
        throttled: Calls that are refused for their rate.
        lose_answers: So many launches happen, and nobody hears of it.
        kill_caller: The next launch happens, and its caller is no more.
        room: Machines that a place has left; without bound where it is not named.
        lost: Zones that have failed.
        quota: Machines of a market at most.
        wrong: A refusal that is the same everywhere: the launch template, a permission.
        broken: The image's workers end at once, or never start (``dies``, ``silent``).
        calls: What was asked, by name.
    """

    def __init__(self, clock: FakeClock, habits: Habits | None = None, seed: int = 1) -> None:
        self.clock = clock
        self.habits = habits or Habits()
        self.random = random.Random(seed)  # noqa: S311  guards nothing
        self.instances_by_id: dict[str, FakeInstance] = {}
        self.away: set[str] = set()
        self.throttled: set[str] = set()
        self.lose_answers = 0
        self.kill_caller = False
        self.room: dict[Place, int] = {}
        self.lost: set[str] = set()
        self.quota: dict[str, int] = {}
        self.wrong = ""
        self.broken = ""
        self.calls: Counter[str] = Counter()
        self.launched_at: list[float] = []
        self.terminated: list[str] = []
        self._tokens: dict[str, tuple[object, Launched]] = {}
        self._numbers = itertools.count(1)

    @property
    def alive(self) -> list[FakeInstance]:
        return [instance for instance in self.instances_by_id.values() if instance.alive]

    async def launch(
        self,
        *,
        token: str,
        count: int,
        market: str,
        places: Sequence[tuple[str, str]],
        template: str,
        tags: Mapping[str, str],
    ) -> Launched:
        """As `shared.adapters.ec2.Ec2.launch`; a token seen before answers as it did then."""
        assert len(token) <= 64
        self._ask("launch", OutcomeUnknown)
        request = (count, market, tuple(places), template, tuple(sorted(tags.items())))
        if token not in self._tokens:
            self._tokens[token] = (request, self._launch(count, market, places, tags))
        before, answer = self._tokens[token]
        if self.kill_caller:
            self.kill_caller = False
            raise Killed
        if self.lose_answers:
            self.lose_answers -= 1
            raise OutcomeUnknown("EC2 took too long over CreateFleet")
        return answer if before == request else Launched(repeated=True)

    async def instances(self) -> Sequence[Instance]:
        """As `shared.adapters.ec2.Ec2.instances`."""
        self._ask("list", Unavailable)
        return [self._shown(each) for each in self.instances_by_id.values() if self._is_listed(each)]

    async def terminate(self, ids: Sequence[str]) -> None:
        """As `shared.adapters.ec2.Ec2.terminate`."""
        self._ask("terminate", Unavailable)
        for name in ids:
            self.terminated.append(name)
            self.instances_by_id[name].end(self.clock.now(), "Client.UserInitiatedShutdown")

    def live(self) -> None:
        """What time brings: boots that fail, zones that are gone."""
        now = self.clock.now()
        for instance in self.alive:
            if now >= instance.dies or instance.place[1] in self.lost:
                reason = "Server.SpotInstanceTermination" if instance.doomed else "Server.InternalError"
                instance.end(now, reason)

    def interrupt(self, instance: FakeInstance) -> None:
        """Take a spot instance back, without a notice: they are best effort."""
        instance.end(self.clock.now(), "Server.SpotInstanceTermination")

    def warn(self, instance: FakeInstance) -> None:
        """Announce that a spot instance is taken back, and do so when the notice is over."""
        instance.doomed = True
        instance.dies = min(instance.dies, self.clock.now() + NOTICE_S)

    def plant(self, name: str, tags: Mapping[str, str]) -> FakeInstance:
        """Somebody else starts a machine with our tag."""
        now = self.clock.now()
        self.instances_by_id[name] = FakeInstance(
            id=name, place=("small", "a", "on-demand"), launched=now, ready=float("inf"), tags=tags
        )
        return self.instances_by_id[name]

    def _ask(self, call: str, lost: type[OutcomeUnknown | Unavailable]) -> None:
        self.calls[call] += 1
        if call in self.away:
            raise lost(f"EC2 is away: ConnectTimeoutError in {call}")
        if call in self.throttled:
            raise lost(f"EC2 refused {call}: RequestLimitExceeded")

    def _launch(
        self, count: int, market: str, places: Sequence[tuple[str, str]], tags: Mapping[str, str]
    ) -> Launched:
        ids: list[str] = []
        refusals = []
        for name, zone in places:
            granted, code = self._grant((name, zone, market), count - len(ids))
            ids += [self._start((name, zone, market), tags) for _ in range(granted)]
            if code and len(ids) < count:
                refusals.append(Refusal(type=name, zone=zone, code=code, message=f"{code}: fake"))
        return Launched(ids=tuple(ids), refusals=tuple(refusals))

    def _grant(self, place: Place, wanted: int) -> tuple[int, str]:
        _, zone, market = place
        if self.wrong:
            return 0, self.wrong
        if zone in self.lost:
            return 0, "InsufficientInstanceCapacity"
        running = sum(instance.place[2] == market for instance in self.alive)
        left = self.quota.get(market, running + wanted) - running
        if left < wanted:
            code = "MaxSpotInstanceCountExceeded" if market == "spot" else "VcpuLimitExceeded"
            return max(0, left), code
        room = self.room.get(place, wanted)
        granted = min(room, wanted)
        if place in self.room:
            self.room[place] -= granted
        return granted, "InsufficientInstanceCapacity" if granted < wanted else ""

    def _start(self, place: Place, tags: Mapping[str, str]) -> str:
        now, habits, name = self.clock.now(), self.habits, f"i-{next(self._numbers):08x}"
        boot_s = self.random.uniform(*habits.boot_s) * (4 if self.random.random() < habits.tail else 1)
        fate = self.random.random()
        instance = FakeInstance(id=name, place=place, launched=now, ready=now + boot_s, tags=dict(tags))
        if self.broken == "dies" or fate < habits.failing:
            instance.ready, instance.dies = float("inf"), now + boot_s / 2
        elif self.broken == "silent" or fate < habits.failing + habits.silent:
            instance.ready = float("inf")
        self.instances_by_id[name] = instance
        self.launched_at.append(now)
        return name

    def _is_listed(self, instance: FakeInstance) -> bool:
        now = self.clock.now()
        return instance.launched + self.habits.visible_s <= now < instance.ended + LISTED_S

    def _shown(self, instance: FakeInstance) -> Instance:
        name, zone, market = instance.place
        return Instance(
            id=instance.id,
            type=name,
            zone=zone,
            market=market,
            state=instance.state,
            age_s=self.clock.now() - instance.launched,
            reason=instance.reason,
            tags=instance.tags,
            doomed=instance.doomed and instance.alive,
        )
