"""compose.yaml as the real Docker Compose understands it; that needs no daemon."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.docker.dockerfile import parse
from deploy.local.rabbitmq import LONGEST_JOB_S
from gpu_worker.settings import WorkerSettings
from tests.stack import ROOT, process_environment
from tests.unit.deploy.inspection import config_of, understood

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCKER = ROOT / "deploy" / "docker"
GRAFANA = ROOT / "deploy" / "grafana"
PASSWORDS = ("POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "REDIS_PASSWORD", "S3_SECRET_KEY", "GRAFANA_PASSWORD")


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of passwords as `deploy/docker/secrets` makes it."""
    file = tmp_path_factory.mktemp("compose") / ".env"
    subprocess.run([DOCKER / "secrets", file], check=True, timeout=10)
    return file


@pytest.fixture(scope="session")
def compose(tools: Path, secrets: Path) -> dict[str, Any]:
    """compose.yaml as Docker Compose understands it, every profile included."""
    done = _compose(tools, "--env-file", secrets, "--profile", "*", "config", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    understood: dict[str, Any] = json.loads(done.stdout)
    return understood


def _compose(tools: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [tools / "docker-compose", "--file", ROOT / "compose.yaml", *words]
    kept = {name: value for name, value in process_environment({}).items() if not name.startswith("COMPOSE_")}
    return subprocess.run(command, env=kept, capture_output=True, text=True, timeout=60, check=False)


def _ours(compose: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: each
        for name, each in compose["services"].items()
        if "LEVERET_POSTGRES_DSN" in (each.get("environment") or {})
    }


def test_without_its_passwords_compose_says_what_to_run(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = _compose(tools, "--env-file", tmp_path / "empty", "config", "--quiet")
    assert done.returncode != 0
    assert "run deploy/docker/secrets" in done.stderr


def test_the_whole_stack_is_there(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {
        *("postgres", "rabbitmq", "redis", "s3", "migrate", "models"),
        *("gateway", "worker", "worker-gpu", "scaler", "prometheus", "grafana"),
    }
    profiles = {name: each["profiles"] for name, each in compose["services"].items() if "profiles" in each}
    assert profiles == {
        "worker-gpu": ["gpu"],
        "scaler": ["scaler"],
        "prometheus": ["metrics"],
        "grafana": ["metrics"],
    }


def test_everybody_waits_for_what_he_needs_and_says_when_he_is_well(compose: dict[str, Any]) -> None:
    services = compose["services"]
    once = {"migrate", "models"}
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in once else "service_healthy"
            assert wait["condition"] == expected, f"{name} -> {other}"
    from_image = {name for name, each in services.items() if each["image"].startswith("leveret-")}
    for name in services.keys() - from_image:
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    for name in once:
        assert services[name]["healthcheck"] == {"disable": True}
        assert name in services["gateway"]["depends_on"]  # else `up --wait` takes its end for a failure


def test_our_services_settings_are_understood(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = parse((DOCKER / "Dockerfile").read_text())
    for service in _ours(compose).values():
        config = config_of(stages, service["image"].removeprefix("leveret-"))
        command = service["command"] or config.cmd
        understood({**config.env, **service["environment"]}, command, monkeypatch)


def test_our_services_are_locked_up(compose: dict[str, Any]) -> None:
    assert len(_ours(compose)) == 6
    for service in _ours(compose).values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")
    published = {name: each["ports"] for name, each in compose["services"].items() if "ports" in each}
    assert [
        (name, port["target"], port["host_ip"]) for name, ports in published.items() for port in ports
    ] == [("gateway", 8000, "127.0.0.1"), ("grafana", 3000, "127.0.0.1"), ("prometheus", 9090, "127.0.0.1")]


def test_prometheus_and_grafana_find_what_they_are_given(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        for mount in services[name]["volumes"]:
            assert mount["type"] == "volume" or Path(mount["source"]).is_dir(), mount
            assert mount["type"] == "volume" or mount["read_only"], mount
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    by_name = [lookup for each in scraped for lookup in each.get("dns_sd_configs", ())]
    found = {name: lookup for lookup in by_name for name in lookup["names"]}
    assert set(found) == {"gateway", "scaler"}
    assert set(found) <= set(services)
    (asked,) = (lookup["url"] for each in scraped for lookup in each.get("http_sd_configs", ()))
    assert asked == "http://gateway:8001/targets"  # the workers, by their rows
    assert {each["port"] for each in found.values()} == {8001}  # the admin port of the images
    assert services["scaler"]["environment"]["LEVERET_SCALER_ADMIN_PORT"] == "8001"
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())
    assert [each["url"] for each in source["datasources"]] == ["http://prometheus:9090"]
    boards = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "leveret.yml").read_text())
    (place,) = [each["options"]["path"] for each in boards["providers"]]
    assert place in {mount["target"] for mount in services["grafana"]["volumes"]}


def test_a_worker_gets_the_time_it_needs_to_drain(compose: dict[str, Any]) -> None:
    drain_s = WorkerSettings.model_fields["worker"].default.drain_s
    for name in ("worker", "worker-gpu"):
        assert _seconds(compose["services"][name]["stop_grace_period"]) >= drain_s + 20
    scaler = compose["services"]["scaler"]
    assert _seconds(scaler["stop_grace_period"]) >= float(scaler["environment"]["LEVERET_SCALER_STOP_S"]) + 20


def _seconds(shown: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", shown))


def test_the_gpu_is_asked_for_where_it_is_used(compose: dict[str, Any]) -> None:
    resources = {
        name: each.get("deploy", {}).get("resources", {}) for name, each in compose["services"].items()
    }
    wanted = {
        name: [device["capabilities"] for device in each["reservations"]["devices"]]
        for name, each in resources.items()
        if each
    }
    assert wanted == {"worker-gpu": [["gpu"]]}


def test_the_broker_lets_the_longest_job_end(compose: dict[str, Any]) -> None:
    mounts = {
        each["target"]: Path(each["source"])
        for each in compose["services"]["rabbitmq"]["volumes"]
        if "source" in each
    }
    text = mounts["/etc/rabbitmq/conf.d/20-leveret.conf"].read_text()
    (timeout_ms,) = re.findall(r"^consumer_timeout = (\d+)$", text, re.MULTILINE)
    assert int(timeout_ms) > LONGEST_JOB_S * 1000


def test_passwords_are_made_once_and_are_nobody_elses(secrets: Path) -> None:
    before = secrets.read_text()
    values = dict(line.split("=", 1) for line in before.splitlines())
    assert set(values) == set(PASSWORDS)
    assert len(set(values.values())) == len(PASSWORDS)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    subprocess.run([DOCKER / "secrets", secrets], check=True, timeout=10)
    assert secrets.read_text() == before


def test_no_password_is_in_the_file(compose: dict[str, Any]) -> None:
    text = (ROOT / "compose.yaml").read_text()
    for line in re.findall(r"^.*(?:PASS|SECRET|DSN|_URL|AUTH).*$", text, re.MULTILINE):
        if "PUBLIC_URL" not in line and "$$" not in line:
            assert re.search(r"\$\{\w+:\?run deploy/docker/secrets\}", line), line
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert ".env" in ignored
