"""EC2: machines are asked for, listed and ended. The only room beside `blobs` where aioboto3 may be imported.

What of the Amazon EC2 API Reference and User Guide this rests on:

- ``CreateFleet`` of type ``instant`` answers at once with what it launched and, offering by offering, why not
  (API_CreateFleet, API_CreateFleetError): what is missing is asked less launched.
- The same client token launches once; with other parameters it is refused by ``IdempotentParameterMismatch``
  ("Ensuring idempotency in Amazon EC2 API requests"), which proves that the first request arrived.
- What was launched may be invisible for a while ("Eventual consistency in the Amazon EC2 API").
- Terminated instances are listed for about an hour ("Terminate Amazon EC2 instances").
- ``TerminateInstances`` ends none if one of the ids is wrong (API_TerminateInstances).
- The status of a spot instance's request tells that it is about to be taken back: ``marked-for-termination``,
  ``marked-for-stop`` ("Spot request status"); as best effort as the notice itself. A rebalance recommendation
  is told to the instance and to EventBridge only ("EC2 instance rebalance recommendations").
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aioboto3
import aiohttp
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.adapters.ec2_answers import Instance, Launched, Refusal, instances_of
from shared.errors import Misconfigured, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from types_aiobotocore_ec2 import EC2Client
    from types_aiobotocore_ec2.type_defs import FilterTypeDef

log = structlog.get_logger()

OWNER_TAG = "leveret:fleet"
"""Only what carries it, with this deployment's name, is ours."""
MARKED = ("marked-for-termination", "marked-for-stop")
PAGE = 500
TRIES = 3
CONNECT_S = 3.0
ANSWER_S = 4.5
"""For a list or an end: below what the scaler grants a question."""
LAUNCH_S = 40.0
"""An instant fleet answers when all of its instances are asked for."""

_THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException"})
_UNKNOWN_ID = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})
_REPEATED = "IdempotentParameterMismatch"
_ID = re.compile(r"\bi-[0-9a-f]+\b")


class Ec2:
    """One deployment's instances.

    Args:
        owner: The deployment's name, the value of the tag by which its instances are known.
        subnets: By zone; "" is the zone's default one.
    """

    def __init__(self, client: EC2Client, *, owner: str, subnets: Mapping[str, str]) -> None:
        self._client = client
        self._owner = owner
        self._subnets = subnets
        self._zones = {subnet: zone for zone, subnet in subnets.items() if subnet}
        self._marked: frozenset[str] = frozenset()
        self._unheard = False

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
        """Ask for instances, all on one market.

        Args:
            token: Up to 64 ASCII characters; the same one launches once.
            count: Of instances.
            market: ``spot`` or ``on-demand``.
            places: Any of these (type, zone) will do.
            template: The launch template's name; its default version is used.
            tags: Of the instances, beside the owner's.

        Raises:
            OutcomeUnknown: No answer, or a fault of the server: repeat with the same token.
            Unavailable: Refused.
        """
        request: dict[str, Any] = {
            "Type": "instant",
            "ClientToken": token,
            "LaunchTemplateConfigs": [_template(template, map(self._place, places))],
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": market,
            },
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": _tags({**tags, OWNER_TAG: self._owner})}
                for kind in ("instance", "fleet")
            ],
        }
        try:
            with _translated("CreateFleet", changes=True):
                async with asyncio.timeout(LAUNCH_S):
                    answer = await self._client.create_fleet(**request, **_strategy(market))
        except _RepeatedError:
            return Launched(repeated=True)
        groups = answer.get("Instances", [])
        ids = tuple(name for group in groups for name in group.get("InstanceIds", []))
        return Launched(ids=ids, refusals=tuple(map(self._refusal, answer.get("Errors", []))))

    async def instances(self) -> list[Instance]:
        """Everything that carries this deployment's tag, those that ended within the hour included.

        Raises:
            Unavailable: EC2 did not list them, or not all of them in time.
        """
        until = asyncio.get_running_loop().time() + ANSWER_S
        found = await self._list()
        if any(each.market == "spot" and each.state == "running" for each in found):
            await self._look_for_notices(until)
        return [replace(each, doomed=each.id in self._marked) for each in found]

    async def _list(self) -> list[Instance]:
        found: list[Instance] = []
        with _translated("DescribeInstances"):
            pages = self._client.get_paginator("describe_instances").paginate(
                Filters=[{"Name": f"tag:{OWNER_TAG}", "Values": [self._owner]}],
                PaginationConfig={"PageSize": PAGE},
            )
            async with asyncio.timeout(ANSWER_S):
                async for page in pages:
                    found += instances_of(page)
        return found

    async def _look_for_notices(self, until: float) -> None:
        """Notices are best effort: where they can't be had the last ones stand, and the list is as good."""
        asked: list[FilterTypeDef] = [{"Name": "status-code", "Values": [*MARKED]}]
        try:
            with _translated("DescribeSpotInstanceRequests"):
                async with asyncio.timeout_at(until):
                    answer = await self._client.describe_spot_instance_requests(Filters=asked)
        except Unavailable as error:
            if not self._unheard:
                log.warning("ec2.no_notices", why=str(error))
            self._unheard = True
            return
        self._unheard = False
        self._marked = frozenset(
            r["InstanceId"] for r in answer["SpotInstanceRequests"] if r.get("InstanceId")
        )

    async def terminate(self, ids: Sequence[str]) -> None:
        """End instances; those that EC2 does not know (yet, or any more) are left out.

        Raises:
            Unavailable: EC2 did not take the request.
        """
        left = list(ids)
        while left:
            with _translated("TerminateInstances"):
                async with asyncio.timeout(ANSWER_S):
                    left = await self._terminate(left)

    async def _terminate(self, ids: list[str]) -> list[str]:
        """The ids to try again without those that are unknown: one of them and none is ended."""
        try:
            await self._client.terminate_instances(InstanceIds=ids)
        except ClientError as error:
            unknown = set(_ID.findall(str(error)))
            if _code(error) not in _UNKNOWN_ID or not unknown.intersection(ids):
                raise
            return [name for name in ids if name not in unknown]
        return []

    def _place(self, place: tuple[str, str]) -> dict[str, str]:
        name, zone = place
        subnet = self._subnets.get(zone)
        return {"InstanceType": name} | ({"SubnetId": subnet} if subnet else {"AvailabilityZone": zone})

    def _refusal(self, error: Any) -> Refusal:
        place = error.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
        zone = place.get("AvailabilityZone") or self._zones.get(place.get("SubnetId", ""), "")
        return Refusal(
            type=place.get("InstanceType", ""),
            zone=zone,
            code=error.get("ErrorCode", ""),
            message=error.get("ErrorMessage", ""),
        )


