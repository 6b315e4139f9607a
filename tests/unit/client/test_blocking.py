"""The blocking face: the same behaviour without an event loop."""

from __future__ import annotations

import gc
import inspect
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gateway.client import AsyncClient, Client, JobFailed
from tests.fakes.gateway import KEY, FakeGateway
from tests.unit.client.conftest import QUICK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[Client]:
    with Client(gateway.url, KEY, retry=QUICK, reconnect=QUICK) as made:
        yield made


def test_the_readme_works_word_for_word(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVERET_URL", gateway.url)
    monkeypatch.setenv("LEVERET_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.jpg").write_bytes(b"a face")

    job = Client().submit("cutout", image="face.jpg", priority=7)
    job.wait(progress=True)
    job.outputs["cutout"].save("cutout.png")

    assert (tmp_path / "cutout.png").read_bytes() == gateway.content
    assert gateway.submitted[0].files["image"][2] == b"a face"


def test_events_are_iterated_and_can_be_left_early(client: Client, gateway: FakeGateway) -> None:
    job = client.submit("cutout", inputs={"image": b"x"})

    assert next(iter(job.events())).type == "job.queued"
    assert [event.seq for event in job.events()] == [2, 2, 3]
    assert job.seq == 3
    assert gateway.cursors == [0, 1]


def test_failure_is_raised_with_this_job(client: Client, gateway: FakeGateway) -> None:
    gateway.end("job.failed", {"code": "bad_input", "message": "truncated image"})
    job = client.submit("cutout", inputs={"image": b"x"})

    with pytest.raises(JobFailed) as caught:
        job.wait()

    assert caught.value.job is job


def test_other_calls(client: Client) -> None:
    job = client.submit("cutout", inputs={"image": b"x"})

    assert job.cancel().raw["cancel_requested"] is True
    assert client.job(job.id).refresh().id == job.id
    assert job.logs()["attempts"][0]["attempt"] == 1
    assert client.logs(job.id) == job.logs()
    assert client.models()[0]["name"] == client.model("cutout")["name"] == "cutout"


def test_signatures_are_the_asyncio_clients() -> None:
    assert inspect.signature(Client.submit) == inspect.signature(AsyncClient.submit)


def test_closing_ends_the_thread_and_may_be_repeated(gateway: FakeGateway) -> None:
    client = Client(gateway.url, KEY)
    client.close()
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.models()


def test_a_client_that_is_dropped_leaves_nothing_behind(gateway: FakeGateway) -> None:
    before = threading.active_count()
    client = Client(gateway.url, KEY)
    client.models()

    del client
    gc.collect()

    assert threading.active_count() == before


def test_a_progress_function_that_calls_back_is_refused_instead_of_hanging(client: Client) -> None:
    job = client.submit("cutout", inputs={"image": b"x"})

    with pytest.raises(RuntimeError, match="progress function"):
        job.wait(progress=lambda _: client.models())


def test_closing_releases_a_thread_that_waits(gateway: FakeGateway) -> None:
    gateway.hold.clear()
    gateway.sockets.append((2, 1000))
    client = Client(gateway.url, KEY)
    job = client.submit("cutout", inputs={"image": b"x"})
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(job.wait)
        assert gateway.streaming.wait(10)

        client.close()

        with pytest.raises(CancelledError):
            waiting.result(timeout=10)


def test_a_dropped_iterator_is_closed_behind_the_scenes(client: Client, gateway: FakeGateway) -> None:
    events = client.submit("cutout", inputs={"image": b"x"}).events()
    next(events)

    del events
    gc.collect()

    assert client.models()
    assert gateway.cursors == [0]
