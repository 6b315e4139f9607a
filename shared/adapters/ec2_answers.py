"""What EC2 answers, in records. Nothing is asked here.

Ages are told by EC2's own clock: its answer's date less the launch's, so that no two clocks are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance that carries our tag.

    Attributes:
        market: ``spot`` or ``on-demand``.
        state: As EC2 names it: pending, running, shutting-down, terminated, stopping, stopped.
        age_s: Seconds since its launch.
        reason: EC2's code for its last change of state, "" where it gives none.
        doomed: EC2 is about to take it back.
    """

    id: str
    type: str
    zone: str
    market: str
    state: str
    age_s: float
    reason: str
    tags: Mapping[str, str]
    doomed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why one offering gave nothing."""

    type: str
    zone: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """What a request came to.

    Attributes:
        repeated: The token was used before, with other parameters: that request counts, and this did nothing.
    """

    ids: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    repeated: bool = False


def instances_of(page: Any) -> Iterator[Instance]:
    """Those on one page of ``DescribeInstances``."""
    now = _said_at(page)
    for reservation in page.get("Reservations", []):
        for entry in reservation.get("Instances", []):
            yield _instance(entry, now)


def _instance(entry: Any, now: datetime) -> Instance:
    return Instance(
        id=entry["InstanceId"],
        type=entry.get("InstanceType", ""),
        zone=entry.get("Placement", {}).get("AvailabilityZone", ""),
        market=entry.get("InstanceLifecycle", "on-demand"),
        state=entry["State"]["Name"],
        age_s=max(0.0, (now - entry["LaunchTime"]).total_seconds()),
        reason=entry.get("StateReason", {}).get("Code", ""),
        tags={tag["Key"]: tag["Value"] for tag in entry.get("Tags", [])},
    )


def _said_at(page: Any) -> datetime:
    """EC2's own time of answering; this machine's where the answer bears none."""
    try:
        said = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)
    return said if said.tzinfo else said.replace(tzinfo=UTC)
