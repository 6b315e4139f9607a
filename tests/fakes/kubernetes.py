"""A Kubernetes API server over real HTTP in a thread, as small as the scaler's use of it.

One Deployment and its pods. What it does, and where the documentation says so:

- A change that names an older resource version is answered 409:
  https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
- A list comes in pages; a page asked for too late is answered 410:
  https://kubernetes.io/docs/reference/using-api/api-concepts/
- The ReplicaSet takes pods away in a fixed order, in which a pod's deletion cost is the fourth rule:
  https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
- What a role does not allow is answered 403:
  https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from tests.fakes.serving import serving

COST = "controller.kubernetes.io/pod-deletion-cost"
DEPLOYMENT = "leveret-worker-images"
LABELS = {"app": DEPLOYMENT}


@dataclass
class FakePod:
    name: str
    number: int
    node: str = "node-1"
    phase: str = "Running"
    ready: bool = True
    deleting: bool = False
    waiting: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    def rank(self) -> tuple[Any, ...]:
        """Smallest first to go: unassigned, pending, not ready, cheap, young."""
        cost = int(self.annotations.get(COST, "0"))
        return (bool(self.node), self.phase == "Running", self.ready, cost, -self.number)

    def shown(self) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {"name": self.name, "creationTimestamp": now, "labels": LABELS}
        if self.deleting:
            metadata["deletionTimestamp"] = now
        state = {"waiting": {"reason": self.waiting}} if self.waiting else {"running": {}}
        container = {"name": "w", "ready": self.ready, "restartCount": 0, "image": "", "imageID": ""}
        return {
            "metadata": metadata | {"annotations": self.annotations},
            "spec": {"containers": [{"name": "w"}]} | ({"nodeName": self.node} if self.node else {}),
            "status": {
                "phase": self.phase,
                "conditions": [{"type": "Ready", "status": str(self.ready)}],
                "containerStatuses": [container | {"state": state}],
            },
        }


class FakeKubernetes:
    """What the cluster knows; the tests change it while it serves.

    Attributes:
        url: Where it is.
        pending: New pods have no node and stay pending.
        stuck: No pods are made: a quota.
        conflicts: So many changes are answered 409, for somebody else was faster.
        meddle: What somebody else sets the number of pods to, once, before the next change is looked at.
        expired: So many later pages of a list are answered 410.
        forbidden: Verbs that are answered 403: GET, PATCH, PUT.
        garbled: What a proxy in between answers to everything, as JSON or not.
        broken: So many requests are answered 500.
        lose_answers: So many changes happen, and nobody hears of it.
        answers: While it is clear nothing is answered.
        asked: What was asked, by verb and last part of the path.
        taken: Pods that the ReplicaSet has taken away, in order.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.replicas = 0
        self.version = 1
        self.annotations: dict[str, str] = {}
        self.pods: dict[str, FakePod] = {}
        self.pending = self.stuck = False
        self.conflicts = self.expired = self.broken = self.lose_answers = 0
        self.meddle: int | None = None
        self.forbidden: set[str] = set()
        self.garbled = ""
        self.answers = threading.Event()
        self.answers.set()
        self.asked: Counter[str] = Counter()
        self.taken: list[str] = []
        self._numbers = itertools.count(1)

    def reconcile(self) -> None:
        """What the ReplicaSet does a moment later."""
        staying = [pod for pod in self.pods.values() if not pod.deleting]
        for pod in sorted(staying, key=FakePod.rank)[: max(0, len(staying) - self.replicas)]:
            pod.deleting = True
            self.taken.append(pod.name)
        for _ in range(0 if self.stuck else self.replicas - len(staying)):
            self.add()

    def add(self) -> FakePod:
        number = next(self._numbers)
        pod = FakePod(f"{DEPLOYMENT}-{number:04d}", number)
        if self.pending:
            pod.node, pod.phase, pod.ready = "", "Pending", False
        self.pods[pod.name] = pod
        return pod

    def remove_deleted(self) -> None:
        """The grace periods are over."""
        self.pods = {name: pod for name, pod in self.pods.items() if not pod.deleting}

    def answer(self, verb: str, target: str, body: Any) -> tuple[int, Any]:
        path = urlparse(target)
        self.asked[f"{verb} {path.path.rsplit('/', 1)[-1]}"] += 1
        if self.broken:
            self.broken -= 1
            return 500, _status(500, "InternalError")
        if verb in self.forbidden:
            return 403, _status(403, "Forbidden")
        if verb != "GET" and self.meddle is not None:
            self.replicas, self.meddle, self.version = self.meddle, None, self.version + 1
        if verb != "GET" and self.conflicts:
            self.conflicts -= 1
            self.version += 1
            return 409, _status(409, "Conflict")
        return self._route(verb, path.path, {k: v[0] for k, v in parse_qs(path.query).items()}, body)

    def _route(self, verb: str, path: str, query: Mapping[str, str], body: Any) -> tuple[int, Any]:
        if path.endswith(f"/deployments/{DEPLOYMENT}/scale"):
            return self._scale(verb, body)
        if path.endswith(f"/deployments/{DEPLOYMENT}"):
            return self._deployment(verb, body)
        if path.endswith("/pods"):
            return self._list(query)
        if (found := re.search(r"/pods/([^/]+)$", path)) and found[1] in self.pods and verb == "PATCH":
            self.pods[found[1]].annotations |= body["metadata"]["annotations"]
            return 200, self.pods[found[1]].shown()
        return 404, _status(404, "NotFound")

    def _scale(self, verb: str, body: Any) -> tuple[int, Any]:
        if verb == "PUT":
            if body["metadata"]["resourceVersion"] != str(self.version):
                return 409, _status(409, "Conflict")
            self.replicas, self.version = body["spec"].get("replicas", 0), self.version + 1
        return 200, {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": DEPLOYMENT, "namespace": "default", "resourceVersion": str(self.version)},
            "spec": {"replicas": self.replicas} if self.replicas else {},  # as the server: zero is left out
        }

    def _deployment(self, verb: str, body: Any) -> tuple[int, Any]:
        if verb == "PATCH":
            if body["metadata"].get("resourceVersion", str(self.version)) != str(self.version):
                return 409, _status(409, "Conflict")
            self.annotations |= body["metadata"]["annotations"]
            self.version += 1
        metadata = {"name": DEPLOYMENT, "resourceVersion": str(self.version), "annotations": self.annotations}
        template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "w"}]}}
        spec = {"replicas": self.replicas, "selector": {"matchLabels": LABELS}, "template": template}
        return 200, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}

    def _list(self, query: Mapping[str, str]) -> tuple[int, Any]:
        assert query["labelSelector"] == f"app={DEPLOYMENT}"
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 1000))
        if start and self.expired:
            self.expired -= 1
            return 410, _status(410, "Expired")
        found = sorted(self.pods)[start : start + limit]
        following = start + limit if start + limit < len(self.pods) else None
        metadata = {"resourceVersion": str(self.version)} | (
            {"continue": str(following)} if following else {}
        )
        items = [self.pods[name].shown() for name in found]
        return 200, {"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items}

    @property
    def kubeconfig(self) -> str:
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "fake",
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
                "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
                "users": [{"name": "fake", "user": {"token": "t"}}],
            }
        )


def _status(code: int, reason: str) -> dict[str, Any]:
    told = {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure"}
    return told | {"code": code, "reason": reason, "message": f"{reason}: fake"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = FakeKubernetes(f"http://127.0.0.1:{self.server_port}")
        self.turn = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """The peer gave up waiting, as it should."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nowhere."""

    def _answer(self) -> None:
        fake = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
        fake.answers.wait()
        with self.server.turn:
            status, answer = fake.answer(self.command, self.path, body)
            lost = self.command != "GET" and fake.lose_answers > 0 and status < 300
            fake.lose_answers -= lost
        if lost:
            self.close_connection = True
            return
        encoded = (fake.garbled or json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


@contextmanager
def fake_kubernetes() -> Iterator[FakeKubernetes]:
    """A server on a free port of this machine."""
    with _Server() as server, serving(server):
        try:
            yield server.fake
        finally:
            server.fake.answers.set()
