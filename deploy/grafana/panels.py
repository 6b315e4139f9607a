"""What the dashboards show: a table of panels for each. Nothing of Grafana's format enters here.

In queries `$queue` and `$model` are what the reader chose, `$__rate_interval` what Grafana takes for a rate.
"""

from __future__ import annotations

from dataclasses import dataclass

OF_QUEUE = '{queue=~"$queue"}'


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        unit: Grafana's name of it: s, bytes, percentunit, short, reqps.
        kind: ``timeseries`` or ``stat``.
        about: For whoever asks what it means.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; `choices`: its variables, each with the metric that knows their values."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    choices: tuple[tuple[str, str], ...] = ()


def quantiles(metric: str, by: str, where: str = "") -> tuple[Query, ...]:
    """The median and the 95th percentile of a histogram, by a label."""
    rate = f"sum by (le, {by}) (rate({metric}_bucket{where}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({q}, {rate})", f"{{{{{by}}}}} {name}")
        for q, name in ((0.5, "p50"), (0.95, "p95"))
    )


def rates(metric: str, by: str, where: str = "") -> tuple[Query, ...]:
    """How often a second, by a label."""
    return (Query(f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))", f"{{{{{by}}}}}"),)


def most(metric: str, by: str, where: str = "", legend: str = "") -> tuple[Query, ...]:
    """What every replica tells alike."""
    legend = legend or " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return (Query(f"max by ({by}) ({metric}{where})", legend),)


QUEUED = 'leveret_gateway_queue_jobs{state="queued", queue=~"$queue"}'
RUNNING = 'leveret_gateway_queue_jobs{state="running", queue=~"$queue"}'

OVERVIEW = Board(
    "leveret-overview",
    "Leveret / Overview",
    (
        Panel("Gateways", (Query('sum(up{job="leveret-gateway"})'),), kind="stat"),
        Panel("Workers", (Query('sum(up{job="leveret-worker"})'),), kind="stat"),
        Panel("Queued", (Query("sum(leveret:queue_queued_jobs)"),), kind="stat"),
        Panel("Running", (Query("sum(leveret:queue_running_jobs)"),), kind="stat"),
        Panel("Longest wait", (Query("max(leveret:queue_oldest_age_seconds)"),), "s", "stat"),
        Panel(
            "Alerts that fire",
            (Query('count(ALERTS{alertname=~"Leveret.*", alertstate="firing"}) or vector(0)'),),
            kind="stat",
        ),
        Panel("Dead letters", (Query("max(leveret_gateway_dead_letters)"),), kind="stat"),
        Panel("Sockets", (Query("sum(leveret_gateway_sockets_open)"),), kind="stat"),
        Panel("Submits", rates("leveret_gateway_submits_total", "outcome"), "reqps"),
        Panel("Attempts that ended", rates("leveret_worker_attempts_total", "outcome"), "reqps"),
        Panel("Queued jobs", (Query("leveret:queue_queued_jobs", "{{queue}}"),), stacked=True),
        Panel("Longest wait by class", most("leveret:queue_oldest_age_seconds", "queue, class"), "s"),
        Panel("Wait of those that started", quantiles("leveret_worker_wait_seconds", "class"), "s"),
        Panel(
            "Push lag",
            (
                Query("leveret:push_lag_seconds:p99_5m", "p99"),
                Query(
                    "histogram_quantile(0.5, sum by (le) (rate(leveret_gateway_push_lag_seconds_bucket[$__rate_interval])))",  # noqa: E501  one query
                    "p50",
                ),
            ),
            "s",
            about="From an event's commit until a subscriber's socket had taken it",
        ),
        Panel("Errors of attempts", rates("leveret_worker_errors_total", "code"), "reqps"),
        Panel("Jobs put right by the relay", rates("leveret_gateway_relay_repairs_total", "cause"), "reqps"),
        Panel("HTTP answers", quantiles("leveret_gateway_http_duration_seconds", "route"), "s"),
        Panel("Devices at work", (Query("leveret:queue_device_busy:ratio5m", "{{queue}}"),), "percentunit"),
    ),
)

