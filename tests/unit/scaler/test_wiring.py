"""The scaler's settings, and what its workers inherit."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from scaler import gauges
from scaler.__main__ import main, told
from scaler.fleet.wiring import state_dir, worker_environment
from scaler.settings import ScalerSection, ScalerSettings
from scaler.snapshot import UNKNOWN, Backlog, Decision, Demand, Snapshot, Tier
from scaler.wiring import _configs, config_of
from shared.errors import Misconfigured
from shared.settings import read_settings


def test_the_defaults_start_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEVERET_SCALER_MAX", raising=False)
    config = config_of(ScalerSection())

    assert (config.min, config.max, config.slots, config.idle_s) == (0, 1, 1, 120)
    assert config.wait_s == {Tier.HIGH: 120, Tier.NORMAL: 600, Tier.LOW: 3600}
    assert (config.theta, config.boot_prior_s) == (0.8, 10)
    assert config_of(ScalerSection(interval_s=30)).stale_s == 90


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MIN": "1",
        "MAX": "3",
        "IDLE_S": "5",
        "WAIT_NORMAL_S": "300",
        "BOOT_PRIOR_S": "90",
        "KEEP_WORKERS": "true",
    }.items():
        monkeypatch.setenv(f"LEVERET_SCALER_{name}", value)

    section = read_settings(ScalerSettings).scaler

    assert (section.min, section.max, section.idle_s) == (1, 3, 5)
    assert config_of(section).wait_s[Tier.NORMAL] == 300
    assert config_of(section).boot_prior_s == 90
    assert section.keep_workers


ZONED = '{"g6.xlarge": {"on_demand": 1, "spot_in": {"eu-central-1x": 0.3}}}'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIN", "2"),
        ("MAXIMUM", "2"),
        ("MAX", "10000000000"),
        ("INTERVAL_S", "0"),
        ("INTERVAL_S", "inf"),
        ("IDLE_S", "nan"),
        ("ON_DEMAND_AFTER_S", "inf"),
        ("PRICE_PER_HOUR", "-1"),
        ("PRICE_PER_HOUR", "nan"),
        ("OFFERINGS", '{"g6.xlarge": {"spot": Infinity}}'),
        ("OFFERINGS", '{"g6.xlarge": {"spot": NaN}}'),
        ("OFFERINGS", '{"g6.xlarge": {"spot": -0.3}}'),
        ("QUEUES", '{"images": {"min": 3}}'),
        ("QUEUES", '{"images": {"min": 10000000000, "max": 10000000000}}'),
    ],
)
def test_settings_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"LEVERET_SCALER_{name}", value)

    with pytest.raises(Misconfigured, match="LEVERET_SCALER"):
        read_settings(ScalerSettings)


@pytest.mark.parametrize("queues", ["{}", f'{{"images": {{"offerings": {ZONED}}}}}'])
def test_a_price_in_a_zone_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, queues: str) -> None:
    plain = '{"g6.xlarge": {"on_demand": 1}}'
    monkeypatch.setenv("LEVERET_SCALER_FLEET", "ec2_fleet")
    monkeypatch.setenv("LEVERET_SCALER_ZONES", '{"eu-central-1a": ""}')
    monkeypatch.setenv("LEVERET_SCALER_OFFERINGS", plain if queues != "{}" else ZONED)
    monkeypatch.setenv("LEVERET_SCALER_QUEUES", queues)

    with pytest.raises(Misconfigured, match="eu-central-1x"):
        read_settings(ScalerSettings)


NAMES = ("quick", "images")
QUICK = '{"quick": {"max": 4, "wait_low_s": 8, "slots": 16, "device": "cpu"}}'


def test_a_queue_has_limits_and_workers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given common limits, and some of one queue's own
    monkeypatch.setenv("LEVERET_SCALER_MAX", "2")
    monkeypatch.setenv("LEVERET_SCALER_IDLE_S", "5")
    monkeypatch.setenv("LEVERET_SCALER_QUEUES", QUICK)

    section = read_settings(ScalerSettings).scaler

    # Then they win there, and what they leave out is the common one
    quick, images = config_of(section.of("quick")), config_of(section.of("images"))
    assert (quick.min, quick.max, quick.wait_s[Tier.LOW], quick.idle_s) == (0, 4, 8, 5)
    assert (images.min, images.max, images.wait_s[Tier.LOW], images.idle_s) == (0, 2, 3600, 5)
    assert section.worker_variables("quick") == {
        "LEVERET_WORKER_SLOTS": "16",
        "LEVERET_WORKER_DEVICE": "cpu",
    }
    assert section.worker_variables("images") == {}
    # And it is known how many jobs a worker will take before one was heard of
    monkeypatch.setenv("LEVERET_WORKER_SLOTS", "2")
    assert {
        name: config.slots
        for name, config in _configs(ScalerSettings(scaler=section), dict.fromkeys(NAMES, 60.0)).items()
    } == {
        "quick": 16,
        "images": 2,
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('{"quick": {"slot": 8}}', "LEVERET_SCALER_QUEUES_QUICK_SLOT"),
        ('{"quick": {"slots": 0}}', "LEVERET_SCALER_QUEUES_QUICK_SLOTS"),
        ('{"quick": {"device": "gpu"}}', "LEVERET_SCALER_QUEUES_QUICK_DEVICE"),
        ('{"quick": {"min": 2}}', "LEVERET_SCALER_QUEUES: quick: its min is above its max"),
        ("[]", "LEVERET_SCALER_QUEUES"),
    ],
)
def test_a_queues_limits_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, value: str, why: str
) -> None:
    monkeypatch.setenv("LEVERET_SCALER_QUEUES", value)

    with pytest.raises(Misconfigured, match=why):
        read_settings(ScalerSettings)


def test_a_dry_run_may_be_asked_for_in_either_way() -> None:
    acting, dry = ScalerSettings(), ScalerSettings(scaler=ScalerSection(dry_run=True))
    assert [told(acting, dry_run=flag).scaler.dry_run for flag in (False, True)] == [False, True]
    assert told(dry, dry_run=False).scaler.dry_run


def test_a_word_that_is_unknown_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--dryrun"])
    assert ended.value.code == 2
    assert "--dry-run" in capsys.readouterr().err


def test_workers_inherit_all_but_the_scalers_own_section() -> None:
    environment = {
        "PATH": "/bin",
        "LEVERET_S3_BUCKET": "b",
        "LEVERET_WORKER_SLOTS": "2",
        "LEVERET_SCALER_MAX": "9",
    }

    assert worker_environment(environment).keys() == {"PATH", "LEVERET_S3_BUCKET", "LEVERET_WORKER_SLOTS"}


def test_the_folder_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    own = ScalerSettings(scaler=ScalerSection(state_dir=tmp_path / "own"))
    strange = ScalerSettings(scaler=ScalerSection(state_dir=tmp_path / "link"))

    assert state_dir(own).stat().st_mode & 0o777 == 0o700
    with pytest.raises(Misconfigured, match="belongs to another user"):
        state_dir(strange)


def test_a_folder_that_cannot_be_made_is_told_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        settings = ScalerSettings(scaler=ScalerSection(state_dir=folder))
        with pytest.raises(Misconfigured, match="LEVERET_SCALER_STATE_DIR"):
            state_dir(settings)


def test_metrics_show_figures_and_say_when_they_are_unknown() -> None:
    demand = Demand(tiers={Tier.HIGH: Backlog(waiting=3, oldest_s=7.0)}, running=2)
    decision = Decision(want=4, have=2, launch=2, reason="")
    gauges.show("metrics", Snapshot(taken_at=0, demand=demand), decision)
    gauges.count("metrics", decision)

    assert REGISTRY.get_sample_value("leveret_scaler_want_workers", {"queue": "metrics"}) == 4
    high = {"queue": "metrics", "class": "high"}
    assert REGISTRY.get_sample_value("leveret_scaler_backlog_jobs", high) == 3
    assert REGISTRY.get_sample_value("leveret_scaler_oldest_job_age_seconds", high) == 7
    launched = {"queue": "metrics", "action": "launch"}
    assert REGISTRY.get_sample_value("leveret_scaler_decisions_total", launched) == 1

    gauges.show("metrics", Snapshot(taken_at=0, demand=UNKNOWN), Decision(want=None, have=2, reason=""))
    unknown = REGISTRY.get_sample_value("leveret_scaler_backlog_jobs", high)
    assert unknown != unknown  # noqa: PLR0124  not a number
