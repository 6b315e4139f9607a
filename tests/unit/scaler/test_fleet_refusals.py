"""How EC2's refusals are taken, code by code: botocore's Stubber answers in its place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from botocore.stub import Stubber

from scaler.fleet.ec2 import SHORTAGE
from shared.adapters import ec2 as adapter
from shared.adapters.ec2 import Ec2, open_ec2
from shared.adapters.ec2_answers import Launched, Refusal
from shared.errors import LeveretError, OutcomeUnknown, Unavailable

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


@asynccontextmanager
async def opened(endpoint: str = NOWHERE, **subnets: str) -> AsyncIterator[Ec2]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        async with open_ec2(owner="leveret", subnets=subnets, region="eu-west-1", endpoint=endpoint) as ec2:
            yield ec2


@pytest.fixture(scope="module")
async def ec2() -> AsyncIterator[Ec2]:
    """One for all: the driver takes half a second to read EC2's description."""
    async with opened(a="subnet-1") as client:
        yield client


async def launch(ec2: Ec2) -> Launched:
    return await ec2.launch(
        token="t", count=2, market="spot", places=[("g6.xlarge", "a")], template="leveret-q", tags={}
    )


def error(code: str, place: dict[str, str]) -> dict[str, Any]:
    return {
        "ErrorCode": code,
        "ErrorMessage": f"{code} …",
        "Lifecycle": "spot",
        "LaunchTemplateAndOverrides": {"Overrides": place},
    }


@pytest.mark.parametrize("code", sorted(SHORTAGE))
async def test_a_shortage_is_told_by_offering_and_the_rest_is_launched(ec2: Ec2, code: str) -> None:
    with Stubber(ec2._client) as stub:
        place = {"InstanceType": "g6.xlarge", "SubnetId": "subnet-1"}
        answer = {"Errors": [error(code, place)], "Instances": [{"InstanceIds": ["i-1"]}]}
        stub.add_response("create_fleet", answer)

        launched = await launch(ec2)

    refusal = Refusal(type="g6.xlarge", zone="a", code=code, message=f"{code} …")
    assert launched == Launched(ids=("i-1",), refusals=(refusal,))


async def test_what_is_asked_for(
    ec2: Ec2,
) -> None:
    tag = [{"Key": "leveret:fleet", "Value": "leveret"}]
    asked = {
        "Type": "instant",
        "ClientToken": "t",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "leveret-q", "Version": "$Default"},
                "Overrides": [{"InstanceType": "g6.xlarge", "SubnetId": "subnet-1"}],
            }
        ],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "spot"},
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": tag},
            {"ResourceType": "fleet", "Tags": tag},
        ],
        "SpotOptions": {
            "AllocationStrategy": "price-capacity-optimized",
            "InstanceInterruptionBehavior": "terminate",
        },
    }
    with Stubber(ec2._client) as stub:
        stub.add_response("create_fleet", {"Instances": []}, asked)
        assert await launch(ec2) == Launched()


REFUSED = [
    ("UnauthorizedOperation", 403, Unavailable),
    ("InvalidLaunchTemplateName.NotFoundException", 400, Unavailable),
    ("InvalidParameterValue", 400, Unavailable),
    ("Blocked", 403, Unavailable),
    ("OptInRequired", 403, Unavailable),
    ("RequestExpired", 400, Unavailable),
    ("RequestLimitExceeded", 503, OutcomeUnknown),
    ("Throttling", 400, OutcomeUnknown),
    ("InternalError", 500, OutcomeUnknown),
    ("ServiceUnavailable", 503, OutcomeUnknown),
    ("Unavailable", 503, OutcomeUnknown),
]


@pytest.mark.parametrize(("code", "status", "kind"), REFUSED)
async def test_a_launch_that_may_have_happened_is_told_apart(
    ec2: Ec2, code: str, status: int, kind: type[LeveretError]
) -> None:
    with Stubber(ec2._client) as stub:
        stub.add_client_error("create_fleet", code, "no", http_status_code=status)
        with pytest.raises(LeveretError, match=code) as caught:
            await launch(ec2)

    assert type(caught.value) is kind


async def test_a_token_that_was_used_is_known(
    ec2: Ec2,
) -> None:
    with Stubber(ec2._client) as stub:
        stub.add_client_error("create_fleet", "IdempotentParameterMismatch", "no", 400)
        assert await launch(ec2) == Launched(repeated=True)


@pytest.mark.parametrize(("code", "status"), [(code, status) for code, status, _ in REFUSED])
async def test_a_list_or_an_end_that_is_refused_is_unavailable(ec2: Ec2, code: str, status: int) -> None:
    with Stubber(ec2._client) as stub:
        stub.add_client_error("describe_instances", code, "no", http_status_code=status)
        stub.add_client_error("terminate_instances", code, "no", http_status_code=status)
        with pytest.raises(Unavailable, match=code):
            await ec2.instances()
        with pytest.raises(Unavailable, match=code):
            await ec2.terminate(["i-1"])


