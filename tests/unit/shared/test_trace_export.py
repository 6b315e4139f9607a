"""Spans leave by a thread of their own: whatever the collector does, the work goes on; losses are counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from deploy.local.ports import free_ports
from shared.errors import Misconfigured
from shared.settings import TracingSection
from shared.telemetry import export
from shared.telemetry.export import Outbox, open_tracing
from shared.telemetry.tracecontext import new_trace
from shared.telemetry.tracing import OFF, Ended, Kind
from tests.collector import by_name, collecting, tarpit

pytestmark = pytest.mark.anyio


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("leveret_tracing_spans_total", {"outcome": outcome}) or 0.0


def ended(name: str = "fetch") -> Ended:
    trace = new_trace()
    return Ended(
        name=name, kind=Kind.INTERNAL, context=trace, parent=None, start_ns=1, end_ns=2, attributes={}
    )


def section(endpoint: str, **fields: object) -> TracingSection:
    return TracingSection.model_validate({"endpoint": endpoint, **fields})


async def test_a_span_arrives_as_opentelemetry_has_it() -> None:
    with collecting() as collector:
        async with open_tracing(section(collector.url), service="worker", instance="w1") as tracing:
            above, other = new_trace(), new_trace()
            with tracing.span(
                "claim",
                above,
                kind=Kind.CLIENT,
                attributes={"n": 1, "s": "x" * 999},
                links=(other,),
                remote=True,
            ) as span:
                span.fail("unavailable")
    claim = by_name(collector.spans)["claim"]
    assert (claim.service, claim.trace_id, claim.parent_id) == (
        "leveret-worker",
        above.trace_id,
        above.span_id,
    )
    assert claim.kind == 3  # the wire's CLIENT: OTLP counts from 1
    assert claim.links == [(other.trace_id, other.span_id)]
    assert claim.failed
    assert claim.attributes == {"n": 1, "s": "x" * 256, "error.type": "unavailable"}
    assert b"w1" in collector.raw[0]


async def test_what_has_ended_is_sent_before_the_process_goes() -> None:
    with collecting() as collector:
        async with open_tracing(section(collector.url), service="worker") as tracing:
            for number in range(1200):
                tracing.tell(ended(f"span {number}"))
    assert len(by_name(collector.spans)) == 1200


async def test_without_an_endpoint_nothing_is_traced() -> None:
    async with open_tracing(TracingSection(), service="worker") as tracing:
        assert tracing is OFF


async def test_without_its_packages_the_start_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "shared.telemetry.otlp", None)
    with pytest.raises(Misconfigured, match=r"leveret\[tracing\]"):
        async with open_tracing(section("http://127.0.0.1:4318"), service="worker"):
            pass


@pytest.mark.parametrize("kind", ["closed", "silent"])
async def test_a_dead_collector_holds_up_nobody(kind: str) -> None:
    (closed,) = free_ports(1)
    before = {name: counted(name) for name in ("exported", "dropped", "refused")}
    with tarpit() as silent:
        url = silent if kind == "silent" else f"http://127.0.0.1:{closed}"
        wanted = section(url, queue=100, timeout_s=0.3, flush_s=0.5)
        async with open_tracing(wanted, service="worker") as tracing:
            for _ in range(5000):
                tracing.tell(ended())
    gone = {name: counted(name) - before[name] for name in before}
    assert gone["exported"] == 0
    assert gone["dropped"] + gone["refused"] == 5000
    assert gone["dropped"] >= 4000  # who waits for the collector drops nothing


async def test_the_queue_is_bounded_and_what_is_dropped_is_counted() -> None:
    release, taken = threading.Event(), threading.Event()

    def send(_: Sequence[Ended]) -> bool:
        taken.set()
        return release.wait(30)

    before = counted("dropped")
    outbox = Outbox(send, limit=10)
    outbox.start()
    outbox.keep(ended())
    assert taken.wait(10)
    for _ in range(15):
        outbox.keep(ended())
    assert counted("dropped") - before == 5
    # When the process ends while the collector is silent, it leaves in time
    assert outbox.close(0.1) == 11
    assert counted("dropped") - before == 16
    release.set()


async def test_a_collector_that_goes_and_comes_back_is_told_of_once_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(export.log, "warning", said.append, raising=False)
    answers = [True, False, False, True]
    outbox = Outbox(lambda _: answers.pop(0), limit=10)
    for _ in range(4):
        outbox.keep(ended())
        outbox._send_some()
    assert said == ["tracing.collector_away", "tracing.collector_answers"]


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://otlp.example/otlp", "https://otlp.example/otlp/v1/traces"),
        ("https://otlp.example/v1/traces", "https://otlp.example/v1/traces"),
    ],
)
def test_the_address_is_made_as_opentelemetry_makes_it(endpoint: str, url: str) -> None:
    assert section(endpoint).url == url


@pytest.mark.parametrize(
    "endpoint", ["grpc://c:4317", "http://me:secret@c:4318", "http://c/?key=secret", "c"]
)
def test_an_address_with_secrets_or_of_another_kind_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint") as refused:
        section(endpoint)
    assert "secret" not in str(refused.value)
