"""The Celery application of examples/from_celery and its port, asked the same on the same servers."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.local.seaweedfs import s3_client
from examples.from_celery.install import install
from examples.models.install import InstallError
from gateway.client import AsyncClient
from tests import stack
from tests.e2e.counting import Books
from tests.e2e.processes import House, LoggedProcess, until
from tests.gateway_process import Backstage, GatewayProcess, gateway_process
from tests.integration.test_engine_cutout import astronaut
from tests.stack import ROOT, process_environment

pytestmark = [pytest.mark.anyio, pytest.mark.stack, pytest.mark.timeout(600)]

SHOP, KEY = "shop", "pictures/astronaut.png"
BEFORE, AFTER = "examples.from_celery.before", "examples.from_celery.after"
PATIENCE_S = 240


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    try:
        install(root)
    except InstallError as error:
        stack.skip_or_fail(f"the weights can't be fetched here: {error}")
    return root


@pytest.fixture(scope="module")
async def shop(stack_env: dict[str, str]) -> AsyncIterator[Any]:
    """The team's own bucket, with a picture in it."""
    file = io.BytesIO()
    astronaut().save(file, "PNG")
    async with s3_client(stack_env) as s3:
        await s3.create_bucket(Bucket=SHOP)
        await s3.put_object(Bucket=SHOP, Key=KEY, Body=file.getvalue(), ContentType="image/png")
        yield s3


@pytest.fixture(scope="module")
def celery_env(stack_env: dict[str, str], port: Path) -> dict[str, str]:
    """The same broker and virtual host, another database of the same Redis, the same object store."""
    return {
        "MATTING_BROKER": stack_env["LEVERET_RABBITMQ_URL"],
        "MATTING_RESULTS": stack_env["LEVERET_REDIS_URL"].rpartition("/")[0] + "/254",
        "MATTING_BUCKET": SHOP,
        "MATTING_S3": stack_env["LEVERET_S3_ENDPOINT"],
        "MATTING_WEIGHTS": str(port / "matte" / "u2netp.onnx"),
        "AWS_ACCESS_KEY_ID": stack_env["LEVERET_S3_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": stack_env["LEVERET_S3_SECRET_KEY"],
        "AWS_DEFAULT_REGION": stack_env["LEVERET_S3_REGION"],
    }


@pytest.fixture(scope="module")
async def celery_worker(house: House, celery_env: dict[str, str]) -> AsyncIterator[LoggedProcess]:
    words = ("celery", "-A", f"{BEFORE}.tasks", "worker", "-P", "prefork", "-c", "1", "-Q", "matting")
    with house._running((sys.executable, "-m", *words, "-l", "INFO"), "celery", celery_env) as process:
        started = LoggedProcess(process, house.logs["celery"])
        await until(lambda: " ready." in started.log.read_text(errors="replace"), why="Celery gets ready")
        yield started


@pytest.fixture(scope="module")
def ported(house: House, port: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("ported")
    own = House(house.env, port, folder, house.logs)
    with (
        gateway_process(house.env, folder, LEVERET_CATALOG_PATH=str(port)) as started,
        own.worker("matting"),
    ):
        yield started


async def asked(module: str, what: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What one side's calls tell."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"{module}.calls", what),
        cwd=ROOT,
        env=process_environment(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        printed, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    told: dict[str, Any] = json.loads(printed)
    return told


@pytest.fixture(scope="module")
async def leveret_env(ported: GatewayProcess, behind: Backstage, books: Books) -> dict[str, str]:
    assert books
    return {"LEVERET_URL": ported.url, "LEVERET_API_KEY": await behind.key("shop", f"s3://{SHOP}/")}


@pytest.mark.usefixtures("celery_worker")
async def test_the_port_does_what_the_celery_application_did(
    shop: Any, celery_env: dict[str, str], leveret_env: dict[str, str], measured: list[str]
) -> None:
    # When both sides are asked the same, at the same time and on the same servers
    before, after = await asyncio.gather(
        asked(BEFORE, KEY, celery_env), asked(AFTER, f"s3://{SHOP}/{KEY}", leveret_env)
    )
    # Then the masks are the same
    masks = [await read(shop, told.pop("mask")) for told in (before, after)]
    one, other = (np.asarray(Image.open(io.BytesIO(mask)).convert("L")) for mask in masks)
    same = "byte for byte" if masks[0] == masks[1] else "pixel for pixel"
    measured.append(f"Celery's mask and Leveret's: {same} the same, {one.shape[1]} x {one.shape[0]}")
    assert np.array_equal(one, other)
    assert one.min() == 0
    assert one.max() == 255
    # And so is all the rest
    assert before == after
    assert after["ordered"] == ["high", "low"]
    assert (after["expired"], after["canceled"]) == ("expired", "canceled")
    assert (after["timed_out"], after["retried"], after["delayed"]) == ("timeout", "2 attempts", True)
    assert 0.1 < after["linked"] == after["gathered"] < 0.9


@pytest.mark.usefixtures("celery_worker", "shop")
async def test_the_producer_moves_there_and_back(
    celery_env: dict[str, str], leveret_env: dict[str, str], house: House
) -> None:
    both = {**celery_env, **leveret_env}
    # Given the queue on Leveret's side, when one order is asked for twice
    ids = [await moved(both | {"MATTING_ON": "leveret"}) for _ in range(2)]
    # Then it is one job
    assert ids[0] == ids[1]
    async with AsyncClient(leveret_env["LEVERET_URL"], leveret_env["LEVERET_API_KEY"]) as client:
        await (await client.job(ids[0])).wait()
    # And when it is moved back, the same call is a task again
    task = await moved(both | {"MATTING_ON": "celery"})
    done = f"matte[{task}] succeeded"
    await until(lambda: done in house.logs["celery"].read_text(errors="replace"), why="Celery runs it")


async def moved(env: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.from_celery.moving", KEY, "order-1"),
        cwd=ROOT,
        env=process_environment(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode().strip()


async def read(s3: Any, key: str) -> bytes:
    answer = await s3.get_object(Bucket=SHOP, Key=key)
    async with answer["Body"] as body:
        return bytes(await body.read())
