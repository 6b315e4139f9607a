"""The images, built from the real Dockerfiles into a chroot and started as a container engine starts them.

Process 1, account, environment, read-only root, HEALTHCHECK and SIGTERM are tried; the network is not.
Slow, and for root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image as Picture

from deploy.docker import assembly, box
from deploy.docker.assembly import Assembly, NoDebianError
from deploy.docker.image import Image
from deploy.local.ports import free_ports
from gateway.client import AsyncClient
from tests.e2e.processes import LoggedProcess, until
from tests.gateway_process import GatewayProcess, api, backstage, gateway_process
from tests.stack import ABANDONED_S, FOLDERS, ROOT, process_environment, skip_or_fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(600)]

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
EXAMPLE = ROOT / "deploy" / "docker" / "example"
PREFIX = "leveret-images-"
MEMORY = Path("/dev/shm")  # noqa: S108  a new folder of a random name in it
ROOM = 8 << 30
"""Bytes that the images take at most, and something to spare."""


@dataclass(frozen=True, slots=True)
class Container(LoggedProcess):
    """An image's process, started with `--read-only`, `--cap-drop ALL` and `no-new-privileges`."""

    image: Image
    env: Mapping[str, str]

    @property
    def first(self) -> int:
        """Process 1, as the machine numbers it."""
        return box.first_process(self.pid)

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.first}/status").read_text().splitlines()
        return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = box.inside(self.first, words, self.image.config, self.env)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def health(self) -> subprocess.CompletedProcess[str]:
        return self.execute(*self.image.config.healthcheck)

    async def until_healthy(self) -> None:
        await until(lambda: self.health().returncode == 0, why=f"{self.log.stem} is healthy")

    async def stopped(self) -> int:
        """As `docker stop` does."""
        os.kill(self.first, signal.Signals[self.image.config.stop_signal])
        return await self.exit_code()


@contextmanager
def container(image: Image, env: Mapping[str, str], folder: Path) -> Iterator[Container]:
    volumes = {}
    for number, place in enumerate(image.config.volumes):
        volumes[place] = folder / f"volume-{number}"  # begins as what the image has there
        subprocess.run(["cp", "-a", f"{image.root}{place}", volumes[place]], check=True, timeout=30)
    log = folder / f"{image.config.labels['org.opencontainers.image.title']}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            box.running(image.root, image.config, env, volumes),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Container(process, log, image, env)
    finally:
        process.kill()  # and with it everything inside, mounts included
        process.wait()
        print(log.read_text(errors="replace")[-4000:])  # noqa: T201  shown when the test fails


@pytest.fixture(scope="module")
def builder() -> Iterator[Assembly]:
    if os.geteuid() != 0:
        skip_or_fail("building a root file system takes root")
    if missing := [name for name in assembly.PROGRAMS if shutil.which(name) is None]:
        skip_or_fail(f"not installed: {', '.join(missing)}")
    place = MEMORY if _takes_a_root(MEMORY) else FOLDERS
    for abandoned in place.glob(f"{PREFIX}*"):  # by a session that was killed; what ran in it ended with it
        if time.time() - abandoned.lstat().st_mtime > ABANDONED_S:
            shutil.rmtree(abandoned)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    folder.chmod(0o755)
    try:
        yield Assembly(folder)
    finally:
        shutil.rmtree(folder)


def _takes_a_root(place: Path) -> bool:
    """In memory it takes half the time: is there room, and may programs and devices lie there?"""
    if not place.is_dir():
        return False
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize > ROOM and not found.f_flag & (os.ST_NODEV | os.ST_NOEXEC)


def built(builder: Assembly, target: str) -> Image:
    try:
        return builder.build(DOCKERFILE, ROOT, target=target)
    except NoDebianError as error:
        skip_or_fail(str(error))
        raise


