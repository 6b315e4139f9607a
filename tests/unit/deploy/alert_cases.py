"""What each alert is to make of what series: those that shall fire, and those that shall not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Series = dict[str, str]

GATEWAY = 'job="leveret-gateway",instance="g1"'
QUEUE = f'{{{GATEWAY},queue="images",class="normal"}}'


def queue(*, queued: str = "0x40", age: str = "0x40", consumers: str = "1x40") -> Series:
    """A queue as the gateway tells of it, with an objective of 600 s."""
    labels = f'{{{GATEWAY},queue="images",class="normal",state="queued"}}'
    return {
        f"leveret_gateway_queue_jobs{labels}": queued,
        f"leveret_gateway_queue_oldest_age_seconds{QUEUE}": age,
        f'leveret_gateway_queue_consumers{{{GATEWAY},queue="images"}}': consumers,
        f'leveret_gateway_aging_bound_seconds{{{GATEWAY},class="normal"}}': "600x40",
    }


def attempts(*, failed: str, succeeded: str) -> Series:
    of = 'leveret_worker_attempts_total{job="leveret-worker",instance="w1",model="cutout",outcome='
    return {f'{of}"failed"}}': failed, f'{of}"succeeded"}}': succeeded}


def submits(**outcomes: str) -> Series:
    name = "leveret_gateway_submits_total"
    return {f'{name}{{{GATEWAY},outcome="{outcome}"}}': values for outcome, values in outcomes.items()}


def lag(*, quick: str, all_of_them: str) -> Series:
    name = f"leveret_gateway_push_lag_seconds_bucket{{{GATEWAY},le="
    return {f'{name}"0.1"}}': quick, f'{name}"5"}}': quick, f'{name}"10"}}': all_of_them} | {
        f'{name}"+Inf"}}': all_of_them
    }


@dataclass(frozen=True)
class Case:
    """What an alert makes of some series, each a minute a sample; `fires`: the labels beside its own."""

    alert: str
    why: str
    series: Mapping[str, str]
    at: str = "30m"
    fires: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        return f"{self.alert}: {self.why}"


UNKNOWN = " ".join(["NaN"] * 30)
IMAGES = {"queue": "images"}
NORMAL = {"queue": "images", "class": "normal"}
UP = f"up{{{GATEWAY}}}"
WORKER_UP = 'up{job="leveret-worker",instance="w1"}'
SCALER = 'job="leveret-scaler",instance="s1"'
REPAIRS = f'leveret_gateway_relay_repairs_total{{{GATEWAY},cause="lease_expired"}}'
LATE = f"leveret_gateway_publish_confirms_late_total{{{GATEWAY}}}"
BUSY = 'leveret_worker_device_busy_seconds_total{instance="w1",queue="images",device="cuda0"}'
LEADER = f"leveret_scaler_leader{{{SCALER}}}"
LOOKED = f"leveret_scaler_last_look_timestamp_seconds{{{SCALER}}}"
WANT = f'leveret_scaler_want_workers{{{SCALER},queue="images"}}'
FAILED_LAUNCHES = f'leveret_scaler_failed_launches{{{SCALER},queue="images"}}'
ALARMS = f'leveret_scaler_alarms{{{SCALER},queue="images"}}'
LEAVING = f'leveret_scaler_longest_leaving_seconds{{{SCALER},queue="images"}}'
PATIENCE = f'leveret_scaler_leaving_patience_seconds{{{SCALER},queue="images"}}'
OBJECTIVE = f'leveret_scaler_objective_seconds{{{SCALER},queue="images",class="normal"}}'
PAUSED = f'leveret_gateway_queue_paused{{{GATEWAY},queue="images"}}'
DEAD = f"leveret_gateway_dead_letters{{{GATEWAY}}}"
DEFECTS = f"leveret_gateway_unexpected_errors_total{{{GATEWAY}}}"
PROBLEMS = f"leveret_catalog_problems{{{GATEWAY}}}"
WITH_JOB = {"job": "leveret-gateway"}

CASES = [
    Case("LeveretGatewayAbsent", "none is known", {WORKER_UP: "1x40"}, fires={}),
    Case("LeveretGatewayAbsent", "none answers", {UP: "1x10 0x30"}, fires={}),
    Case(
        "LeveretGatewayAbsent",
        "one of two answers",
        {UP: "0x40", 'up{job="leveret-gateway",instance="g2"}': "1x40"},
    ),
    Case(
        "LeveretSubmitsFailing",
        "a tenth is refused",
        submits(accepted="0+90x40", unavailable="0+10x40"),
        fires={},
    ),
    Case(
        "LeveretSubmitsFailing", "the clients are wrong", submits(accepted="0+90x40", invalid_job="0+50x40")
    ),
    Case("LeveretSubmitsFailing", "nobody submits", submits(accepted="90x40", unavailable="10x40")),
    Case(
        "LeveretQueueOlderThanObjective",
        "beyond the gateways' bound",
        queue(queued="3x40", age="0+60x40"),
        fires=NORMAL,
    ),
    Case(
        "LeveretQueueOlderThanObjective",
        "beyond the scaler's objective",
        queue(queued="3x40", age="200x40") | {OBJECTIVE: "120x40"},
        fires=NORMAL,
    ),
    Case("LeveretQueueOlderThanObjective", "old, but within", queue(queued="3x40", age="590x40")),
    Case(
        "LeveretQueueOlderThanObjective",
        "the scaler's objective is a longer one",
        queue(queued="3x40", age="700x40") | {OBJECTIVE: "3600x40"},
    ),
    Case(
        "LeveretQueueWithoutConsumer",
        "jobs wait for nobody",
        queue(queued="3x40", consumers="0x40"),
        fires=IMAGES,
    ),
    Case("LeveretQueueWithoutConsumer", "nothing waits", queue(consumers="0x40")),
    Case(
        "LeveretQueueWithoutConsumer", "the first worker starts", queue(queued="0x25 3x15", consumers="0x40")
    ),
    Case(
        "LeveretQueueOlderThanObjective",
        "somebody holds the queue",
        queue(queued="3x40", age="0+60x40") | {PAUSED: "1x40"},
    ),
    Case(
        "LeveretQueueWithoutConsumer",
        "somebody holds the queue",
        queue(queued="3x40", consumers="0x40") | {PAUSED: "1x40"},
    ),
    Case(
        "LeveretQueueHeldForLong",
        "jobs wait",
        {name: values.replace("x40", "x90") for name, values in queue(queued="3x40").items()}
        | {PAUSED: "1x90"},
        at="80m",
        fires=IMAGES,
    ),
    Case("LeveretQueueHeldForLong", "nothing waits", queue() | {PAUSED: "1x90"}, at="80m"),
    Case("LeveretQueueHeldForLong", "for a moment", queue(queued="3x40") | {PAUSED: "1x40"}, at="40m"),
    Case("LeveretPushLagging", "one in ten is late", lag(quick="0+90x40", all_of_them="0+100x40"), fires={}),
    Case("LeveretPushLagging", "all are in time", lag(quick="0+100x40", all_of_them="0+100x40")),
    Case("LeveretPushLagging", "nothing is pushed", lag(quick="0x40", all_of_them="0x40")),
    Case(
        "LeveretFailuresGrowing",
        "a model that was fine fails",
        attempts(failed="0x1500 0+5x60", succeeded="0+10x1560"),
        at="1530m",
        fires={"model": "cutout"},
    ),
    Case(
        "LeveretFailuresGrowing",
        "a new model fails",
        attempts(failed="0+5x40", succeeded="0+10x40"),
        fires={"model": "cutout"},
    ),
    Case(
        "LeveretFailuresGrowing",
        "it always failed so often",
        attempts(failed="0+5x1560", succeeded="0+10x1560"),
        at="1530m",
    ),
    Case(
        "LeveretFailuresGrowing",
        "a handful in all",
        attempts(failed="0x20 0+1x3 3x20", succeeded="0+1x50"),
        at="30m",
    ),
    Case(
        "LeveretServerAway",
        "PostgreSQL does not answer",
        queue(queued=f"0x10 {UNKNOWN}") | {DEAD: "0x40"},
        fires=WITH_JOB | {"server": "PostgreSQL"},
    ),
    Case(
        "LeveretServerAway",
        "RabbitMQ does not answer",
        queue() | {DEAD: f"0x10 {UNKNOWN}"},
        fires=WITH_JOB | {"server": "RabbitMQ"},
    ),
    Case("LeveretServerAway", "both answer", queue() | {DEAD: "0x40"}),
    Case(
        "LeveretGatewayDown",
        "one of two is away",
        {UP: "0x40", 'up{job="leveret-gateway",instance="g2"}': "1x40"},
        fires=WITH_JOB | {"instance": "g1"},
    ),
    Case("LeveretGatewayDown", "it is being deployed", {UP: "1x26 0x2 1x12"}),
    Case(
        "LeveretWorkerAbsent",
        "it does not answer",
        {WORKER_UP: "1x10 0x30"},
        fires={"job": "leveret-worker", "instance": "w1"},
    ),
    Case("LeveretWorkerAbsent", "it has left, and is no target any more", {WORKER_UP: "1x10 stale"}),
    Case(
        "LeveretRelayRepairing",
        "worker after worker is lost",
        {REPAIRS: "0+1x40"},
        fires={"cause": "lease_expired"},
    ),
    Case("LeveretRelayRepairing", "one was lost", {REPAIRS: "0x20 1x20"}),
    Case(
        "LeveretConfirmsLate", "a tenth is late", submits(accepted="0+100x40") | {LATE: "0+10x40"}, fires={}
    ),
    Case("LeveretConfirmsLate", "one in a hundred", submits(accepted="0+100x40") | {LATE: "0+1x40"}),
    Case(
        "LeveretDeviceIdleWhileQueueWaits",
        "nothing is computed",
        queue(queued="3x40", age="0+60x40") | {BUSY: "0+1x40"},
        fires=IMAGES,
    ),
    Case(
        "LeveretDeviceIdleWhileQueueWaits",
        "it computes",
        queue(queued="3x40", age="0+60x40") | {BUSY: "0+50x40"},
    ),
    Case("LeveretDeviceIdleWhileQueueWaits", "nothing waits", queue() | {BUSY: "0x40"}),
    Case(
        "LeveretDeviceIdleWhileQueueWaits",
        "each job waits a moment",
        queue(queued="1x40", age="2x40") | {BUSY: "0x40"},
    ),
    Case(
        "LeveretScalerAbsent",
        "one stands by, none leads",
        {f"up{{{SCALER}}}": "1x40", LEADER: "0x40"},
        fires={},
    ),
    Case(
        "LeveretScalerAbsent",
        "it does not answer",
        {f"up{{{SCALER}}}": "1x10 0x30", LEADER: "1x10 stale"},
        fires={},
    ),
    Case(
        "LeveretScalerAbsent",
        "one of two leads",
        {
            f"up{{{SCALER}}}": "1x40",
            LEADER: "0x40",
            'leveret_scaler_leader{job="leveret-scaler",instance="s2"}': "1x40",
        },
    ),
    Case("LeveretScalerAbsent", "there shall be none", {UP: "1x40"}),
    Case("LeveretScalerStuck", "its last look was long ago", {LOOKED: "60+60x10 660x30"}, fires={}),
    Case("LeveretScalerStuck", "it looks", {LOOKED: "60+60x40"}),
    Case("LeveretScalerStuck", "it stands by", {LOOKED: "0x40"}),
    Case("LeveretScalerHolds", "something is unknown to it", {WANT: f"1x10 {UNKNOWN}"}, fires=IMAGES),
    Case("LeveretScalerHolds", "it decides", {WANT: "0x40"}),
    Case("LeveretScalerHolds", "it did not know for a moment", {WANT: "1x25 NaN NaN 1x13"}),
    Case("LeveretLaunchesFailing", "the third came to nothing", {FAILED_LAUNCHES: "0x28 3x10"}, fires=IMAGES),
    Case("LeveretLaunchesFailing", "two did", {FAILED_LAUNCHES: "2x40"}),
    Case("LeveretScalerAlarms", "a machine can't be ended", {ALARMS: "0x10 1x30"}, fires=IMAGES),
    Case("LeveretScalerAlarms", "the next try ended it", {ALARMS: "0x10 1x10 0x20"}),
    Case(
        "LeveretWorkerNeverLeaves",
        "one is asked and stays",
        {LEAVING: "0x10 0+60x30", PATIENCE: "900x40"},
        fires=IMAGES,
    ),
    Case(
        "LeveretWorkerNeverLeaves",
        "its jobs may take as long",
        {LEAVING: "0x10 0+60x30", PATIENCE: "7200x40"},
    ),
    Case(
        "LeveretWorkerNeverLeaves",
        "one after the other leaves",
        {LEAVING: "0+60x9 0+60x9 0+60x9 0+60x9", PATIENCE: "900x40"},
    ),
    Case(
        "LeveretWorkerNeverLeaves",
        "nobody knows who is there",
        {LEAVING: f"0x10 {UNKNOWN}", PATIENCE: "900x40"},
    ),
    Case("LeveretDeadLetters", "one was put aside", {DEAD: "0x20 1x20"}, fires={}),
    Case("LeveretDeadLetters", "none was", {DEAD: "0x40"}),
    Case("LeveretGatewayDefects", "one request met one", {DEFECTS: "0x20 1x20"}, fires={}),
    Case("LeveretGatewayDefects", "long ago", {DEFECTS: "0x5 1x60"}, at="40m"),
    Case("LeveretCatalogWrong", "for a while", {PROBLEMS: "0x5 2x35"}, fires=WITH_JOB),
    Case("LeveretCatalogWrong", "it was mended", {PROBLEMS: "0x5 2x8 0x30"}),
]
