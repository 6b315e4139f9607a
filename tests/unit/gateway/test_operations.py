"""What operators are answered, and that no other key is answered any of it. The application over fakes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from gateway.app import create_app
from gateway.audit import Audit
from gateway.auth import Authenticator
from gateway.lists import views as list_views
from gateway.operations import figures, history, views
from gateway.operations.desk import Desk
from gateway.services import Services
from gateway.settings import Gateway
from shared.catalog import load_catalog
from tests.fakes.audit import FakeEntries
from tests.fakes.operations import FakeOperations, decided, load, looked, pace, present
from tests.gateway_process import write_catalog

USER, OPERATOR = (f"lev_{letter * 43}" for letter in "uo")
ROUTES = [
    ("GET", "/v1/queues"),
    ("POST", "/v1/queues/{}/pause"),
    ("POST", "/v1/queues/{}/resume"),
    ("GET", "/v1/workers"),
    ("POST", "/v1/workers/{}/drain"),
    ("POST", "/v1/workers/{}/undrain"),
    ("GET", "/v1/scaler"),
    ("GET", "/v1/scaler/{}/history"),
    ("GET", "/v1/scaler/{}/decisions"),
    ("PUT", "/v1/scaler/{}"),
    ("POST", "/v1/scaler/{}/pause"),
    ("POST", "/v1/scaler/{}/resume"),
]


@dataclass(frozen=True)
class Holder:
    role: str
    tenant: str = "acme"
    name: str = "laptop"
    s3_prefixes: tuple[str, ...] = ()
    key_id: UUID = field(default=UUID(int=1))


class Keys:
    async def find(self, key: str) -> Holder | None:
        return {USER: Holder("user"), OPERATOR: Holder("operator")}.get(key)


class House:
    """The application, and the rows behind it."""

    def __init__(self, models: Path) -> None:
        self.rows, catalog = FakeOperations(), load_catalog(models)
        absent = cast("Any", None)  # no route of operators touches these
        services = Services(
            settings=Gateway(),
            catalog=catalog,
            auth=Authenticator(Keys()),
            submitter=absent,
            lookup=absent,
            canceler=absent,
            feed=absent,
            links=absent,
            objects=absent,
            desk=Desk(catalog, self.rows, self.rows, self.rows, Audit(FakeEntries())),
            audit=absent,
            lists=absent,
            retrier=absent,
            keyring=absent,
            tickets=absent,
            effective=absent,
            board=absent,
            hub=absent,
            failures=absent,
            accounts=absent,
            bulk=absent,
            statistics=absent,
            history=absent,
        )
        self.app = create_app(services)

    def ask(self, method: str, path: str, key: str = OPERATOR, **more: Any) -> httpx2.Response:
        return asyncio.run(self._ask(method, path, key, **more))

    async def _ask(self, method: str, path: str, key: str, **more: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, headers={"X-API-Key": key}, **more)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(tmp_path_factory.mktemp("models"))


@pytest.fixture
def house(models: Path) -> House:
    return House(models)


@given(
    route=st.sampled_from(ROUTES),
    name=st.sampled_from(["quick", "w1", "nowhere", "a%00b", "%2e%2e", "%F0%9F%90%87"]),
    query=st.dictionaries(st.sampled_from(["queue", "cursor", "limit"]), st.text(max_size=4)),
    body=st.none() | st.binary(max_size=30) | st.just(b'{"min": 1}'),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_users_key_is_answered_the_same_whatever_there_is(
    house: House, route: tuple[str, str], name: str, query: dict[str, str], body: bytes | None
) -> None:
    house.rows.load_rows[:] = [load("quick", 5, waiting=3)]
    house.rows.present_rows.update(w1=present("w1"))

    answer = house.ask(route[0], route[1].format(name), USER, params=query, content=body)

    assert answer.status_code == 403
    problem = answer.json()
    assert problem.pop("request_id")
    assert problem == {
        "type": "http://127.0.0.1:8000/docs/errors#forbidden",
        "title": "Not for this key",
        "status": 403,
        "detail": "this is for keys of the role `operator`",
        "code": "forbidden",
    }
    assert house.rows.asked == 0


def test_queues_are_those_of_the_catalog_and_those_with_jobs_or_workers(house: House) -> None:
    house.rows.load_rows += [load("old", 9, running=1)]
    house.rows.present_rows.update(w1=present("w1", "older"))

    found = house.ask("GET", "/v1/queues").json()
    views.QueuesView.model_validate(found)

    assert [(queue["queue"], queue["offered"]) for queue in found["queues"]] == [
        ("default", True),
        ("old", False),
        ("older", False),
        ("quick", True),
    ]
    assert found["queues"][0]["scaler"]["paused"] is False
    assert found["queues"][0]["oldest_s"] is None


def test_a_queue_is_counted_by_class_and_priority() -> None:
    loads = [
        load("quick", 3, waiting=4, oldest_s=900.0),
        load("quick", 8, waiting=1, oldest_s=2.0),
        load("quick", 10, running=2),
        load("quick", 4, waiting=2, running=1, oldest_s=30.0),
    ]

    shown = figures.queue_document("quick", loads=loads, pace=None, workers=[], setting=None, offered=True)

    assert (shown["waiting"], shown["running"], shown["oldest_s"]) == (7, 3, 900.0)
    assert shown["classes"] == {
        "high": {"waiting": 1, "running": 2, "oldest_s": 2.0},
        "normal": {"waiting": 2, "running": 1, "oldest_s": 30.0},
        "low": {"waiting": 4, "running": 0, "oldest_s": 900.0},
    }
    assert [each["priority"] for each in shown["priorities"]] == [10, 8, 4, 3]
    assert (shown["ended_per_min"], shown["mean_s"], shown["eta_s"]) == (None, None, None)


def test_only_those_who_are_heard_of_and_stay_count_as_ready() -> None:
    crew = [
        present("boots", state="starting", slots=9),
        present("idle", slots=2),
        present("works", slots=2, busy=1),
        present("asked", busy=1, drain=True),
        present("leaves", state="draining"),
        present("silent", heartbeat_s=31.0),
    ]

    assert figures.crew_document(crew) == {"starting": 1, "ready": 2, "busy": 1, "draining": 2, "slots": 4}


def test_a_held_queue_says_by_whom_and_goes_on_when_it_is_let(house: House) -> None:
    held = house.ask("POST", "/v1/queues/quick/pause").json()
    views.QueueView.model_validate(held)
    assert (held["paused"], held["paused_by"]) == (True, "acme/laptop")
    goes_on = house.ask("POST", "/v1/queues/quick/resume").json()
    assert (goes_on["paused"], goes_on["paused_by"], goes_on["paused_at"]) == (False, None, None)
    assert house.ask("POST", "/v1/queues/nowhere/pause").status_code == 404


@pytest.mark.parametrize(
    ("waiting", "in_per_s", "out_per_s", "low", "high"),
    [
        (0, 1.0, 2.0, None, None),
        (10, 1.0, None, None, None),
        (10, 1.0, 0.0, None, None),
        (10, 0.0, 2.0, 5.0, 5.0),
        (10, 1.0, 2.0, 5.0, 10.0),
        (10, 2.0, 2.0, 5.0, None),
    ],
)
def test_a_backlog_drains_within_a_range_or_not(
    waiting: int, in_per_s: float, out_per_s: float | None, low: float | None, high: float | None
) -> None:
    found = figures.drain_document(waiting, in_per_s, out_per_s)
    assert found == {"drain_low_s": low, "drain_high_s": high}


@pytest.mark.parametrize(
    ("waiting", "running", "slots", "job_s", "eta_s"),
    [
        (0, 2, 4, 10.0, None),
        (5, 0, 0, 10.0, None),
        (5, 0, 4, None, None),
        (1, 0, 16, 10.0, 10.0),
        (40, 4, 4, 10.0, 105.0),
    ],
)
def test_when_all_is_done_is_told_where_it_can_be(
    waiting: int, running: int, slots: int, job_s: float | None, eta_s: float | None
) -> None:
    assert figures.eta_s(waiting, running, slots=slots, job_s=job_s) == eta_s


def test_a_mean_takes_more_than_a_few_and_a_rate_is_by_the_minute() -> None:
    assert figures.mean_s(pace("quick", ran=4)) is None
    assert figures.mean_s(pace("quick", ran=5)) == 20.0
    shown = figures.queue_document(
        "quick", loads=[], pace=pace("quick", ended=10), workers=[], setting=None, offered=True
    )
    assert shown["ended_per_min"] == 2.0


def test_a_worker_is_drained_once_and_found_no_more_when_it_left(house: House) -> None:
    house.rows.present_rows.update(w1=present("w1", busy=1))

    first = house.ask("POST", "/v1/workers/w1/drain")
    asked = house.rows.asked
    again = house.ask("POST", "/v1/workers/w1/drain")

    views.WorkerView.model_validate(first.json())
    assert first.json() == again.json()
    assert first.json()["draining"]
    assert house.rows.asked == asked + 1
    for name in ("nobody", "w%001"):
        missing = house.ask("POST", f"/v1/workers/{name}/drain")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_decisions_come_in_pages_newest_first(house: House) -> None:
    house.rows.decided_rows += [decided(number) for number in range(1, 6)] + [decided(9, "default")]
    seen: list[int] = []
    cursor = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = house.ask("GET", "/v1/scaler/quick/decisions", params=params).json()
        views.DecisionsView.model_validate(page)
        seen += [decision["id"] for decision in page["decisions"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 101}, "query.limit"),
        ({"cursor": "x"}, "query.cursor"),
        ({"cursor": 2**63}, "query.cursor"),
    ],
)
def test_a_page_that_cannot_be_is_refused(house: House, params: dict[str, Any], path: str) -> None:
    answer = house.ask("GET", "/v1/scaler/quick/decisions", params=params)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["path"] == path


def test_a_fleet_tells_who_is_there_which_limits_hold_and_what_is_wanted(house: House) -> None:
    house.rows.look_rows[:] = [
        looked(want=2, asked=6, bound="max", serving=1, starting=1, max=2, max_ordered=True)
    ]
    house.rows.present_rows.update(w1=present("w1"), w2=present("w2", drain=True))

    found = house.ask("GET", "/v1/scaler").json()
    views.FleetsView.model_validate(found)

    fleets = {fleet["queue"]: fleet for fleet in found["fleets"]}
    quick = fleets["quick"]
    assert quick["limits"] == {"min": 0, "max": 2, "min_by": "settings", "max_by": "order"}
    assert {name: quick["look"][name] for name in ("want", "asked", "bound", "fresh")} == {
        "want": 2,
        "asked": 6,
        "bound": "max",
        "fresh": True,
    }
    assert (quick["there"]["serving"], quick["there"]["draining"]) == (1, 1)
    assert (fleets["default"]["limits"], fleets["default"]["look"]) == (None, None)
    assert fleets["default"]["there"] == {"serving": 0, "starting": 0, "draining": 0}


@pytest.mark.parametrize(
    ("look", "starting"),
    [
        ({"serving": 1, "starting": 2}, 2),  # machines that nobody has heard of yet
        ({"serving": 0, "starting": 1}, 0),  # it has become ready since
        ({"serving": None, "starting": None}, 0),
        ({"serving": 1, "starting": 2, "age_s": 100.0}, 0),  # the scaler does not look any more
    ],
)
def test_who_starts_is_told_by_the_scaler_as_long_as_it_looks(look: dict[str, Any], starting: int) -> None:
    crew = figures.crew_document([present("w1")])

    there = history.there_document(crew, looked(**look))

    assert there == {"serving": 1, "starting": starting, "draining": 0}


def test_a_fleets_history_shows_where_nobody_looked(house: House) -> None:
    assert house.ask("GET", "/v1/scaler/quick/history").json() == {"queue": "quick", "spans": []}
    house.rows.look_rows[:] = [looked(), looked(60), looked(600, want=None), looked(0, queue="default")]

    found = house.ask("GET", "/v1/scaler/quick/history", params={"since_s": 3600}).json()
    views.FleetHistoryView.model_validate(found)

    assert [(span["want"], span["gap_before"]) for span in found["spans"]] == [
        (1, False),
        (1, False),
        (None, True),
    ]


def test_a_queue_that_nobody_knows_has_no_fleet(house: House) -> None:
    for method, path in ROUTES:
        if path.startswith("/v1/scaler/"):
            for name in ("nowhere", "a%00b"):
                answer = house.ask(method, path.format(name), content=b'{"min": 1}')
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert house.rows.set_rows == {}


def test_limits_are_set_over_what_is_set(house: House) -> None:
    def put(**body: Any) -> Any:
        answer = house.ask("PUT", "/v1/scaler/quick", json=body)
        assert answer.status_code == 200, answer.text
        views.FleetView.model_validate(answer.json())
        return answer.json()

    house.rows.decided_rows += [decided(1)]
    assert put(min=2, max=8)["latest"]["id"] == 1
    assert put(max=4.0, paused=True)["min"] == 2
    shown = put(min=None)
    assert (shown["min"], shown["max"], shown["paused"]) == (None, 4, True)
    assert shown["changed_by"] == "acme/laptop"
    assert house.ask("POST", "/v1/scaler/quick/resume").json()["paused"] is False
    assert house.ask("POST", "/v1/scaler/quick/pause").json()["max"] == 4
    [_, fleet] = house.ask("GET", "/v1/scaler").json()["fleets"]
    assert (fleet["queue"], fleet["max"], fleet["paused"]) == ("quick", 4, True)


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        (b"", 400, "malformed_body", None),
        (b"{", 400, "malformed_body", None),
        (b"[]", 422, "invalid_request", "body"),
        (b"{}", 422, "invalid_request", "body"),
        (b'{"min": -1}', 422, "invalid_request", "min"),
        (b'{"min": 1.5}', 422, "invalid_request", "min"),
        (b'{"min": 1e400}', 422, "invalid_request", "min"),
        (b'{"min": true}', 422, "invalid_request", "min"),
        (b'{"max": "3"}', 422, "invalid_request", "max"),
        (b'{"max": 100000}', 422, "invalid_request", "max"),
        (b'{"min": 3, "max": 2}', 409, "limits_crossed", None),
        (b'{"paused": null}', 422, "invalid_request", "paused"),
        (b'{"paused": 1}', 422, "invalid_request", "paused"),
        (b'{"minimum": 1}', 422, "invalid_request", "minimum"),
        (b'{"min": 9}', 409, "limits_crossed", None),
    ],
)
def test_limits_that_do_not_fit_change_nothing(
    house: House, body: bytes, status: int, code: str, path: str | None
) -> None:
    # Given a maximum that is set
    house.ask("PUT", "/v1/scaler/quick", json={"max": 5})
    before = dict(house.rows.set_rows)
    # When something is said that does not fit, by itself or beside that maximum
    answer = house.ask("PUT", "/v1/scaler/quick", content=body)
    # Then it is named, and nothing is changed
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if path is not None:
        assert path in [entry["path"].split(".")[0] for entry in answer.json()["errors"]]
    assert house.rows.set_rows == before


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs", "GET, POST"),
        ("GET", "/v1/jobs/x/cancel", "POST"),
        ("PUT", "/v1/bulk", "GET, POST"),
        ("POST", "/v1/models/statistics", "GET"),
    ],
)
def test_a_method_that_is_not_there_names_those_that_are(
    house: House, method: str, path: str, allowed: str
) -> None:
    answer = house.ask(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_every_example_has_the_shape_that_is_promised(house: House) -> None:
    document = json.loads(house.ask("GET", "/openapi.json").content)
    checked = set()
    for path in document["paths"].values():
        for operation in path.values():
            if operation["tags"] == ["operations"]:
                content = operation["responses"]["200"]["content"]["application/json"]
                name = content["schema"]["$ref"].rsplit("/", 1)[1]
                view: type[BaseModel] = getattr(views, name, None) or getattr(list_views, name)
                view.model_validate(content["example"])
                checked.add(operation["operationId"])
                assert {"401", "403", "500", "503"} <= operation["responses"].keys()
    assert len(checked) >= len(ROUTES)