@pytest.fixture(scope="module")
def worker_image(builder: Assembly) -> Image:
    return built(builder, "worker-cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def settings(stack_env: dict[str, str]) -> dict[str, str]:
    """Everybody's: the servers, and a catalog in the bucket with one model in it."""
    catalog = f"s3://{stack_env['LEVERET_S3_BUCKET']}/catalog"
    model = ROOT / "examples" / "models" / "thumbnail"
    subprocess.run(
        [sys.executable, "-m", "shared.adapters.publish", model, catalog],
        env=process_environment(stack_env),
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    return {**stack_env, "LEVERET_CATALOG_PATH": catalog}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    drawn = Picture.new("RGB", (64, 48), "white")
    drawn.paste("black", (16, 16, 48, 32))
    drawn.save(file)
    return file


@contextlib.asynccontextmanager
async def client(gateway: GatewayProcess, env: Mapping[str, str]) -> AsyncIterator[AsyncClient]:
    async with backstage(env) as behind, AsyncClient(gateway.url, await behind.key("images")) as opened:
        yield opened


def own_port(process: str) -> dict[str, str]:
    return {f"LEVERET_{process.upper()}_ADMIN_PORT": str(free_ports(1)[0])}


async def test_the_workers_image_serves_a_job_and_leaves_in_peace(
    worker_image: Image, settings: dict[str, str], folder: Path, tmp_path: Path, picture: Path
) -> None:
    # Given the worker's image, started as it starts itself
    env = {**settings, **own_port("worker"), "LEVERET_WORKER_QUEUE": "quick"}
    catalog = settings["LEVERET_CATALOG_PATH"]
    with (
        gateway_process(settings, folder, LEVERET_CATALOG_PATH=catalog) as gateway,
        container(worker_image, env, tmp_path) as worker,
    ):
        await worker.until_logged("worker.ready", models=["thumbnail@1"])
        # Then it is tini's child, nobody's privileges, and healthy
        status = worker.status()
        assert status["Name"] == "tini"
        assert status["NSpid"].split()[-1] == "1"
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
        assert (int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"]) == (0, 0, "1")
        healthy = worker.health()
        assert (healthy.returncode, healthy.stdout.strip()) == (0, "/livez answers 200"), healthy
        # And nothing of it may be written but its volume
        refused = worker.execute("touch", "/tmp/here")  # noqa: S108  everybody's folder, in an image
        assert "Read-only file system" in refused.stderr
        assert worker.execute("touch", "/var/lib/leveret/here").returncode == 0
        # And a job that is submitted comes back
        async with client(gateway, settings) as calls:
            job = await calls.submit("thumbnail", image=picture, size=32)
            await job.wait(timeout_s=60)
            await job.outputs["thumbnail"].save(tmp_path / "small.png")
        with Picture.open(tmp_path / "small.png") as small:
            assert small.size == (32, 24)
        # When it is asked to stop, then it says goodbye
        assert await worker.stopped() == 0
        assert worker.logged("worker.stopped")


async def test_a_teams_own_image_runs_its_algorithm_in_its_own_environment(
    *,
    builder: Assembly,
    worker_image: Image,
    stack_env: dict[str, str],
    folder: Path,
    tmp_path: Path,
    picture: Path,
) -> None:
    # Given the example's image: the worker's, and an older NumPy with the models beside it
    own = builder.build(EXAMPLE / "Dockerfile", EXAMPLE, images={"leveret-worker-cpu": worker_image})
    env = {**stack_env, **own_port("worker")}
    models = str(EXAMPLE / "models")
    with (
        gateway_process(stack_env, folder, LEVERET_CATALOG_PATH=models) as gateway,
        container(own, env, tmp_path) as worker,
    ):
        await worker.until_logged("worker.ready", queue="edges")
        # When a job is submitted
        async with client(gateway, stack_env) as calls:
            job = await calls.submit("edges", image=picture)
            await job.wait(timeout_s=60)
            about = json.loads(await job.outputs["about"].bytes())
        # Then that NumPy did it, and the worker has another
        assert about["numpy"] == "1.26.4"
        assert about["strongest"] > 0
        ours = worker.execute("python", "-c", "import numpy; print(numpy.__version__)")
        assert int(ours.stdout.split(".")[0]) >= 2
        assert worker.health().returncode == 0
        assert await worker.stopped() == 0


async def test_the_gateways_image_migrates_serves_and_stops(
    builder: Assembly, settings: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    # Given the gateway's image
    image = built(builder, "gateway")
    (port,) = free_ports(1)
    host = {"LEVERET_GATEWAY_HOST": "127.0.0.1"}  # beyond it no gateway listens before there is a key
    env = {**settings, **own_port("gateway"), **host, "LEVERET_GATEWAY_PORT": str(port)}
    migration = replace(image.config, cmd=("python", "-m", "shared.adapters.store.migrate"))
    # When the schema's job runs in it, then it does so again without harm
    with container(replace(image, config=migration), env, folder) as job:
        assert await job.exit_code() == 0
    # And the gateway becomes healthy, shows the dashboard that was built for it, and stops
    with container(image, env, tmp_path) as gateway:
        await gateway.until_healthy()
        async with api(f"http://127.0.0.1:{port}", None) as client:
            page = (await client.get("/")).text
            script = re.findall(r'src="\./(assets/index-[^"]+\.js)"', page)
            assert [(await client.get(f"/{name}")).status_code for name in script] == [200]
        assert await gateway.stopped() == 0


async def test_the_scalers_image_serves_and_stops(
    builder: Assembly, settings: dict[str, str], tmp_path: Path
) -> None:
    # The image is for fleets of machines; any fleet shows that nothing is missing in it
    with container(built(builder, "scaler"), {**settings, **own_port("scaler")}, tmp_path) as scaler:
        await scaler.until_healthy()
        assert await scaler.stopped() == 0


async def test_the_workers_image_can_run_the_scaler_with_workers_beside_it(
    worker_image: Image, settings: dict[str, str], tmp_path: Path
) -> None:
    # Given what compose.yaml starts under the profile `scaler`, with one worker as the least
    config = replace(
        worker_image.config, cmd=("python", "-m", "scaler"), healthcheck=("leveret-healthcheck", "scaler")
    )
    own = {"LEVERET_SCALER_MIN": "1", "LEVERET_SCALER_INTERVAL_S": "1", "LEVERET_WORKER_ADMIN_PORT": "0"}
    state = {"LEVERET_SCALER_STATE_DIR": "/var/lib/leveret/scaler"}
    env = {**settings, **own_port("scaler"), **own, **state}
    with container(replace(worker_image, config=config), env, tmp_path) as scaler:
        await scaler.until_healthy()
        logs = tmp_path / "volume-0" / "scaler"
        # Then its worker becomes ready, and leaves with it
        await until(
            lambda: any("worker.ready" in log.read_text() for log in logs.rglob("worker-*.log")),
            why="a worker is ready",
        )
        assert await scaler.stopped() == 0
