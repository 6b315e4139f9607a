"""Settings: misspelt variables are refused, and no secret is ever part of an error."""

from __future__ import annotations

import os

import pytest

from gateway.settings import GatewaySettings
from gpu_worker.settings import WorkerSettings
from scaler.settings import ScalerSettings
from shared.errors import Misconfigured
from shared.settings import ProcessSettings, read_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)


def test_variables_reach_their_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_POSTGRES_DSN", "postgresql://u:hunter2@h/x")
    monkeypatch.setenv("LEVERET_WORKER_SLOTS", "3")

    settings = read_settings(WorkerSettings)

    assert settings.worker.slots == 3
    assert settings.postgres.dsn.get_secret_value() == "postgresql://u:hunter2@h/x"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "name", ["LEVERET_POSTGRES_DNS", "LEVERET_POSTGRESQL_DSN", "LEVERET_WORKER_SLOT", "LEVERET_X"]
)
def test_a_misspelt_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "hunter2")

    with pytest.raises(Misconfigured, match=name) as caught:
        read_settings(WorkerSettings)
    assert "hunter2" not in str(caught.value)


def test_a_bad_value_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_POSTGRES_POOL_SIZE", "hunter2")

    with pytest.raises(Misconfigured, match="LEVERET_POSTGRES_POOL_SIZE") as caught:
        read_settings(ProcessSettings)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(GatewaySettings, "LEVERET_GATEWAY_ORIGINS"), (ScalerSettings, "LEVERET_SCALER_QUEUES")],
)
def test_a_list_or_mapping_that_is_no_json_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, kind: type[ProcessSettings], name: str
) -> None:
    monkeypatch.setenv("LEVERET_SCALER_FLEET", "process")
    monkeypatch.setenv(name, "hunter2")

    with pytest.raises(Misconfigured, match=f"^{name}: must be JSON$"):
        read_settings(kind)


@pytest.mark.parametrize("kind", [GatewaySettings, WorkerSettings, ScalerSettings])
def test_every_process_accepts_the_others_variables(
    monkeypatch: pytest.MonkeyPatch, kind: type[ProcessSettings]
) -> None:
    for name in ("GATEWAY_PORT", "WORKER_ADMIN_PORT", "SCALER_MAX"):
        monkeypatch.setenv(f"LEVERET_{name}", "9")
    monkeypatch.setenv("LEVERET_API_KEY", "lev_x")
    monkeypatch.setenv("LEVERET_URL", "http://127.0.0.1:1")

    read_settings(kind)


@pytest.mark.parametrize(
    "template",
    [
        "https://jaeger.example.com/trace/",
        "https://jaeger.example.com/trace/{id}",
        "https://jaeger.example.com/{trace_id}/{trace_id}",
        "https://jaeger.example.com/{trace_id}?{more}",
        "javascript:alert({trace_id})",
        "/trace/{trace_id}",
        "https://user:hunter2@jaeger.example.com/trace/{trace_id}",
    ],
)
def test_an_address_that_is_none_of_a_trace_is_refused(
    monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setenv("LEVERET_GATEWAY_TRACE_URL", template)
    with pytest.raises(Misconfigured, match="LEVERET_GATEWAY_TRACE_URL") as caught:
        read_settings(GatewaySettings)
    assert "hunter2" not in str(caught.value)


def test_an_address_of_a_trace_is_kept_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    template = "http://localhost:16686/trace/{trace_id}?uiEmbed=v0"
    monkeypatch.setenv("LEVERET_GATEWAY_TRACE_URL", template)
    assert read_settings(GatewaySettings).gateway.trace_url == template


def test_a_worker_is_not_given_engines_that_would_never_get_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_WORKER_SLOTS", "2")
    monkeypatch.setenv("LEVERET_WORKER_ENGINES", "3")

    with pytest.raises(Misconfigured, match="LEVERET_WORKER_ENGINES is above LEVERET_WORKER_SLOTS"):
        read_settings(WorkerSettings)