QUEUE = Board(
    "leveret-queue",
    "Leveret / Queue",
    (
        Panel("Queued by class", most(QUEUED, "queue, class"), stacked=True),
        Panel("Running by class", most(RUNNING, "queue, class"), stacked=True),
        Panel(
            "Longest wait, beside what is aimed at",
            (
                Query("leveret:queue_oldest_age_seconds" + OF_QUEUE, "{{queue}} {{class}}"),
                Query("leveret:queue_objective_seconds" + OF_QUEUE, "{{queue}} {{class}} objective"),
            ),
            "s",
        ),
        Panel("Wait of those that started", quantiles("leveret_worker_wait_seconds", "class", OF_QUEUE), "s"),
        Panel("Consumers", most("leveret_gateway_queue_consumers", "queue", OF_QUEUE)),
        Panel(
            "Messages that no worker holds",
            most("leveret_gateway_queue_messages", "queue", OF_QUEUE),
            about="Not the depth: a job may have several messages, or none yet",
        ),
        Panel(
            "Messages sent again", rates("leveret_gateway_relay_published_total", "queue", OF_QUEUE), "reqps"
        ),
        Panel(
            "Raised to priority 10 for their wait",
            rates("leveret_gateway_relay_promotions_total", "queue", OF_QUEUE),
            "reqps",
        ),
        Panel(
            "Workers",
            (
                *most("leveret_scaler_want_workers", "queue", OF_QUEUE, "{{queue}} wanted"),
                *most("leveret_scaler_have_workers", "queue", OF_QUEUE, "{{queue}} there"),
            ),
        ),
        Panel(
            "Slots in use",
            (
                Query(
                    f"sum by (queue) (leveret_worker_jobs_in_hand{OF_QUEUE})"
                    f" / sum by (queue) (leveret_worker_slots{OF_QUEUE})",
                    "{{queue}}",
                ),
            ),
            "percentunit",
        ),
    ),
    (("queue", "leveret_gateway_queue_jobs"),),
)

OF_MODEL = '{model=~"$model"}'
BUSY = f"rate(leveret_worker_device_busy_seconds_total{OF_QUEUE}[$__rate_interval])"
WORKER = Board(
    "leveret-worker",
    "Leveret / Worker",
    (
        Panel("Attempts by outcome", rates("leveret_worker_attempts_total", "outcome", OF_MODEL), "reqps"),
        Panel("Errors by code", rates("leveret_worker_errors_total", "code", OF_MODEL), "reqps"),
        Panel("Stages", quantiles("leveret_worker_stage_seconds", "stage", OF_MODEL), "s"),
        Panel(
            "Jobs in a batch",
            (
                Query(
                    f"sum by (model) (rate(leveret_worker_batch_jobs_sum{OF_MODEL}[$__rate_interval]))"
                    f" / sum by (model) (rate(leveret_worker_batch_jobs_count{OF_MODEL}[$__rate_interval]))",
                    "{{model}}",
                ),
            ),
            about="As a job meets it: one of eight in a batch counts eight",
        ),
        Panel("Device at work", (Query(BUSY, "{{instance}} {{device}}"),), "percentunit"),
        Panel(
            "Device memory",
            (
                Query(f"leveret_worker_device_memory_used_bytes{OF_QUEUE}", "{{instance}} {{device}} used"),
                Query(
                    f"leveret_worker_device_memory_total_bytes{OF_QUEUE}", "{{instance}} {{device}} in all"
                ),
            ),
            "bytes",
        ),
        Panel(
            "Memory of engines",
            (Query(f"leveret_worker_engine_memory_bytes{OF_QUEUE}", "{{instance}} {{device}}"),),
            "bytes",
        ),
        Panel(
            "Engines started",
            (
                Query(
                    f"increase(leveret_worker_engine_starts_total{OF_QUEUE}[15m])", "{{instance}} {{device}}"
                ),
            ),
            about="In 15 minutes. More than one where they die or are replaced",
        ),
        Panel(
            "Jobs in hand",
            (
                Query(f"leveret_worker_jobs_in_hand{OF_QUEUE}", "{{instance}}"),
                Query(f"leveret_worker_slots{OF_QUEUE}", "{{instance}} slots"),
            ),
        ),
        Panel(
            "Leases lost, renewals without an answer, jobs given back",
            (
                Query("sum(rate(leveret_worker_leases_lost_total[$__rate_interval]))", "leases lost"),
                Query("sum(rate(leveret_worker_renewals_failed_total[$__rate_interval]))", "not renewed"),
                Query("sum(rate(leveret_worker_releases_total[$__rate_interval]))", "given back"),
            ),
            "reqps",
        ),
        Panel(
            "Cost of attempts in an hour",
            (Query(f"sum by (model) (increase(leveret_worker_cost_total{OF_MODEL}[1h]))", "{{model}}"),),
            about="In the deployment's currency; no data where the machines have no price",
        ),
        Panel("Wishes that a worker leaves", rates("leveret_worker_notices_total", "kind"), "reqps"),
        Panel(
            "Memory of workers",
            (Query('process_resident_memory_bytes{job="leveret-worker"}', "{{instance}}"),),
            "bytes",
        ),
    ),
    (("queue", "leveret_worker_slots"), ("model", "leveret_worker_attempts_total")),
)

