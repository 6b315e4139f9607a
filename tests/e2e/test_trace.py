"""One trace from the submit to the push, as a real receiver of OTLP gets it from real processes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from deploy.local.ports import free_ports
from gateway.client import AsyncClient
from gateway.relay import LEASE_GRACE_S
from shared.adapters.broker import open_publisher
from shared.catalog import write_index
from shared.settings import RabbitMQ
from shared.telemetry.tracecontext import Context, attempt_span_id, new_trace
from tests.collector import Collector, Received, by_name, collecting, tarpit
from tests.e2e.processes import Gate, House
from tests.gateway_process import Backstage, GatewayProcess, api, backstage, gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

MODELS = Path(__file__).parent / "models"
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)
"""On the wire."""
VIEWER = "https://jaeger.example.com/trace/{trace_id}"
NS = 1_000_000_000
SLACK_NS = NS // 4
"""Between two stages of one process: far above what lies there, far below a stage that is missing."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A stack of its own that traces: another gateway's relay would not tell what it does."""

    house: House
    gateway: GatewayProcess
    behind: Backstage
    collector: Collector
    key: str

    async def submit(
        self, trace: Context | None = None, model: str = "gated", **fields: Any
    ) -> tuple[str, str]:
        """The job's id and the answer's traceparent."""
        body = {"model": model, "inputs": {"note": {"json": "hunter2-input"}}, **fields}
        headers = {"traceparent": str(trace)} if trace else {}
        async with api(self.gateway.url, self.key) as http:
            answer = await http.post("/v1/jobs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"], answer.headers["traceparent"]

    async def repeat(self, job_id: str) -> None:
        """Send a copy of the job's message."""
        (row,) = await self.behind.database.read("select traceparent from specs where id = $1", UUID(job_id))
        settings = RabbitMQ(url=SecretStr(self.house.env["LEVERET_RABBITMQ_URL"]))
        async with open_publisher(settings, name="test") as publisher:
            await publisher.publish("steady", UUID(job_id), priority=5, traceparent=row["traceparent"])

    async def relay_may_judge(self) -> None:
        """No lease is judged just after a start of PostgreSQL or of the gateway."""
        rows = await self.behind.database.read("select pg_postmaster_start_time() as at")
        first = json.loads(self.gateway.log.read_text().splitlines()[0])
        started = max(datetime.fromisoformat(first["timestamp"]), rows[0]["at"])
        rest = LEASE_GRACE_S + 2 - (datetime.now(UTC) - started).total_seconds()
        await asyncio.sleep(max(0.0, rest))


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


@pytest.fixture(scope="module")
def own_servers(postgres_dsn: str, rabbitmq_url: str, redis_url: str, s3: dict[str, str]) -> dict[str, str]:
    return {
        "LEVERET_POSTGRES_DSN": postgres_dsn,
        "LEVERET_RABBITMQ_URL": rabbitmq_url,
        "LEVERET_REDIS_URL": redis_url,
        **s3,
    }


