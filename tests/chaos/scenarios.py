"""Short runs, one promise each: clean with it, and not without it. For `--sabotage` and `--control`."""

from __future__ import annotations

from tests.chaos.plan import Appointment, Plan


def _every(kind: str, times: int, *, first: float, step: float) -> list[Appointment]:
    return [Appointment(first + step * number, kind) for number in range(times)]


def _plan(*groups: list[Appointment], seconds: float, settle_s: float = 60, restless: float = 0.0) -> Plan:
    found = sorted(each for group in groups for each in group)
    return Plan(
        seconds=seconds, appointments=tuple(found), rate=25, clients=16, backlog=120,
        settle_s=settle_s, restless=restless, least=1, each_needs_victims=False, overlap=0, floor=100,
    )  # fmt: skip


NOTICED_BY = {
    "fence": "result committed twice",
    "late-ack": "lost",
    "relay": "lost",
    "resync": "terminal event missed",
}
"""The column that a promise's absence must show in: any other may be an accident."""

SCENARIOS = {
    # A worker that slept through its lease wakes up and commits what somebody else commits as well.
    "fence": _plan(_every("worker paused 28 s", 2, first=2, step=0.5), seconds=36, settle_s=30),
    # Workers die between a message's arrival and its claim, which a slow PostgreSQL draws out.
    "late-ack": _plan(
        _every("postgres slow", 6, first=3, step=3),
        _every("worker kill -9", 6, first=4, step=2.5),
        seconds=22,
        settle_s=25,
    ),
    "relay": _plan(_every("worker kill -9", 2, first=3, step=4), seconds=12, settle_s=30),
    "resync": _plan(
        _every("redis pub/sub killed", 4, first=3, step=1.5),
        _every("redis black hole 8 s", 1, first=9, step=1),
        seconds=20,
        settle_s=15,
    ),
}
