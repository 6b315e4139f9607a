"""The Dockerfiles: what Hadolint says, how an image starts, what goes into a build. Nothing is built here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.docker import context
from deploy.docker.dockerfile import DockerfileError, parse
from tests.fakes.serving import serving
from tests.stack import ROOT, process_environment
from tests.unit.deploy.inspection import config_of, understood

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
EXAMPLE = DOCKER / "example"
TARGETS = ("gateway", "scaler", "worker-cpu", "worker-gpu")
NEVER = {".onnx", ".pt", ".npz", ".pyc", ".log", ".key", ".pem", ".env", ".zip", ".png"}
LARGEST = 1_000_000
BUILT = ("gateway", "pages", "dashboard")
CONTEXTS = [(ROOT, DOCKERFILE), (EXAMPLE, EXAMPLE / "Dockerfile")]


# --- The Dockerfiles ---


@pytest.mark.parametrize("file", [file for _, file in CONTEXTS], ids=lambda file: str(file.parent.name))
def test_hadolint_finds_nothing(tools: Path, file: Path) -> None:
    done = subprocess.run(
        [tools / "hadolint", "--no-color", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_every_image_runs_as_nobody_under_tini_and_is_asked_how_it_is(target: str) -> None:
    config = config_of(parse(DOCKERFILE.read_text()), target)
    process = target.partition("-")[0]
    assert config.user == "10001:10001"
    assert config.entrypoint == ("tini", "--")
    assert config.cmd[:2] == ("python", "-m")
    assert config.healthcheck == ("leveret-healthcheck", process)
    assert config.stop_signal == "SIGTERM"
    assert config.volumes == ("/var/lib/leveret",)
    assert config.labels["org.opencontainers.image.title"] == f"leveret-{target}"
    assert config.env[f"LEVERET_{process.upper()}_ADMIN_PORT"] in config.ports


@pytest.mark.parametrize("target", TARGETS)
def test_an_images_variables_are_settings(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(parse(DOCKERFILE.read_text()), target)
    understood(config.env, config.cmd, monkeypatch)


def test_the_gpu_image_asks_for_the_gpu_and_what_computes_on_it() -> None:
    env = config_of(parse(DOCKERFILE.read_text()), "worker-gpu").env
    assert env["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert set(env["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {"compute", "utility"}
    assert env["LEVERET_WORKER_DEVICE"] == "cuda"


def test_the_base_is_pinned_by_its_digest() -> None:
    bases = {stage.base for stage in parse(DOCKERFILE.read_text()).values()}
    outside = [base for base in bases if base not in parse(DOCKERFILE.read_text())]
    assert len(outside) == 1
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim@sha256:[0-9a-f]{64}", outside[0])


def test_no_package_is_installed_without_its_hash() -> None:
    stages = parse(DOCKERFILE.read_text())
    installing = [
        name for name in stages if any(" install --requirement " in s.text for s in stages[name].steps)
    ]
    assert installing == [*(f"{target}-packages" for target in TARGETS), "dashboard-page"]
    for name in installing:
        assert config_of(stages, name).env["PIP_REQUIRE_HASHES"] == "1"
    (example,) = [
        s.text for s in parse((EXAMPLE / "Dockerfile").read_text())["packages"].steps if "pip" in s.text
    ]
    assert "--require-hashes" in example


@pytest.mark.parametrize(
    "line",
    [
        "ADD https://example.com/x /x",
        "ONBUILD RUN true",
        "RUN <<EOF",
        "COPY --chown=1:1 a /a",
        "FROM --platform=arm64 debian",
    ],
)
def test_what_the_assembly_does_not_know_is_refused_and_not_skipped(line: str) -> None:
    with pytest.raises(DockerfileError):
        parse(f"FROM debian\n{line}\n")


def test_a_dockerfile_is_read_as_docker_reads_it() -> None:
    # Given continued lines, comments between them, flags, an argument
    text = """
    ARG BASE=debian:1
    FROM ${BASE} AS one
    ENV A=1 \\
        # said between
        B="x y"
    COPY --from=other --chmod=0755 a b /c/
    FROM one
    HEALTHCHECK --interval=5s CMD ["ask", "it"]
    CMD serve --all
    """
    stages = parse(text, {"BASE": "debian:2"})
    # Then
    assert {name: stage.base for name, stage in stages.items()} == {"one": "debian:2", "1": "one"}
    env, copy = stages["one"].steps
    assert env.pairs({}) == {"A": "1", "B": "x y"}
    assert (copy.flags, copy.words()) == ({"from": "other", "chmod": "0755"}, ["a", "b", "/c/"])
    config = config_of(stages, "1")
    assert config.healthcheck == ("ask", "it")
    assert config.cmd == ("/bin/sh", "-c", "serve --all")


# --- What goes into a build ---


def test_only_code_and_pins_go_into_a_build() -> None:
    rules = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text()
    sent = context.files(ROOT, rules)
    tops = {file.parts[0] for file in sent}
    assert tops == {"dashboard", "deploy", "gateway", "gpu_worker", "requirements", "scaler", "shared"}
    tools = {Path("deploy/dashboard.py"), Path("deploy/docker/healthcheck.py")}
    assert {file for file in sent if file.parts[0] == "deploy"} == tools
    dotted = [
        file for file in sent if file.name.startswith(".") and file.name not in {".npmrc", ".gitignore"}
    ]
    assert not [file for file in sent if file.suffix in NEVER or file in dotted]
    assert not [file for file in sent if "node_modules" in file.parts or file.parts[:2] == BUILT]
    assert not [file for file in sent if file.parts[:2] == ("gateway", "client")]
    assert max((ROOT / file).stat().st_size for file in sent) < LARGEST


def test_everything_a_build_copies_goes_into_it() -> None:
    for root, dockerfile in CONTEXTS:
        sent = context.files(root, dockerfile.with_name("Dockerfile.dockerignore").read_text())
        known = {str(place) for file in sent for place in (file, *file.parents)}
        copied = [
            name
            for stage in parse(dockerfile.read_text()).values()
            for step in stage.steps
            if step.word == "COPY" and "from" not in step.flags
            for name in step.words()[:-1]
        ]
        assert copied
        assert [name for name in copied if name not in known] == []


def test_what_is_new_in_the_checkout_stays_out(tmp_path: Path) -> None:
    # Given a checkout with secrets, environments and models in it, also among the code
    code, elsewhere = (
        ["shared/jobs.py", "gpu_worker/engine/host.py"],
        [".env", ".git/config", "models/u2.onnx"],
    )
    among = ["shared/.env", "gateway/client/aio.py", "scaler/__pycache__/x.pyc", "gpu_worker/big.onnx"]
    for name in [*code, *elsewhere, *among, "requirements/dev.txt", ".venv/bin/python"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    # Then the code alone is sent
    sent = context.files(tmp_path, DOCKERFILE.with_name("Dockerfile.dockerignore").read_text())
    assert [str(file) for file in sent] == sorted(code)


# --- HEALTHCHECK ---


@pytest.fixture
def admin() -> Iterator[HTTPServer]:
    """An admin port whose /livez answers with `status`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(server.status if self.path == "/livez" else 404)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server, serving(server):
        yield server


def health(process: str, port: int) -> subprocess.CompletedProcess[str]:
    name = f"LEVERET_{process.upper()}_ADMIN"
    env = process_environment({f"{name}_HOST": "0.0.0.0", f"{name}_PORT": str(port)})
    command = [sys.executable, "-I", "-S", str(DOCKER / "healthcheck.py"), process]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("process", ["gateway", "worker", "scaler"])
def test_healthy_is_who_answers(admin: HTTPServer, process: str) -> None:
    admin.status = 200  # type: ignore[attr-defined]
    done = health(process, admin.server_port)
    assert (done.returncode, done.stdout.strip()) == (0, "/livez answers 200")


def test_unhealthy_is_who_answers_badly_or_not_at_all(admin: HTTPServer) -> None:
    admin.status = 500  # type: ignore[attr-defined]
    assert health("worker", admin.server_port).returncode == 1
    silent = health("worker", 1)
    assert (silent.returncode, silent.stderr) == (1, "")


def test_the_script_of_the_healthcheck_can_be_executed() -> None:
    assert os.access(DOCKER / "healthcheck.py", os.X_OK)
    assert os.access(DOCKER / "secrets", os.X_OK)