@pytest.fixture(scope="module")
def house(
    collector: Collector, own_servers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> House:
    catalog = tmp_path_factory.mktemp("catalog")
    for name in ("gated", "pair"):
        shutil.copytree(MODELS / name, catalog / name, ignore=shutil.ignore_patterns("__pycache__"))
    write_index(catalog)
    env = {**own_servers, "LEVERET_TRACING_ENDPOINT": collector.url}
    return House(env, catalog, tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def gateway(house: House) -> Iterator[GatewayProcess]:
    settings = {"LEVERET_CATALOG_PATH": str(house.catalog), "LEVERET_GATEWAY_TRACE_URL": VIEWER}
    with gateway_process(house.env, house.folder, **settings) as started:
        house.logs["gateway"] = started.log
        yield started


@pytest.fixture(scope="module")
async def scene(house: House, gateway: GatewayProcess, collector: Collector) -> AsyncIterator[Scene]:
    async with backstage(house.env) as behind:
        yield Scene(house, gateway, behind, collector, await behind.key("traced"))


@pytest.fixture
async def client(scene: Scene) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(scene.gateway.url, scene.key) as opened:
        yield opened


def named(spans: list[Received], name: str) -> list[Received]:
    return sorted((span for span in spans if span.name == name), key=lambda span: span.start_ns)


def follows(before: Received, after: Received) -> None:
    """One began when the other had ended, and nothing lies between."""
    assert -SLACK_NS <= after.start_ns - before.end_ns <= SLACK_NS, (before, after)


def covers(whole: Received, *parts: Received) -> None:
    for part in parts:
        assert whole.start_ns <= part.start_ns <= part.end_ns <= whole.end_ns, (whole, part)


@dataclass(frozen=True, slots=True)
class Watched:
    """A job that was submitted within a caller's trace, and followed over a socket.

    Attributes:
        caller: The caller's own span.
        answered: The answer's traceparent.
        spans: Of its trace.
        found: By name, those of which there is one each.
        logs: What gateway and worker wrote.
    """

    job_id: str
    caller: Context
    answered: str
    spans: list[Received]
    found: dict[str, Received]
    logs: bytes


@pytest.fixture(scope="module")
async def watched(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    caller, gate = new_trace(), Gate(tmp_path_factory.mktemp("gate") / "gate")
    fields: dict[str, Any] = {"params": gate.params, "metadata": {"password": "hunter2-metadata"}}
    job_id, answered = await scene.submit(caller, **fields)
    async with AsyncClient(scene.gateway.url, scene.key) as client:
        events = (await client.job(job_id)).events(after=0)
        assert (await anext(events)).type == "job.queued"
        with scene.house.worker("steady", ready=False) as worker:
            async for event in events:  # the others are pushed: this socket was there before them
                if event.type == "job.running":
                    gate.open()
            spans = await scene.collector.until(is_whole, caller.trace_id)
    found = by_name([span for span in spans if not span.name.startswith(("announce", "push"))])
    logs = scene.gateway.log.read_bytes() + worker.log.read_bytes()
    return Watched(job_id, caller, answered, spans, found, logs)


def is_whole(spans: list[Received]) -> bool:
    names = {span.name for span in spans}
    last = {"process leveret.steady", "push job.running", "push job.succeeded"}
    return last <= names and len(named(spans, "announce")) == 2


async def test_everything_hangs_below_what_caused_it(watched: Watched) -> None:
    request, spans, found = watched.found["POST /v1/jobs"], watched.spans, watched.found
    assert watched.answered == f"00-{watched.caller.trace_id}-{request.span_id}-03"
    names = {span.span_id: span.name for span in spans} | {watched.caller.span_id: "the caller"}
    assert {span.name: names[span.parent_id] for span in found.values()} == {
        "POST /v1/jobs": "the caller",
        "inputs": "POST /v1/jobs",
        "create leveret.steady": "POST /v1/jobs",
        "insert": "create leveret.steady",
        "publish leveret.steady": "create leveret.steady",
        "wait": "create leveret.steady",
        "process leveret.steady": "create leveret.steady",
        "claim": "process leveret.steady",
        "fetch": "process leveret.steady",
        "run": "process leveret.steady",
        "prepare": "run",
        "infer": "run",
        "finish": "run",
        "store": "process leveret.steady",
        "commit": "process leveret.steady",
    }
    others = [span for span in spans if span.name not in found]
    assert sorted((span.name, names[span.parent_id]) for span in others) == [
        ("announce", "process leveret.steady"),
        ("announce", "process leveret.steady"),
        ("push job.running", "announce"),
        ("push job.succeeded", "announce"),
    ]
    assert not any(span.failed for span in spans)


async def test_no_time_is_missing_between_the_stages(watched: Watched) -> None:
    found = watched.found
    process, wait = found["process leveret.steady"], found["wait"]
    covers(found["POST /v1/jobs"], found["inputs"], found["insert"], found["publish leveret.steady"])
    follows(found["inputs"], found["create leveret.steady"])
    follows(found["insert"], found["publish leveret.steady"])
    follows(found["insert"], wait)  # the insert's commit is what it waits from
    assert wait.end_ns == process.start_ns == found["claim"].start_ns
    for before, after in (("claim", "fetch"), ("fetch", "run"), ("run", "store"), ("store", "commit")):
        follows(found[before], found[after])
    for before, after in (("prepare", "infer"), ("infer", "finish")):
        follows(found[before], found[after])
    covers(found["run"], found["prepare"], found["infer"], found["finish"])
    covers(process, found["claim"], found["commit"])
    last, (push,) = named(watched.spans, "announce")[-1], named(watched.spans, "push job.succeeded")
    follows(process, last)
    assert last.start_ns <= push.start_ns <= last.end_ns + SLACK_NS


async def test_it_speaks_opentelemetrys_language_of_messages(watched: Watched) -> None:
    found = watched.found
    create, publish, process = (found[f"{verb} leveret.steady"] for verb in ("create", "publish", "process"))
    request, infer = found["POST /v1/jobs"], found["infer"]
    kinds = [span.kind for span in (request, create, publish, process, infer)]
    assert kinds == [SERVER, PRODUCER, CLIENT, CONSUMER, INTERNAL]
    assert publish.links == process.links == [(create.trace_id, create.span_id)]
    for span, operation, type_ in ((publish, "publish", "send"), (process, "process", "process")):
        said = {name.removeprefix("messaging."): value for name, value in span.attributes.items()}
        assert (said["system"], said["destination.name"]) == ("rabbitmq", "leveret.steady")
        assert (said["operation.name"], said["operation.type"]) == (operation, type_)
        assert said["message.conversation_id"] == watched.job_id
    assert process.attributes["leveret.job.state"] == "succeeded"
    assert request.attributes["http.route"] == "/v1/jobs"
    assert request.attributes["http.response.status_code"] == 202


async def test_neither_spans_nor_logs_hold_what_is_nobodys_business(watched: Watched, scene: Scene) -> None:
    secrets = [b"hunter2", scene.key.encode()]
    secrets += [
        scene.house.env[name].encode()
        for name in ("LEVERET_POSTGRES_DSN", "LEVERET_RABBITMQ_URL", "LEVERET_S3_SECRET_KEY")
    ]
    for said in (b"".join(scene.collector.raw), watched.logs):
        assert not [secret for secret in secrets if secret in said]


async def test_every_log_line_of_the_job_names_it_and_its_trace(watched: Watched) -> None:
    lines = [json.loads(line) for line in watched.logs.splitlines() if watched.job_id.encode() in line]
    assert {line["event"] for line in lines} >= {"job.accepted", "job.claimed", "job.left"}
    assert {line["job_id"] for line in lines} == {watched.job_id}
    assert {line["trace_id"] for line in lines} == {watched.caller.trace_id}


async def test_the_jobs_answer_names_its_trace_and_who_shows_it(scene: Scene, watched: Watched) -> None:
    async with api(scene.gateway.url, scene.key) as http:
        job = (await http.get(f"/v1/jobs/{watched.job_id}")).json()
    trace_id = watched.caller.trace_id
    assert job["trace"] == {"id": trace_id, "recorded": True}
    assert job["urls"]["trace"] == f"https://jaeger.example.com/trace/{trace_id}"


async def test_copies_and_repeats_of_a_message_join_its_trace(scene: Scene, gate: Gate) -> None:
    job_id, answered = await scene.submit(params=gate.params)
    trace_id = answered.split("-")[1]
    # When the relay sends the message again, since nobody takes it
    await scene.behind.database.write("update jobs set publish_due = now() where id = $1", UUID(job_id))
    await scene.collector.until(lambda found: len(named(found, "publish leveret.steady")) == 2, trace_id)
    with scene.house.worker("steady", slots="2"):
        await gate.until_runs(1)
        # And a copy comes while it runs, and another one when it has ended
        await scene.repeat(job_id)
        await scene.collector.until(lambda found: "running" in idle(found), trace_id)
        gate.open()
        await scene.collector.until(lambda found: bool(named(found, "commit")), trace_id)
        await scene.repeat(job_id)
        spans = await scene.collector.until(lambda found: "succeeded" in idle(found), trace_id)
    # Then all of them are there, below the one span that created the message, and one of them did the work
    (create,) = named(spans, "create leveret.steady")
    handled = named(spans, "process leveret.steady")
    assert {span.parent_id for span in handled} == {create.span_id}
    assert all(span.links == [(trace_id, create.span_id)] for span in handled)
    assert len(attempts(spans)) == 1


def attempts(spans: list[Received]) -> list[Received]:
    """The messages' spans that did the work."""
    handled = named(spans, "process leveret.steady")
    return [span for span in handled if "leveret.job.attempt" in span.attributes]


def idle(spans: list[Received]) -> set[str]:
    """In which state the messages met the row that had nothing to do."""
    handled = [span.attributes for span in named(spans, "process leveret.steady")]
    return {said["leveret.job.state"] for said in handled if "leveret.job.attempt" not in said}


async def test_the_infers_of_a_batch_are_linked_to_all_who_shared_it(scene: Scene) -> None:
    with scene.house.worker("pairs", slots="2"):
        traces = [(await scene.submit(model="pair"))[1].split("-")[1] for _ in range(2)]
        both = [
            await scene.collector.until(lambda found: bool(named(found, "process leveret.pairs")), trace_id)
            for trace_id in traces
        ]
    infers = [named(spans, "infer")[0] for spans in both]
    runs = [named(spans, "process leveret.pairs")[0] for spans in both]
    assert [span.attributes["leveret.batch.size"] for span in infers] == [2, 2]
    assert infers[0].links == [(runs[1].trace_id, runs[1].span_id)]
    assert infers[1].links == [(runs[0].trace_id, runs[0].span_id)]


async def test_a_caller_who_does_not_record_leaves_no_span(scene: Scene) -> None:
    caller = Context(new_trace().trace_id, new_trace().span_id, 0)
    body = {"model": "gated", "inputs": {"note": {"json": 1}}}
    headers = {"traceparent": str(caller), "Prefer": "wait=30"}
    with scene.house.worker("steady"):
        async with api(scene.gateway.url, scene.key) as http:
            answer = await http.post("/v1/jobs", json=body, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert "traceparent" not in answer.headers
        assert answer.json()["trace"] == {"id": caller.trace_id, "recorded": False}
        assert "trace" not in answer.json()["urls"]
        # Gateway and worker have told of a later one by now
        _, recorded = await scene.submit()
        await scene.collector.until(lambda found: bool(named(found, "commit")), recorded.split("-")[1])
    assert scene.collector.of(caller.trace_id) == []


async def test_a_failure_is_told_by_its_code_without_a_word_of_the_algorithms(
    scene: Scene, gate: Gate
) -> None:
    with scene.house.worker("steady"):
        _, answered = await scene.submit(params=gate.params, timeout_s=0.5)
        trace_id = answered.split("-")[1]
        spans = await scene.collector.until(
            lambda found: bool(named(found, "process leveret.steady")), trace_id
        )
    failed = {span.name: span.attributes["error.type"] for span in spans if span.failed}
    assert failed == {"run": "timeout", "process leveret.steady": "timeout"}
    assert named(spans, "process leveret.steady")[0].attributes["leveret.job.state"] == "failed"


@pytest.mark.parametrize("kind", ["closed", "silent"])
async def test_a_dead_collector_costs_a_worker_nothing(scene: Scene, client: AsyncClient, kind: str) -> None:
    (closed,) = free_ports(1)
    with tarpit() as silent:
        url = silent if kind == "silent" else f"http://127.0.0.1:{closed}"
        with scene.house.worker("steady", env={"LEVERET_TRACING_ENDPOINT": url}) as worker:
            for _ in range(3):
                job_id, _ = await scene.submit()
                await (await client.job(job_id)).wait()
            worker.drain()
            assert await worker.exit_code() == 0
    assert worker.logged("tracing.unsent") is not None
    assert worker.logged("process.failed") is None


# The last one: no lease is judged in the first 20 seconds of a gateway, and the others take as long.
async def test_a_killed_workers_attempt_and_the_next_one_are_in_the_same_trace(
    scene: Scene, gate: Gate
) -> None:
    await scene.relay_may_judge()
    with scene.house.worker("steady") as first:
        job_id, answered = await scene.submit(params=gate.params)
        trace_id = answered.split("-")[1]
        await gate.until_runs(1)
        await scene.collector.until(lambda found: bool(named(found, "fetch")), trace_id)
        # When the worker dies without a word
        first.kill()
    with scene.house.worker("steady"):
        await gate.until_runs(2)
        gate.open()
        spans = await scene.collector.until(lambda found: len(attempts(found)) == 2, trace_id)
    # Then there are two attempts, below the same message, which came again in between
    lost, done = attempts(spans)
    assert idle(spans) == {"running"}
    (create,) = named(spans, "create leveret.steady")
    assert lost.parent_id == done.parent_id == create.span_id
    assert [span.attributes["leveret.job.attempt"] for span in (lost, done)] == [1, 2]
    assert [span.attributes["leveret.job.state"] for span in (lost, done)] == ["lost", "succeeded"]
    assert (lost.failed, lost.attributes["error.type"]) == (True, "worker_lost")
    assert (lost.service, done.service, done.failed) == ("leveret-gateway", "leveret-worker", False)
    # And what the dead one had told hangs below its attempt
    assert lost.span_id == attempt_span_id(UUID(job_id), 1)
    assert [span.parent_id for span in named(spans, "fetch")] == [lost.span_id, done.span_id]
    # And the second one waited from the moment when the first was given up
    assert abs(named(spans, "wait")[1].start_ns - lost.end_ns) <= 2 * NS
