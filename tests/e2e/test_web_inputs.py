"""Inputs by https address, from the submit to the result: real gateway, real worker, real TLS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.authority import Authority, make_authority
from tests.e2e.counting import Books
from tests.e2e.processes import House, WorkerProcess
from tests.website import Answer, pours, says, sends, website

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

FILE = os.urandom(500_000)
METADATA = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def courier(house: House, gateway: object, authority: Authority) -> Iterator[WorkerProcess]:
    """A worker that may read from this machine, as on the premises of an operator who allows it."""
    assert gateway
    env = {
        "SSL_CERT_FILE": str(authority.certificate),
        "LEVERET_WEB_ALLOW": json.dumps(["127.0.0.1/32", "::1/128"]),
    }
    with house.worker("web", env=env) as started:
        yield started


async def run(http: httpx2.AsyncClient, uri: str, *, model: str = "courier") -> dict[str, Any]:
    """The job with this input, once it has ended."""
    body = {"model": model, "inputs": {"file": {"uri": uri}}}
    answer = await http.post("/v1/jobs", json=body, headers={"Prefer": "wait=45"}, timeout=60)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


@pytest.mark.usefixtures("courier")
async def test_a_file_on_a_server_is_a_jobs_input(
    http: httpx2.AsyncClient, books: Books, authority: Authority
) -> None:
    async with website(sends(FILE), authority.server("DNS:localhost")) as site:
        uri = f"https://localhost:{site.port}/shelf/a.bin?signature=abc"
        job = await run(http, uri)
    assert (job["state"], job["inputs"]) == ("succeeded", {"file": {"uri": uri}})
    assert job["outputs"]["file"]["sha256"] == hashlib.sha256(FILE).hexdigest()
    assert await books.attempts(job["id"]) == [(1, "succeeded")]
    assert [head.split(b"\r\n")[0] for head in site.heads] == [b"GET /shelf/a.bin?signature=abc HTTP/1.1"]


@pytest.mark.usefixtures("courier")
async def test_a_busy_server_is_asked_again(
    http: httpx2.AsyncClient, books: Books, authority: Authority
) -> None:
    answers = iter([says("503 Busy", "Content-Length: 0"), sends(FILE)])

    async def first_busy(writer: asyncio.StreamWriter) -> None:
        await next(answers)(writer)

    async with website(first_busy, authority.server("DNS:localhost")) as site:
        job = await run(http, f"https://localhost:{site.port}/")
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    assert [attempt for attempt, _ in await books.attempts(job["id"])] == [1, 2]


BAD = [
    pytest.param(says("404 No", "Content-Length: 0"), "input_unavailable", id="not there"),
    pytest.param(
        says("302 Found", f"Location: {METADATA}", "Content-Length: 0"), "input_unavailable", id="redirect"
    ),
    pytest.param(pours, "bad_input", id="endless"),
]


@pytest.mark.usefixtures("courier")
@pytest.mark.parametrize(("answer", "code"), BAD)
async def test_what_a_server_does_wrong_fails_its_own_job(
    http: httpx2.AsyncClient, books: Books, authority: Authority, answer: Answer, code: str
) -> None:
    async with website(answer, authority.server("DNS:localhost")) as site:
        job = await run(http, f"https://localhost:{site.port}/a?signature=s3cret")
    assert (job["state"], job["error"]["code"], job["error"]["retryable"]) == ("failed", code, False)
    assert "localhost" in job["error"]["message"]
    assert "s3cret" not in job["error"]["message"]
    assert await books.attempts(job["id"]) == [(1, "failed")]


async def test_a_name_inside_fails_its_job_and_is_never_visited(
    http: httpx2.AsyncClient, house: House, books: Books, authority: Authority
) -> None:
    async with website(sends(FILE), None) as site:
        with house.worker("inside"):
            job = await run(http, f"https://localhost:{site.port}/", model="recluse")
    assert (job["state"], job["error"]["code"]) == ("failed", "input_unavailable")
    assert job["error"]["retryable"] is False
    assert await books.attempts(job["id"]) == [(1, "failed")]
    assert site.visits == 0


@pytest.mark.parametrize(
    "uri",
    [
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fd00:ec2::254]/",
        "https://127.1/",
        "https://user:pass@files.example/",
        "http://files.example/",
    ],
)
async def test_an_address_inside_never_becomes_a_job(
    http: httpx2.AsyncClient, books: Books, uri: str
) -> None:
    before = await books.tally()
    answer = await http.post("/v1/jobs", json={"model": "courier", "inputs": {"file": {"uri": uri}}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_job")
    assert [error["path"] for error in answer.json()["errors"]] == ["inputs.file.uri"]
    assert (await books.tally()).accepted == before.accepted