async def test_ids_that_are_unknown_are_left_out_one_answer_at_a_time(
    ec2: Ec2,
) -> None:
    with Stubber(ec2._client) as stub:
        told = "The instance IDs 'i-0aa, i-0cc' do not exist"
        stub.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", told, 400)
        stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-0bb"]})

        await ec2.terminate(["i-0aa", "i-0bb", "i-0cc"])

        stub.assert_no_pending_responses()


async def test_a_cloud_that_is_away_may_have_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "TRIES", 1)
    async with opened() as ec2:
        with pytest.raises(OutcomeUnknown, match="away"):
            await launch(ec2)
        with pytest.raises(Unavailable, match="away"):
            await ec2.instances()


@asynccontextmanager
async def server(*answers: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers one request after the other with these bytes; None: it takes the request and says nothing."""
    asked: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-l")
            )
            asked.append(await reader.readexactly(length))
            answer = left.pop(0) if left else None
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", asked
    finally:
        listening.close()


def answered(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return (head + body).encode()


LIMIT = answered(
    "503 Service Unavailable",
    "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow down</Message></Error></Errors>"
    "<RequestID>r</RequestID></Response>",
)
LAUNCHED = answered(
    "200 OK",
    "<CreateFleetResponse><fleetInstanceSet><item><instanceIds><item>i-1</item></instanceIds></item>"
    "</fleetInstanceSet></CreateFleetResponse>",
)


async def test_a_throttled_call_is_repeated_with_its_token() -> None:
    async with server(LIMIT, LIMIT, LAUNCHED) as (url, asked), opened(url) as ec2:
        launched = await launch(ec2)

    assert launched.ids == ("i-1",)
    assert [b"ClientToken=t" in request for request in asked] == [True] * 3


async def test_a_call_without_an_answer_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "LAUNCH_S", 0.2)
    monkeypatch.setattr(adapter, "ANSWER_S", 0.2)
    async with server(None, None, None) as (url, _), opened(url) as ec2:
        with pytest.raises(OutcomeUnknown, match="too long"):
            await launch(ec2)
        with pytest.raises(Unavailable, match="too long"):
            await ec2.instances()
        with pytest.raises(Unavailable, match="too long"):
            await ec2.terminate(["i-1"])


def listed(market: str | None = "spot") -> dict[str, Any]:
    instance = {
        "InstanceId": "i-1",
        "State": {"Name": "running"},
        "LaunchTime": datetime(2026, 11, 22, tzinfo=UTC),
        **({"InstanceLifecycle": market} if market else {}),
    }
    return {"Reservations": [{"Instances": [instance]}]}


MARKED = {"Filters": [{"Name": "status-code", "Values": ["marked-for-termination", "marked-for-stop"]}]}


async def test_a_spot_instance_that_is_marked_is_doomed(ec2: Ec2) -> None:
    with Stubber(ec2._client) as stub:
        for ids in (["i-1", "i-somebody-elses"], []):
            stub.add_response("describe_instances", listed())
            requests = [{"InstanceId": name} for name in ids] + [{"SpotInstanceRequestId": "sir-1"}]
            stub.add_response("describe_spot_instance_requests", {"SpotInstanceRequests": requests}, MARKED)

        assert [each.doomed for each in await ec2.instances()] == [True]
        assert [each.doomed for each in await ec2.instances()] == [False]


async def test_who_has_no_spot_instances_asks_for_no_notices(ec2: Ec2) -> None:
    with Stubber(ec2._client) as stub:
        stub.add_response("describe_instances", listed(None))
        assert [each.market for each in await ec2.instances()] == ["on-demand"]


async def test_without_notices_the_list_is_as_good_and_the_last_ones_stand(ec2: Ec2) -> None:
    with Stubber(ec2._client) as stub:
        stub.add_response("describe_instances", listed())
        marked = {"SpotInstanceRequests": [{"InstanceId": "i-1"}]}
        stub.add_response("describe_spot_instance_requests", marked)
        for code, status in (("UnauthorizedOperation", 403), ("RequestLimitExceeded", 503)):
            stub.add_response("describe_instances", listed())
            stub.add_client_error("describe_spot_instance_requests", code, "no", http_status_code=status)

        with structlog.testing.capture_logs() as logs:
            told = [[each.doomed for each in await ec2.instances()] for _ in range(3)]

    assert told == [[True]] * 3
    assert [entry["event"] for entry in logs] == ["ec2.no_notices"]
