"""What Prometheus is told of where the workers are."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.testclient import TestClient

from gateway.targets import HEARD_S, targets_route
from shared.adapters.store.targets import TargetRow
from shared.errors import Unavailable


@dataclass
class Roll:
    rows: list[TargetRow] | None
    asked: list[float] = field(default_factory=list)

    async def targets(self, heard_s: float) -> list[TargetRow]:
        self.asked.append(heard_s)
        if self.rows is None:
            raise Unavailable("PostgreSQL is away")
        return self.rows


def worker(name: str, host: str, admin: str) -> TargetRow:
    return TargetRow(id=name, queue="images", host=host, admin=admin)


def ask(roll: Roll) -> tuple[int, list[dict[str, object]]]:
    app = Starlette(routes=[targets_route(roll, here="this-machine")])
    answer = TestClient(app).get("/targets")
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


def test_a_worker_is_told_with_labels_that_make_no_series() -> None:
    roll = Roll([worker("w1", "gpu-7", "10.0.0.7:40001")])
    labels = {"__meta_leveret_worker": "w1", "__meta_leveret_queue": "images"}
    assert ask(roll) == (200, [{"targets": ["10.0.0.7:40001"], "labels": labels}])
    assert roll.asked == [HEARD_S]


def test_a_loopback_address_is_told_of_this_machine_only() -> None:
    rows = [
        worker("mine", "this-machine", "127.0.0.1:40001"),
        worker("another's", "gpu-7", "127.0.0.1:40001"),
        worker("another's, by name", "gpu-7", "localhost:40001"),
        worker("by name", "gpu-7", "gpu-7.internal:40001"),
    ]
    _, told = ask(Roll(rows))
    assert [each["targets"] for each in told] == [["127.0.0.1:40001"], ["gpu-7.internal:40001"]]


def test_without_postgresql_nothing_is_told_rather_than_none() -> None:
    status, _ = ask(Roll(None))
    assert status == 503