@asynccontextmanager
async def open_ec2(
    *, owner: str, subnets: Mapping[str, str], region: str | None, endpoint: str | None
) -> AsyncIterator[Ec2]:
    """EC2 with the credentials of the environment, the instance's role among them. Asks nothing yet.

    Raises:
        Misconfigured: No region is known.
    """
    session = aioboto3.Session(region_name=region)
    if session.region_name is None:
        raise Misconfigured("EC2 needs a region: set LEVERET_SCALER_REGION")
    async with session.client("ec2", **_options(endpoint)) as client:
        yield Ec2(client, owner=owner, subnets=subnets)


def _options(endpoint: str | None) -> dict[str, Any]:
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=LAUNCH_S,
        # Throttling and faults of the server are tried again with growing pauses, then told to the caller.
        retries={"total_max_attempts": TRIES, "mode": "standard"},
    )
    return {"endpoint_url": endpoint, "config": config}


class _RepeatedError(Exception):
    """The token was used before."""


@contextmanager
def _translated(call: str, *, changes: bool = False) -> Iterator[None]:
    """Translate the driver's and the network's errors.

    The driver repeats by itself, so behind any last answer but a plain refusal may be a try that arrived.
    """
    lost = OutcomeUnknown if changes else Unavailable
    try:
        yield
    except TimeoutError as error:
        raise lost(f"EC2 took too long over {call}") from error
    except ClientError as error:
        code = _code(error)
        if code == _REPEATED:
            raise _RepeatedError from error
        raise (lost if _may_have_arrived(error) else Unavailable)(f"EC2 refused {call}: {code}") from error
    except (BotoCoreError, aiohttp.ClientError, OSError) as error:
        raise lost(f"EC2 is away: {type(error).__name__} in {call}") from error


def _may_have_arrived(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _code(error) in _THROTTLED or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _strategy(market: str) -> dict[str, Any]:
    if market == "spot":
        return {
            "SpotOptions": {
                "AllocationStrategy": "price-capacity-optimized",
                "InstanceInterruptionBehavior": "terminate",
            }
        }
    return {"OnDemandOptions": {"AllocationStrategy": "lowest-price"}}


def _template(name: str, places: Iterator[dict[str, str]]) -> dict[str, Any]:
    version = {"LaunchTemplateName": name, "Version": "$Default"}
    return {"LaunchTemplateSpecification": version, "Overrides": list(places)}


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