SCALER = Board(
    "leveret-scaler",
    "Leveret / Scaler",
    (
        Panel("Leads", (Query("max(leveret_scaler_leader)"),), kind="stat"),
        Panel(
            "Last look",
            (Query("time() - max(leveret_scaler_last_look_timestamp_seconds > 0)"),),
            "s",
            "stat",
        ),
        Panel("Alarms", (Query("sum(leveret_scaler_alarms)"),), kind="stat"),
        Panel(
            "Cost an hour",
            (Query("sum(leveret_scaler_cost_per_hour)"),),
            kind="stat",
            about="Of the machines that are there, in the deployment's currency; no data without prices",
        ),
        Panel("Launches in a row that failed", (Query("max(leveret_scaler_failed_launches)"),), kind="stat"),
        Panel(
            "Workers",
            (
                *most("leveret_scaler_want_workers", "queue", OF_QUEUE, "{{queue}} wanted"),
                *most("leveret_scaler_have_workers", "queue", OF_QUEUE, "{{queue}} there"),
                *most("leveret_scaler_limit_workers", "queue, bound", OF_QUEUE),
            ),
        ),
        Panel("Backlog", most("leveret_scaler_backlog_jobs", "queue, class", OF_QUEUE), stacked=True),
        Panel(
            "Longest wait, beside what is aimed at",
            (
                *most("leveret_scaler_oldest_job_age_seconds", "queue, class", OF_QUEUE),
                *most(
                    "leveret_scaler_objective_seconds",
                    "queue, class",
                    OF_QUEUE,
                    "{{queue}} {{class}} objective",
                ),
            ),
            "s",
        ),
        Panel("Cost an hour by queue", most("leveret_scaler_cost_per_hour", "queue", OF_QUEUE)),
        Panel("Running jobs", most("leveret_scaler_running_jobs", "queue", OF_QUEUE)),
        Panel(
            "What it has learned",
            (
                *most("leveret_scaler_service_seconds", "queue", OF_QUEUE, "{{queue}} a job"),
                *most("leveret_scaler_boot_seconds", "queue", OF_QUEUE, "{{queue}} a boot"),
            ),
            "s",
        ),
        Panel(
            "Launches in an hour",
            (
                Query(f"sum by (queue) (increase(leveret_scaler_launches_total{OF_QUEUE}[1h]))", "{{queue}}"),
                Query(
                    f"sum by (queue) (increase(leveret_scaler_launch_failures_total{OF_QUEUE}[1h]))",
                    "{{queue}} failed",
                ),
            ),
        ),
        Panel(
            "Decisions in an hour",
            (
                Query(
                    f"sum by (queue, action) (increase(leveret_scaler_decisions_total{OF_QUEUE}[1h]))",
                    "{{queue}} {{action}}",
                ),
            ),
        ),
    ),
    (("queue", "leveret_scaler_have_workers"),),
)

BOARDS = (OVERVIEW, QUEUE, WORKER, SCALER)
